"""What decisions go by survives the way into another process, whatever is configured."""

import pickle
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from cdmd.batches.deciding import Decision
from cdmd.batches.preparing import prepare
from cdmd.batches.rules import Rules
from cdmd.config.naming import Names
from cdmd.config.outbound import TargetConfig, TargetFrame
from cdmd.config.schema import AudienceSettings, IdentifierSettings, IdentitySettings, IndicatorSettings
from cdmd.deliveries.subscribing import Subscriptions
from cdmd.errors import Overloaded
from cdmd.identity.identifiers import Kinds
from cdmd.models import Apply, Changes, Entry, Event, Item, Known, Micros, ProfileKey, Seq, to_micros
from cdmd.privacy.suppressions import Suppressions
from cdmd.profiles.audiences import Audiences
from cdmd.profiles.projection import Projection
from cdmd.profiles.telling import ToldValues
from cdmd.store.keys import Digester
from cdmd.testing import ManualClock


def rules() -> Rules:
    """Every kind of compiled thing: conditions, templates, globs, patterns, windows, digests."""
    indicators = {
        "orders": IndicatorSettings(on=("order.*",), where="event.data.total > 1.0"),
        "spent": IndicatorSettings(on=("order.*",), value="{data.total}", compute="sum"),
        "names": IndicatorSettings(on=("order.*",), value="{join('-', [data.a, data.b])}", compute="last"),
        "lately": IndicatorSettings(on=("order.*",), window="30d"),
        "each": IndicatorSettings(value="indicators.spent / double(indicators.orders)"),
    }
    kinds = Kinds(
        IdentitySettings(
            identifiers={
                "email": IdentifierSettings(priority=1, blocked=("test@.*",)),
                "email_sha256": IdentifierSettings(priority=2),
                "phone": IdentifierSettings(priority=3, normalize="phone", region="SE"),
            }
        )
    )
    audiences = Audiences(
        {"good": AudienceSettings(where="indicators.spent >= 10.0 && profile.traits.city == 'Lund'")}, Projection(indicators)
    )
    frame = TargetFrame(
        type="webhook", events=("*",), where="event.data.total > 1.0 && profile.traits.city == 'Lund'", fields=("indicators.*",)
    )
    target = TargetConfig(name="crm", frame=frame, settings=None, file="cdmd.toml")
    listed = Suppressions(key=b"k", naming=lambda: kinds)
    listed.load([listed.digest(("email", "gone@example.com"))])
    told = Subscriptions([target], ToldValues(audiences, indicators), journal_id="j")
    return Rules(
        journal_id="j", kinds=kinds, audiences=audiences, digester=Digester(bytes(32)), screen=listed, subscriptions=told
    )


def decided(by: Rules) -> Changes:
    now = ManualClock().now()
    events = [
        Event(id=f"{n}", source="shop", type="order.paid", received=now, identifiers=held, traits={"city": "Lund"}, data=data)
        for n, (held, data) in enumerate(
            [
                ({"email": "a@example.com", "phone": "070 123 45 67"}, {"total": 11, "a": "x", "b": "y"}),
                ({"email": "a@example.com"}, {"total": 0}),
                ({"email": "test@example.com"}, {"total": 3}),
                ({"email": "gone@example.com"}, {"total": 3}),
            ]
        )
    ]
    work = [(Item(seq=Seq(n), entry=Entry(one), outcome=Apply()), one) for n, one in enumerate(events, 1)]
    decision = Decision(prepare(by, work), position=Seq(4), parked=0, now=Micros(to_micros(now)))
    return decision(Known({}, {}, {}, ProfileKey(1)))


def test_decisions_go_by_the_same_rules_there() -> None:
    here = decided(rules())
    assert here.outgoing is not None
    assert [one.audience for one in here.notices] == ["good"]
    assert decided(pickle.loads(pickle.dumps(rules()))) == here


def test_nothing_is_needed_there_but_what_decides_and_writes(tmp_path: Path) -> None:
    """The daemon's parts, its servers and clients would take twenty MiB more, and longer to start than all the rest."""
    named = Digester(bytes(32), named=Names({}).earliest)
    (tmp_path / "rules").write_bytes(pickle.dumps(msgspec.structs.replace(rules(), digester=named)))
    script = (
        "import pickle, sys; import cdmd.batches.store_process\n"
        "pickle.load(sys.stdin.buffer)\n"
        "print(*{'cdmd.daemon', 'cdmd.cli', 'httpx', 'asyncssh', 'structlog'} & sys.modules.keys())"
    )
    with (tmp_path / "rules").open("rb") as content:
        ran = subprocess.run(
            [sys.executable, "-c", script],
            stdin=content,
            capture_output=True,
            cwd=Path(__file__).parents[2],
            timeout=60,
            check=True,
        )
    assert ran.stdout == b"\n"


def test_a_list_of_the_suppressed_that_is_not_read_yet_is_not_read_there_either() -> None:
    listed = Suppressions(key=b"k", naming=lambda: rules().kinds)
    with pytest.raises(Overloaded):
        pickle.loads(pickle.dumps(listed)).holds(("email", "a@example.com"))
