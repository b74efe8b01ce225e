"""What is proposed of records that were seen: whom they are about, what describes them, and what else they say."""

from cdmd.connectors.rest import probing

CONTACT = {
    "id": 1, "updated": "2026-11-20T10:00:00Z", "attributes": {"email": "p1@example.com", "First-Name": "P", "city": ""},
    "order": {"city": "Lund", "total": 3, "id": 7}, "tags": ["a"], "api_token": "t", "note": None,
}  # fmt: skip


def test_what_describes_somebody_is_a_trait_where_it_stands_beside_an_identifier() -> None:
    later = {**CONTACT, "id": 2, "attributes": {"email": "p2@example.com", "city": "Malmö", "vip": True}}
    document = {"data": [CONTACT, later]}
    found = probing.records(document)
    assert found is not None
    traits, data = probing.fields(found, {"{id}", "{updated}", *probing.identifiers(found).values()})
    assert traits == {"First_Name": '{attributes."First-Name"}', "city": "{attributes.city}"}
    assert data == {"city": "{order.city}", "total": "{order.total}", "id": "{order.id}", "vip": "{attributes.vip}"}


def test_fields_of_one_name_are_told_apart_and_no_more_than_thirty_are_proposed() -> None:
    found = probing.Records("{@}", [{"a": {"x": 1}, "b": {"x": 2}, **{f"n{number}": number for number in range(40)}}])
    _, data = probing.fields(found, ())
    assert (data["x"], data["b_x"], len(data)) == ("{a.x}", "{b.x}", 30)
