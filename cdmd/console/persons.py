"""What is done for or about one person: hand out everything, make two people of one, erase. For admins; all of it is audited.

A form names the person by the public id, never by an identifier; what is grave is shown first and confirmed with a typed word.
"""

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from cdmd.console.asking import Asking
from cdmd.console.forms import Form, needed
from cdmd.console.pages import Question
from cdmd.errors import BadArguments

Document = Mapping[str, Any]


async def export(asking: Asking, form: Form) -> Response:
    """Everything that is held about the person, as a file of JSON Lines."""
    profile = await _profile(asking, form)
    name = f'attachment; filename="{profile["id"]}.jsonl"'
    said = {"identifier": _identifier(profile["identifiers"][0])}
    return asking.kept("/v1/profile/export", said, headers={"content-disposition": name, "cache-control": "no-store"})


async def ask_erase(asking: Asking, form: Form) -> Question:
    """Before a person is gone."""
    profile = await _profile(asking, form)
    holdings = await asking.post("/v1/erasures/try", {"identifier": _identifier(profile["identifiers"][0])})
    facts = {
        "identifiers": ", ".join(f"{kind} {count}" for kind, count in holdings["identifiers"].items()),
        "merged profiles": holdings["merged"],
        "activities": holdings["activities"],
        "activities of others that name them": "not looked through" if holdings["others"] is None else holdings["others"],
        "dead letters and parked events": holdings["waiting"],
    }
    if holdings["copies"]:
        facts["backups that may hold them"] = ", ".join(holdings["copies"])
    text = (
        "Everything about this person is removed from every file, and nothing about them is taken any more. "
        "Nobody can bring it back; hand out the export first where it is asked for."
    )
    return Question("Erase this person?", text, "Erase for good", _named(profile), facts)


async def erase(asking: Asking, form: Form) -> str:
    """Erase the person; in force when it returns."""
    profile = await _profile(asking, form)
    row = await asking.post("/v1/erasures", {"identifier": _identifier(profile["identifiers"][0])})
    return f"the erasure {row['id']} is {row['state']}; cdmctl erasures shows what is still being removed"


async def ask_split(asking: Asking, form: Form) -> Question:
    """Before one person becomes two: who would have what."""
    report = await asking.post("/v1/profile/split", {**await _two(asking, form), "apply": False})
    facts = {
        f"{place} person": f"{_listed(side['identifiers'])}; {side['events']} events"
        for place, side in zip(("one", "other"), report["sides"], strict=False)
    }
    if report["contested"]:
        facts["named both"] = f"{report['contested']} events, which go to the stronger one"
    text = f"{report['summary']}. Each gets what is theirs, and nothing that arrives joins the two again."
    return Question("Make two people of this one?", text, "Split", "split", facts)


async def split(asking: Asking, form: Form) -> str:
    """Make two people of the one."""
    report = await asking.post("/v1/profile/split", {**await _two(asking, form), "apply": True})
    return str(report["summary"])


async def _two(asking: Asking, form: Form) -> dict[str, str]:
    identifiers = (await _profile(asking, form))["identifiers"]
    places = [form.get("first", "0"), needed(form, "second")]
    if any(not (one.isascii() and one.isdigit() and int(one[:6]) < len(identifiers)) for one in places):
        raise BadArguments("there are other identifiers now: load the page again")
    if places[0] == places[1]:
        raise BadArguments("choose two different identifiers: one of each person")
    first, second = (_identifier(identifiers[int(one[:6])]) for one in places)
    return {"first": first, "second": second}


async def _profile(asking: Asking, form: Form) -> Document:
    profile: Document = await asking.get("/v1/profile", {"profile": needed(form, "public"), "activities": 0})
    if not profile["identifiers"]:
        raise BadArguments("nothing is known by which this customer could be named")
    return profile


def _identifier(one: Mapping[str, str]) -> str:
    return f"{one['kind']}:{one['value']}"


def _named(profile: Document) -> str:
    """What is typed to confirm: the value that stands at the head of the page."""
    identifiers = profile["identifiers"]
    return str(next((one for one in identifiers if one["kind"] == "email"), identifiers[0])["value"])


def _listed(identifiers: list[Mapping[str, str]]) -> str:
    return ", ".join(f"{one['kind']} {one['value']}" for one in identifiers)
