"""A whole register, again and again: what of it becomes an event, and what never does."""

from itertools import count

import msgspec
import pytest

from cdmd.config.schema import EventSettings
from cdmd.connectors.formats.csvs import Csv, CsvSettings
from cdmd.connectors.formats.fixed import Fixed, FixedColumn, FixedSettings
from cdmd.connectors.formats.jsonl import Jsonl, JsonlSettings
from cdmd.connectors.registers import table
from cdmd.connectors.registers.rows import Digests
from cdmd.contracts import ChosenFormat
from cdmd.errors import BadArguments, Damaged, FormatFault
from tests.connectors.registers.driving import Supplier, less, register, rows_of

pytestmark = pytest.mark.anyio
CHANGES = EventSettings(type="customer.{change}", identifiers={"customer_no": "{no}"}, data={"changed": "{changed}"})
LACKS_END = "the rows that it lacks are the ones that the register before ended with: it may be cut"


async def test_the_first_register_adds_everybody() -> None:
    supplier = Supplier()
    found = await supplier.apply(register(3))
    assert (found.records, found.added, found.held, found.reason) == (3, 3, 0, "")
    (first, *_) = supplier.taken()
    assert (first.type, first.identifiers) == ("customer.added", {"customer_no": "1", "email": "user1@example.com"})
    assert first.traits == {"no": "1", "email": "user1@example.com"}


async def test_the_same_register_again_changes_nothing() -> None:
    supplier = Supplier()
    for _ in range(3):
        await supplier.apply(register(3))
    assert len(supplier.taken()) == 3


async def test_only_what_changed_becomes_events_with_the_names_of_the_changed_fields() -> None:
    supplier = Supplier(mapping=CHANGES)
    await supplier.apply(b"no,email,city\n1,a@x.se,Lund\n2,b@x.se,Lund\n3,c@x.se,Lund\n")
    supplier.taken()
    found = await supplier.apply(b"no,email,city\n1,a@x.se,Lund\n2,B@x.se,\n4,d@x.se,Lund\n3,c@x.se,Lund\n")
    assert (found.records, found.added, found.changed, found.removed) == (4, 1, 1, 0)
    assert [(event.type, event.identifiers["customer_no"], event.data) for event in supplier.taken()] == [
        ("customer.changed", "2", {"changed": ["email", "city"]}),
        ("customer.added", "4", {"changed": []}),
    ]


async def test_a_row_that_is_gone_is_removed_with_its_key_and_restored_when_it_comes_back() -> None:
    supplier = Supplier()
    await supplier.apply(register(100))
    supplier.taken()
    gone = rows_of(100)
    del gone[7]
    found = await supplier.apply(register(gone))
    assert (found.removed, found.held) == (1, 0)
    (removed,) = supplier.taken()
    assert (removed.type, removed.identifiers, removed.traits) == ("customer.removed", {"customer_no": "7"}, {"no": "7"})
    assert (await supplier.apply(register(gone) + b"\n")).removed == 0
    assert supplier.taken() == []
    found = await supplier.apply(register(100))
    assert (found.restored, found.added) == (1, 0)
    assert supplier.said() == [("restored", "7")]
    found = await supplier.apply(register(100) + b"101,new@example.com\n")
    assert supplier.said() == [("added", "101")]


async def test_the_order_of_rows_means_nothing() -> None:
    supplier = Supplier()
    await supplier.apply(register(50))
    supplier.taken()
    lines = register(50).splitlines(keepends=True)
    await supplier.apply(b"".join([lines[0], *reversed(lines[1:])]))
    assert supplier.taken() == []


async def test_the_ways_that_a_row_can_be_written_mean_nothing() -> None:
    supplier = Supplier()
    await supplier.apply(b"no,email\n1,a@x.se\n2,b@x.se\n")
    supplier.taken()
    found = await supplier.apply(b'no,email\r\n"1","a@x.se"\r\n2,b@x.se\r\n')
    assert (found.changed, supplier.taken()) == (0, [])
    assert supplier.opened == 2


