"""Which fields of a record are not kept, by their names and without any value."""

from typing import Any

import pytest

from cdmd.contracts import EventSettings
from cdmd.privacy.minimising import MOST_FIELDS, OTHER, Minimised, dropped, reads

RECORD = {
    "id": 7,
    "customer": {"email": "joe@example.com", "phone": "070", "address": {"city": "Lund", "zip": "222"}},
    "items": [{"sku": "a"}],
    "note": "canary",
    "joe@example.com": {"deep": 1},
}


def kept(**settings: Any) -> list[str]:
    read = reads(EventSettings(**settings))
    assert read is not None
    return dropped(RECORD, read)


def test_what_no_template_reads_is_not_kept() -> None:
    found = kept(id="{id}", identifiers={"email": "{customer.email}"}, data={"city": "in {customer.address.city}!"})
    assert found == ["customer.phone", "customer.address.zip", "items", "note", "*.deep"]


def test_what_is_read_of_a_field_reads_all_below_it_as_far_as_is_known() -> None:
    assert kept(id="{id}", data={"first": "{items[0].sku}", "where": "{customer.address}"}) == [
        *("customer.email", "customer.phone", "note", "*.deep"),
    ]
    assert kept(type="t", traits={"n": "{length(items)}"}, time="{note}") == [
        *("id", "customer.email", "customer.phone", "customer.address.city", "customer.address.zip", "*.deep"),
    ]


@pytest.mark.parametrize("settings", [{"data": "*"}, {"traits": "*"}, {"data": {"all": "{@}"}}])
def test_a_record_that_is_kept_whole_loses_nothing(settings: Any) -> None:
    assert reads(EventSettings(**settings)) is None


def test_a_record_that_is_no_object_has_no_fields_and_one_that_is_too_deep_ends() -> None:
    assert dropped([1, 2], frozenset()) == []
    deep: Any = 1
    for _ in range(20):
        deep = {"a": deep}
    assert dropped(deep, frozenset()) == [".".join("a" * 8)]
    assert dropped({"empty": {}}, frozenset()) == ["empty"]


def test_each_record_counts_once_for_a_field_and_there_are_only_so_many() -> None:
    counted = Minimised()
    counted.add(["a", "a", "b"])
    counted.add(["a"])
    assert (counted.records, counted.fields) == (2, {"a": 2, "b": 1})
    counted.add([f"f{n}" for n in range(MOST_FIELDS + 5)])
    assert counted.fields[OTHER] == 7
    assert len(counted.fields) == MOST_FIELDS + 1
