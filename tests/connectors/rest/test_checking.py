"""What a declaration cannot be is told at once, with its key and what to do."""

import pytest

from tests.connectors.rest.driving import CONTACTS, mistakes

S = "streams.contacts."
STREAM = CONTACTS[CONTACTS.index("[streams.contacts]") :]


def changed(old: str, new: str) -> str:
    assert old in CONTACTS
    return CONTACTS.replace(old, new)


def test_a_good_one_has_no_mistakes() -> None:
    assert mistakes(CONTACTS) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            changed("https://api.example", "api.example"),
            "base_url: must begin with http:// or https://, a host that is written out, and a slash",
        ),
        (
            changed("https://api.example", "https://{host}/x"),
            "base_url: must begin with http:// or https://, a host that is written out, and a slash",
        ),
        (changed("https://api.example", "https://api.example/{x}"), "base_url: must not hold a template"),
        (changed("https://api.example", "https://api.example/v1?x=1"), "base_url: must not have a query"),
        (changed('limits = "1000/1s"', 'max_body = "11MiB"'), "max_body: at most 10MiB"),
        (changed('limits = "1000/1s"', 'every = "500ms"'), "every: at least 1s"),
        (changed('limits = "1000/1s"', 'headers = { "X Y" = "1" }'), "headers: 'X Y' is not a header's name"),
        (
            changed('limits = "1000/1s"', 'auth = { type = "basic", username = "a:b", password = "x" }'),
            "auth.username: must not hold a colon",
        ),
        (
            changed('limits = "1000/1s"', "errors = { retry = [99] }"),
            'errors.retry: 99 is neither a status (429) nor a class of them ("5xx")',
        ),
        (changed('limits = "1000/1s"', 'errors = { ignore_if = "{" }'), "errors.ignore_if: column 1: a closing } is missing"),
        (
            changed("/contacts", "/{unknown}"),
            S + "path: a request knows no unknown, only cursor, limit, offset, page, parent, since, until",
        ),
        (changed("/contacts", "/{parent.x}"), S + "path: this stream has no parent"),
        (changed("/contacts", "/x#y"), S + "path: must not have a fragment (#)"),
        (
            changed('path = "/contacts"', 'path = "/contacts"\nparams = { a = "{" }'),
            S + "params: column 1: a closing } is missing",
        ),
        (changed('path = "/contacts"', 'path = "/contacts"\nbody = { a = 1 }'), S + 'body: goes with method = "POST"'),
        (
            changed('path = "/contacts"', 'path = "/contacts"\nmethod = "POST"\nbody_as = "form"\nbody = { a = { b = 1 } }'),
            S + "body_as: a form needs a `body`, of texts and numbers only and without tables",
        ),
        (
            changed('path = "/contacts"', 'path = "/contacts"\nbody_as = "form"'),
            S + "body_as: a form needs a `body`, of texts and numbers only and without tables",
        ),
        (
            changed('path = "/contacts"', 'path = "/contacts"\nheaders = { "a b" = "1" }'),
            S + "headers: 'a b' is not a header's name",
        ),
        (changed('path = "/contacts"', 'path = "/contacts"\nevery = "10ms"'), S + "every: at least 1s"),
        (changed('path = "/contacts"', 'path = "/contacts"\nkey = "{"'), S + "key: column 1: a closing } is missing"),
        (changed("{results[*]}", "{results[*}"), S + "records: column 11: the expression 'results[*' is not complete"),
        (changed("{paging.next.after}", "{"), S + "page.from: column 1: a closing } is missing"),
        (
            changed('order = "asc"', 'format = "unixx"'),
            S + "since.format: 'unixx' is none of rfc3339, unix, unix_ms, date, number, text, and no pattern of strftime",
        ),
        (
            changed('order = "asc"', 'initial = "soon"'),
            S + "since.initial: this text is not a time: RFC 3339 with an offset, Unix seconds or Unix milliseconds",
        ),
        (
            changed('field = "{updated_at}", ', ""),
            S + "since.field: is missing: a template over a record that says what the next look asks for",
        ),
        (
            changed('field = "{updated_at}", param = "updated_since", order = "asc"', ""),
            S + "since: says nothing; give `field` and `param`, or `etag = true`",
        ),
        (
            changed('order = "asc"', 'window = "1d"'),
            S + "since.window: needs times, an `initial`, and `until` (or a template that names {until})",
        ),
        (
            changed('order = "asc"', 'window = "10ms", until = "to", initial = "2026-01-01T00:00:00Z"'),
            S + "since.window: at least 1s",
        ),
        (changed('order = "asc"', 'format = "number", lookback = "1m"'), S + "since.lookback: number is no time"),
        (
            changed('id = "{id}:{updated_at}", ', ""),
            S + "event.id: is missing; give it, or `key` where records have no id of an occurrence",
        ),
        (changed("streams.contacts", "streams.'a b'"), "streams.a b.path: the stream's name has letters, digits, _ and - only"),
        (CONTACTS.replace(STREAM, "[streams]"), "streams: is empty; declare at least one: [connectors.NAME.streams.STREAM]"),
        (
            changed("page = {", 'parent = { stream = "x", fields = { a = "{id}" } }\npage = {'),
            S + "parent.stream: there is no stream 'x'; there are contacts",
        ),
        (
            changed("page = {", 'parent = { stream = "contacts", fields = {} }\npage = {'),
            S + "parent.fields: is empty: name what of the parent's record the request needs",
        ),
        (
            changed("page = {", 'parent = { stream = "contacts", fields = { a = "{" } }\npage = {'),
            S + "parent.fields.a: column 1: a closing } is missing",
        ),
        (
            changed("page = {", 'format = { type = "csv", encoding = "klingon" }\npage = {'),
            S + "format: format: unknown encoding: klingon",
        ),
    ],
)
def test_every_mistake_is_told_with_its_key(text: str, expected: str) -> None:
    found = mistakes(text)
    assert [one for one in found if one.startswith(expected)], found


@pytest.mark.parametrize(
    ("more", "page", "wrong"),
    [("", "link", True), (', order = "asc"', "page", True), (', order = "desc"', "link", False), ("", "none", False)],
)
def test_a_condition_over_one_page_needs_all_that_is_new_on_it(more: str, page: str, *, wrong: bool) -> None:
    """Seen to miss whatever came behind the first page, for good."""
    text = (
        'base_url = "https://api.example"\n[streams.contacts]\npath = "/contacts"\nrecords = "{results[*]}"\n'
        f'since = {{ etag = true{more} }}\npage = {{ type = "{page}" }}\nevent = {{ id = "{{id}}" }}\n'
    )
    found = [one for one in mistakes(text) if "since.etag" in one]
    assert bool(found) == wrong


def test_a_stream_with_a_parent_has_no_position_and_no_circle_of_parents() -> None:
    text = changed("page = {", 'parent = { stream = "contacts", fields = { a = "{id}" } }\npage = {')
    assert mistakes(text) == [
        S + "since: a stream with a parent is asked about each new record of it, and about nothing else",
        S + "parent.stream: leads back to this stream",
    ]


def test_unknown_keys_are_mistakes_with_the_nearest_name() -> None:
    assert mistakes(changed("records =", "record =")) == [S + "record: unknown key (did you mean records?)"]
    assert mistakes(changed('order = "asc"', 'order = "ascending"')) == [
        S + 'since.order: "ascending" is none of "asc", "desc", "none"'
    ]