@pytest.mark.parametrize(
    "text",
    [
        b"email,no\na@x.se,1\nb@x.se,2\n",
        b"email;no\na@x.se;1\nb@x.se;2\n",
        "no,email\n1,a@x.se\n2,b@x.se\n".encode("utf-16"),
        b"no,email,new\n1,a@x.se,\n2,b@x.se,\n",
    ],
)
async def test_another_order_of_columns_dialect_or_encoding_reads_everything_anew_and_changes_nobody(
    text: bytes,
) -> None:
    supplier = Supplier()
    await supplier.apply(b"no,email\n1,a@x.se\n2,b@x.se\n")
    supplier.taken()
    if b";" in text:
        supplier.chosen = ChosenFormat(Csv, CsvSettings(delimiter=";"))
    found = await supplier.apply(text)
    assert (found.records, found.changed, found.added, supplier.taken()) == (2, 0, 0, [])
    assert (await supplier.apply(text)).records == 2
    assert supplier.taken() == []


def _one_field(digests: Digests) -> tuple[str, str]:
    """Two telephone numbers whose two bytes are the same."""
    seen: dict[bytes, str] = {}
    for number in count():
        phone = f"+4670{number:07}"
        if (other := seen.setdefault(digests.fields({"phone": phone}), phone)) != phone:
            return other, phone
    raise AssertionError


async def test_a_change_is_told_whatever_its_columns_two_bytes_say_and_one_of_writing_alone_is_not() -> None:
    supplier = Supplier(mapping=CHANGES)
    one, other = _one_field(Digests(supplier.source.secret("register"), key=["no"], columns=["phone"]))
    await supplier.apply(f"no,phone\n1,{one}\n2,x\n".encode())
    supplier.taken()
    assert (await supplier.apply(f"no,phone\n1,{other}\n2,x\n".encode())).changed == 1
    assert [event.data for event in supplier.taken()] == [{"changed": []}]
    assert (await supplier.apply(f'no,phone\n"1","{other}"\n"2",x\n'.encode())).changed == 0
    assert (await supplier.apply(f"phone,no\n{one},1\nx,2\n".encode())).changed == 1
    assert (await supplier.apply(f"phone,new,no\n{other},,1\nx,,2\n".encode())).changed == 1


