from cdmd.kit.pages import origin_of, readable

SHOP = "https://shop.example"


def test_an_answer_is_readable_for_pages_of_one_origin_and_caches_know_it() -> None:
    assert dict(readable([("retry-after", "60")], origin=SHOP)) == {
        "retry-after": "60",
        "access-control-allow-origin": SHOP,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "retry-after",
        "vary": "origin",
    }


def test_an_origin_counts_only_where_it_is_allowed_to_the_letter() -> None:
    assert origin_of([("host", "in.example"), ("origin", SHOP)], {SHOP}) == SHOP
    for headers in ([], [("origin", "https://SHOP.example")], [("origin", "null")], [("referer", SHOP)]):
        assert origin_of(headers, {SHOP}) is None