async def test_rows_that_an_older_version_wrote_are_compared_by_the_two_bytes_of_each_column(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    supplier = Supplier(mapping=CHANGES)
    with monkeypatch.context() as older:
        older.setattr(table, "pack", lambda block: msgspec.msgpack.encode(msgspec.structs.astuple(block)[:5]))
        await supplier.apply(b"no,phone\n1,a\n2,b\n3,c\n")
    supplier.taken()
    assert (await supplier.apply(b'no,phone\n"1","a"\n2,x\n3,c\n')).changed == 1
    assert [event.data for event in supplier.taken()] == [{"changed": ["phone"]}]
    blocks = [block async for block in table.blocks_of(supplier.register.table)]
    assert [any(block.values[at : at + 8]) for block in blocks for at in (0, 8, 16)] == [True, True, False]


async def test_records_that_name_their_columns_themselves_are_compared_by_all_that_any_of_them_ever_had() -> None:
    supplier = Supplier(mapping=CHANGES, chosen=ChosenFormat(Jsonl, JsonlSettings()))
    await supplier.apply(b'{"no": 1, "city": "Lund", "vip": true}\n{"no": 2, "city": "Lund"}\n')
    supplier.taken()
    await supplier.apply(b'{"no": 1, "city": "Lund", "vip": true}\n{"no": 2, "city": "Malmo"}\n')
    await supplier.apply(b'{"no": 1, "city": "Malmo", "vip": true}\n{"no": 2, "city": "Malmo"}\n')
    await supplier.apply(b'{"no": 1, "city": "Malmo"}\n{"no": 2, "city": "Malmo"}\n')
    assert [(event.identifiers["customer_no"], event.data["changed"]) for event in supplier.taken()] == [
        ("2", ["city"]),
        ("1", ["city"]),
        ("1", ["vip"]),
    ]


async def test_a_column_that_is_ignored_from_now_on_or_that_left_changes_nobody_in_rows_either() -> None:
    supplier = Supplier(mapping=CHANGES)
    await supplier.apply(b"no,city,seen\n1,Lund,1\n2,Lund,2\n")
    supplier.settings = msgspec.structs.replace(supplier.settings, ignore=["seen"])
    supplier.taken()
    assert (await supplier.apply(b"no,city,seen\n1,Lund,3\n2,Lund,4\n")).changed == 0
    assert (await supplier.apply(b"no,seen\n1,5\n2,6\n")).changed == 0
    supplier = Supplier(mapping=CHANGES, chosen=ChosenFormat(Jsonl, JsonlSettings()))
    await supplier.apply(b'{"no": 1, "seen": 1}\n{"no": 2, "seen": 1}\n')
    supplier.settings = msgspec.structs.replace(supplier.settings, ignore=["seen"])
    assert (await supplier.apply(b'{"no": 1, "seen": 2}\n{"no": 2, "seen": 2}\n')).changed == 0


async def test_the_columns_of_ragged_records_have_a_bound() -> None:
    supplier = Supplier(mapping=CHANGES, chosen=ChosenFormat(Jsonl, JsonlSettings()))
    for day in range(3):
        names = "".join(f', "day{day * 200 + n}": 1' for n in range(200))
        await supplier.apply(f'{{"no": 1{names}}}\n'.encode())
    applied = await supplier.register.applied()
    assert applied is not None
    assert len(applied.columns) == 201


async def test_a_new_column_changes_those_who_have_a_value_in_it_and_one_that_left_changes_nobody() -> None:
    supplier = Supplier()
    await supplier.apply(b"no,email\n1,a@x.se\n2,b@x.se\n")
    supplier.taken()
    await supplier.apply(b"no,vip,email\n1,yes,a@x.se\n2,,b@x.se\n")
    assert supplier.said() == [("changed", "1")]
    await supplier.apply(b"no,vip\n1,yes\n2,\n")
    assert supplier.said() == []
    await supplier.apply(b"no,vip\n1,no\n2,\n")
    assert supplier.said() == [("changed", "1")]


async def test_columns_that_are_ignored_change_nobody() -> None:
    supplier = Supplier(ignore=["exported"])
    await supplier.apply(b"no,email,exported\n1,a@x.se,monday\n2,b@x.se,monday\n")
    supplier.taken()
    await supplier.apply(b"no,email,exported\n1,a@x.se,tuesday\n2,c@x.se,tuesday\n")
    assert supplier.said() == [("changed", "2")]


async def test_a_register_of_another_format_is_compared_all_the_same() -> None:
    supplier = Supplier(chosen=ChosenFormat(Jsonl, JsonlSettings()))
    await supplier.apply(b'{"no": 1, "email": "a@x.se", "tags": ["x"]}\n{"no": 2}\n')
    assert supplier.said() == [("added", "1"), ("added", "2")]
    await supplier.apply(b'{"email": "a@x.se", "no": 1, "tags": ["x", "y"]}\n{"no": 2}\n{"no": 3}\n')
    assert supplier.said() == [("changed", "1"), ("added", "3")]


# ---- removals ------------------------------------------------------------------------------------------------------


async def test_more_removals_than_allowed_are_held_while_additions_and_changes_go_on() -> None:
    supplier = Supplier()
    await supplier.apply(register(100))
    supplier.taken()
    some = rows_of(90) | {90: "other@example.com", 101: "new@example.com"}
    found = await supplier.apply(register(some))
    assert (found.added, found.changed, found.removed, found.held) == (1, 1, 0, 10)
    assert found.reason == "it lacks 10 of 100 rows, more than max_removed allows"
    assert supplier.said() == [("changed", "90"), ("added", "101")]
    assert await supplier.register.approve() == 10
    assert supplier.said() == [("removed", str(number)) for number in range(91, 101)]
    with pytest.raises(BadArguments, match="no removals wait"):
        await supplier.register.approve()
    await supplier.apply(register(some))
    assert supplier.taken() == []


async def test_held_removals_that_are_rejected_are_none() -> None:
    supplier = Supplier()
    await supplier.apply(register(100))
    await supplier.apply(register(50))
    supplier.taken()
    assert await supplier.register.reject() == 50
    applied = await supplier.register.applied()
    assert applied is not None
    assert (applied.held, applied.rows, applied.reason) == (0, 100, "")
    await supplier.apply(register(100))
    assert supplier.taken() == []


async def test_what_is_held_and_comes_back_is_nothing_and_a_later_register_decides_anew() -> None:
    supplier = Supplier()
    await supplier.apply(register(100))
    await supplier.apply(register(50))
    supplier.taken()
    found = await supplier.apply(less(2, of=100))
    assert (found.removed, found.held) == (2, 0)
    assert supplier.said() == [("removed", "1"), ("removed", "2")]


async def test_a_small_register_may_lose_a_few_rows_but_never_most_of_them() -> None:
    supplier = Supplier()
    await supplier.apply(register(8))
    assert (await supplier.apply(less(3, of=8))).removed == 3
    assert (await supplier.apply(less(6, of=8))).held == 3
    assert (await supplier.apply(b"no,email\n")).held == 5


@pytest.mark.parametrize(("share", "removed"), [("10", 10), ("9", 0), ("10%", 10), ("9%", 0), ("0", 0), ("100%", 10)])
async def test_how_many_may_be_removed_is_a_number_or_a_share(share: str, removed: int) -> None:
    supplier = Supplier(max_removed=share)
    await supplier.apply(register(100))
    found = await supplier.apply(less(10, of=100))
    assert (found.removed, found.held) == (removed, 10 - removed)


async def test_a_row_must_be_missing_from_several_registers_in_a_row_where_that_is_wanted() -> None:
    supplier = Supplier(missing_for=3)
    await supplier.apply(register(10))
    supplier.taken()
    for missing in (1, 1, 0, 1, 1):
        await supplier.apply(less(missing, of=10))
    assert supplier.taken() == []
    await supplier.apply(less(1, of=10))
    assert supplier.said() == [("removed", "1")]


async def test_a_register_with_records_that_cannot_be_read_removes_nobody() -> None:
    supplier = Supplier()
    await supplier.apply(register(100))
    supplier.taken()
    found = await supplier.apply(less(1, of=100) + b"1\n")
    assert (found.removed, found.held, found.rejected) == (0, 1, 1)
    assert found.reason == "1 of its records cannot be read, and they may be the rows that it lacks"
    ((_, fault),) = supplier.source.faults
    assert (fault.code, fault.message) == ("ragged_row", "register.csv, line 101: the record has 1 fields, the header 2")
    found = await supplier.apply(less(1, of=100))
    assert (found.removed, found.held) == (1, 0)


async def test_a_register_without_the_line_end_that_the_last_one_had_removes_nobody() -> None:
    supplier = Supplier()
    await supplier.apply(register(100))
    supplier.taken()
    for _ in range(2):  # and it never becomes right by coming again
        found = await supplier.apply(less(1, of=100).rstrip(b"\n"))
        assert (found.removed, found.held) == (0, 1)
        assert found.reason == "it does not end with a line's end as the one before did: it may be cut"
    assert await supplier.register.approve() == 1
    found = await supplier.apply(less(2, of=100).rstrip(b"\n"))
    assert (found.removed, found.held) == (1, 0), "somebody said that this is how it ends now"


@pytest.mark.parametrize(
    ("chosen", "line"),
    [
        (ChosenFormat(Jsonl, JsonlSettings()), b'{"no": "%d", "email": "a@x.se"}\n'),
        (ChosenFormat(Fixed, FixedSettings(columns=(FixedColumn(name="no", start=1, length=3),))), b"%3d\n"),
        (ChosenFormat(Csv, CsvSettings(columns=("no",))), b"%d\n"),
    ],
)
async def test_every_format_of_lines_notices_that_the_last_end_is_missing(chosen: ChosenFormat, line: bytes) -> None:
    supplier = Supplier(chosen=chosen, ignore=("seen",))
    await supplier.apply(b"".join(line % number for number in range(1, 101)))
    supplier.taken()
    found = await supplier.apply(b"".join(line % number for number in range(2, 101)).rstrip(b"\n"))
    assert (found.removed, found.held) == (0, 1)
    found = await supplier.apply(b"".join(line % number for number in range(1, 100)))
    assert (found.removed, found.held, found.reason) == (0, 1, LACKS_END)
    found = await supplier.apply(b"".join(line % number for number in range(2, 101)))
    assert (found.removed, found.held) == (1, 0)


async def test_a_register_of_fewer_rows_than_wanted_removes_nobody() -> None:
    supplier = Supplier(min_rows=98)
    await supplier.apply(register(100))
    supplier.taken()
    found = await supplier.apply(less(3, of=100))
    assert (found.removed, found.held, found.reason) == (0, 3, "it has 97 rows, fewer than min_rows (98): it may be cut")
    found = await supplier.apply(less(2, of=100))
    assert (found.removed, found.held) == (2, 0)


@pytest.mark.parametrize("part", range(50))
async def test_a_register_that_is_cut_anywhere_removes_nobody(part: int) -> None:
    whole, supplier = register(400), Supplier(missing_for=1 + part % 2)
    await supplier.apply(whole)
    supplier.taken()
    place = 10 + (len(whole) - 10) * part // 50 + part % 7
    if part % 3 == 0:
        place = whole.index(b"\n", place) + 1
    for _ in range(2):  # a supplier whose disk is full cuts it at the same place night after night
        await supplier.apply(whole[:place])
    assert [one for one in supplier.said() if one[0] == "removed"] == []
    await supplier.apply(whole)
    assert {change for change, _ in supplier.said()} <= {"changed"}


@pytest.mark.parametrize("lines", [1, 2, 3, 20])
async def test_a_register_that_lost_its_last_rows_removes_nobody_until_that_is_approved(lines: int) -> None:
    supplier = Supplier()
    await supplier.apply(register(395))
    await supplier.apply(register(400))  # whose last rows are new
    supplier.taken()
    cut = register(400 - lines)
    for _ in range(2):
        found = await supplier.apply(cut)
        assert (found.removed, found.held, found.reason) == (0, lines, LACKS_END)
    assert await supplier.register.approve() == lines
    supplier.taken()
    found = await supplier.apply(register(400 - 2 * lines))
    assert (found.removed, found.held, found.reason) == (0, lines, LACKS_END)


async def test_rows_that_go_while_others_come_behind_them_are_removed() -> None:
    supplier = Supplier()
    await supplier.apply(register(100))
    supplier.taken()
    found = await supplier.apply(register(97) + b"101,new@example.com\n")
    assert (found.added, found.removed, found.held) == (1, 3, 0)
    found = await supplier.apply(register(97))
    assert (found.removed, found.held, found.reason) == (0, 1, LACKS_END)


async def test_of_a_register_about_everybody_the_last_ones_that_are_known_are_its_end() -> None:
    supplier = Supplier(known={f"user{number}@example.com" for number in range(1, 1000, 10)})
    await supplier.apply(register(1000))
    supplier.taken()
    found = await supplier.apply(register(985) + b"x")
    assert (found.removed, found.held) == (0, 1)
    found = await supplier.apply(register(985))
    assert (found.removed, found.held, found.reason) == (0, 1, LACKS_END)
    found = await supplier.apply(register(990))
    assert (found.removed, found.held, found.reason) == (0, 1, LACKS_END)
    found = await supplier.apply(less(5, of=1000))
    assert (found.removed, found.held) == (1, 0)


async def test_rows_that_are_erased_are_no_end() -> None:
    supplier = Supplier()
    await supplier.apply(register(100))
    assert await supplier.register.erase(["100"]) == 1
    found = await supplier.apply(register(98))
    assert (found.held, found.reason) == (1, LACKS_END)


@pytest.mark.parametrize("cut", range(1, 60))
async def test_a_register_with_a_trailer_that_is_cut_is_refused_whole(cut: int) -> None:
    supplier = Supplier(chosen=ChosenFormat(Csv, CsvSettings(trailer="END")))
    whole = register(100) + b"END,100\n"
    await supplier.apply(whole)
    supplier.taken()
    if cut > 1:  # without its last line's end all of it is there
        with pytest.raises(FormatFault):
            await supplier.apply(whole[:-cut])
    assert supplier.taken() == []
    assert (await supplier.apply(whole)).records == 100
    assert supplier.taken() == []


# ---- keys ----------------------------------------------------------------------------------------------------------


async def test_of_several_rows_with_one_key_the_first_counts_and_the_others_are_reported() -> None:
    supplier = Supplier()
    found = await supplier.apply(b"no,email\n1,a@x.se\n2,b@x.se\n1,c@x.se\n")
    assert (found.records, found.added, found.repeated, found.rejected) == (3, 2, 1, 1)
    assert supplier.said() == [("added", "1"), ("added", "2")]
    ((_, fault),) = supplier.source.faults
    assert (fault.code, "line 4" in fault.message) == ("duplicate_key", True)
    for text in (b"no,email\n1,a@x.se\n1,a@x.se\n2,b@x.se\n", b"no,email\n1,a@x.se\n1,z@x.se\n2,b@x.se\n"):
        assert (await supplier.apply(text)).repeated == 1
        assert supplier.said() == []
    await supplier.apply(b"no,email\n1,z@x.se\n1,a@x.se\n2,b@x.se\n")
    assert supplier.said() == [("changed", "1")]


async def test_a_row_without_its_key_is_set_aside() -> None:
    supplier = Supplier()
    found = await supplier.apply(b"no,email\n1,a@x.se\n,b@x.se\n")
    assert (found.added, found.rejected) == (1, 1)
    assert supplier.source.faults[0][1].code == "no_key"


async def test_a_number_beyond_64_bits_is_compared_and_refused_only_where_it_would_be_kept() -> None:
    def lines(*huge: int, first: int = 0) -> bytes:
        return b"".join(b'{"no": %d, "email": "a@x", "n": [%d]}\n' % (no, n) for no, n in enumerate(huge, first))

    mapping = EventSettings(type="customer.{change}", identifiers={"customer_no": "{no}"})
    supplier = Supplier(chosen=ChosenFormat(Jsonl, JsonlSettings()), mapping=mapping, max_removed="100%")
    assert (await supplier.apply(lines(1, 10**25, 10**26))).added == 3
    assert (await supplier.apply(lines(1, 10**25, 10**26 + 1))).changed == 1
    assert (await supplier.apply(lines(10**25, 10**26 + 1, first=1))).removed == 1
    outcome = await supplier.apply(lines(10**25, first=1) + b'{"no": 99999999999999999999}\n')
    assert (outcome.rejected, outcome.held) == (1, 1), "its key cannot be kept, so nobody knows whose row it is"
    keeping = Supplier(chosen=supplier.chosen)
    assert (await keeping.apply(lines(1, 10**25))).rejected == 1


async def test_a_key_of_several_columns() -> None:
    supplier = Supplier(key=["no", "email"])
    await supplier.apply(b"no,email,x\n1,a@x.se,1\n1,b@x.se,1\n")
    supplier.taken()
    found = await supplier.apply(b"no,email,x\n1,a@x.se,2\n1,b@x.se,1\n")
    assert (found.changed, found.removed) == (1, 0)


async def test_rows_that_are_known_by_other_columns_now_are_all_new() -> None:
    supplier = Supplier()
    await supplier.apply(register(3))
    supplier.taken()
    supplier.settings = Supplier(key=["email"]).settings
    found = await supplier.apply(register(3))
    assert (found.added, found.removed, found.held) == (3, 0, 0)


# ---- whom it is about ----------------------------------------------------------------------------------------------


async def test_only_those_who_are_known_are_remembered_and_others_are_looked_up_again() -> None:
    supplier = Supplier(known={"user1@example.com"})
    found = await supplier.apply(register(3))
    assert (found.added, found.filtered) == (1, 2)
    kept = b"".join(block for _, _, blocks in supplier.source.feeds.generations.values() for block in blocks)
    assert len(kept) < 60
    supplier.known = {"user1@example.com", "user3@example.com"}
    found = await supplier.apply(register(3))
    assert (found.added, found.filtered, found.removed) == (1, 1, 0)
    assert supplier.said() == [("added", "1"), ("added", "3")]


async def test_one_who_is_no_longer_known_is_forgotten_without_a_word() -> None:
    supplier = Supplier(known={"user1@example.com", "user2@example.com"})
    await supplier.apply(register(2))
    supplier.taken()
    supplier.known = {"user1@example.com", "changed@example.com"}
    await supplier.apply(register({1: "user1@example.com", 2: "stranger@example.com"}))
    assert supplier.taken() == []
    kept = b"".join(block for _, _, blocks in supplier.source.feeds.generations.values() for block in blocks)
    assert b"\xa12" not in kept


async def test_no_text_of_anybody_but_keys_is_kept() -> None:
    supplier = Supplier()
    await supplier.apply(b"no,email\n4711,joe.public@example.com\n")
    kept = b"".join(block for _, _, blocks in supplier.source.feeds.generations.values() for block in blocks)
    assert b"4711" in kept
    assert b"joe" not in kept


# ---- interruptions -------------------------------------------------------------------------------------------------


@pytest.mark.no_cover
async def test_a_run_that_is_killed_anywhere_and_repeated_brings_the_same_events() -> None:
    first, second = register(3_000), register(rows_of(2_990) | {7: "x@example.com", 4_000: "y@example.com"})
    quiet = Supplier()
    await quiet.apply(first)
    await quiet.apply(second)
    wanted = {event.id for event in quiet.taken()}
    assert len(wanted) == 3_012
    for kill in range(8):
        supplier = Supplier()
        for text in (first, second):
            supplier.fail_at = kill
            try:
                await supplier.apply(text)
            except InterruptedError:
                supplier.fail_at = None
                await supplier.apply(text)
        assert {event.id for event in supplier.taken()} == wanted


@pytest.mark.no_cover
async def test_a_file_of_many_changes_is_read_a_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdmd.connectors.registers.comparing._KEPT_BYTES", 2**20)
    supplier = Supplier()
    lines = [f"{number},user{number}@example.com,{'x' * 500}\n".encode() for number in range(3_000)]
    await supplier.apply(b"no,email,note\n" + b"".join(lines))
    assert supplier.opened == 2
    assert len(supplier.taken()) == 3_000
    await supplier.apply(b"no,email,note\n" + b"".join(lines[:-1]) + b"2999,z@example.com,x\n")
    assert supplier.said() == [("changed", "2999")]


async def test_a_table_that_is_gone_stops_it_before_anything_is_emitted() -> None:
    supplier = Supplier()
    await supplier.apply(register(3))
    supplier.taken()
    await supplier.source.feeds.forget("supplier")
    with pytest.raises(Damaged):
        await supplier.apply(register(4))
    assert supplier.taken() == []


async def test_a_type_is_made_from_the_change_where_nothing_is_mapped() -> None:
    supplier = Supplier(mapping=None)
    await supplier.apply(register(1))
    assert [event.type for event in supplier.taken()] == ["supplier.added"]


# ---- people who are to be forgotten ----------------------------------------------------------------------------------


async def test_a_row_that_is_erased_leaves_nothing_and_comes_again_as_a_new_one() -> None:
    supplier = Supplier()
    await supplier.apply(register(100))
    supplier.taken()
    assert await supplier.register.erase([" 7 ", "nobody"]) == 1
    assert supplier.taken() == [], "it is no event"
    blocks = [block async for block in supplier.source.table("register").blocks()]
    digests = Digests(supplier.source.secret("register"), key=("no",), columns=())
    key = digests.of_key(digests.text({"no": "7"}) or b"")
    assert not any(key in block or b"\xa17" in block for block in blocks)
    found = await supplier.apply(register(100))
    assert (found.added, found.changed, found.removed) == (1, 0, 0)
    assert supplier.said() == [("added", "7")]


async def test_a_table_that_an_interruption_left_goes_when_the_erasure_is_repeated() -> None:
    supplier = Supplier()
    feeds = supplier.source.feeds
    await supplier.apply(register(100))
    old = dict(feeds.generations)
    assert await supplier.register.erase(["7"]) == 1
    feeds.generations |= old  # it was killed after the new one was current, before the old one went
    assert await supplier.register.erase(["7"]) == 0
    assert len(feeds.generations) == 1
    assert not feeds.generations.keys() & old.keys()


async def test_a_first_table_that_was_never_whole_goes_with_an_erasure() -> None:
    supplier = Supplier()
    writer = await supplier.source.table("register").write()
    await writer.put([b"a person"])
    assert await supplier.register.erase(["7"]) == 0
    assert supplier.source.feeds.generations == {}


async def test_an_erased_row_is_not_missed() -> None:
    supplier = Supplier(max_removed="0")
    await supplier.apply(register(10))
    assert await supplier.register.erase(["10"]) == 1
    assert await supplier.register.erase(["10"]) == 0
    found = await supplier.apply(register(9))
    assert (found.removed, found.held) == (0, 0)


async def test_of_held_rows_those_that_are_erased_need_no_approval() -> None:
    supplier = Supplier()
    await supplier.apply(register(100))
    await supplier.apply(register(50))
    supplier.taken()
    assert await supplier.register.erase([str(number) for number in range(51, 100)]) == 49
    applied = await supplier.register.applied()
    assert applied is not None
    assert (applied.held, applied.rows) == (1, 51)
    assert await supplier.register.approve() == 1
    assert supplier.said() == [("removed", "100")]
    assert await supplier.register.erase(["1"]) == 1
    assert await Supplier().register.erase(["1"]) == 0, "where there never was a register"


async def test_addresses_as_keys_are_erased_however_they_are_written() -> None:
    supplier = Supplier(key=("email", "no"))
    await supplier.apply(b"no,email\n1,Joe@Example.com\n2,ann@example.com\n")
    assert await supplier.register.erase(["joe@example.com"]) == 1
