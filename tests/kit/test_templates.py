import contextlib
import traceback
from typing import Any

import jmespath
import jmespath.functions
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdmd.errors import TemplateFault
from cdmd.kit.templates import Template

RECORD: dict[str, Any] = {
    "id": 42,
    "customer": {"email": "joe@example.com", "tags": ["a", "b"], "none": None},
    "E-post": "eva@example.com",
    "total": 1e16,
    "paid": True,
    "not paid": False,
    "items": [{"sku": "x", "n": 2}, {"sku": "y", "n": 3}],
    "_file": "the record's own",
}
CONTEXT = {"_request": {"headers": {"x_topic": "orders"}, "query": {"shop": "7"}}}


def render(text: str, record: Any = RECORD) -> Any:
    return Template.parse(text).render(record, CONTEXT)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{id}", 42),
        ("{customer}", RECORD["customer"]),
        ("{ customer.email }", "joe@example.com"),
        ('{"E-post"}', "eva@example.com"),
        ("{items[1].sku}", "y"),
        ("{items[-1].n}", 3),
        ("{items[*].sku}", ["x", "y"]),
        ("{@}", RECORD),
        ("{paid}", True),
        ("{_request.headers.x_topic}", "orders"),
        ("{_request}", CONTEXT["_request"]),
        ("{sum(items[*].n)}", 5),
        ("{to_number('12.5')}", 12.5),
        ("{merge(customer, items[0]).sku}", "x"),
    ],
)
def test_one_single_expression_keeps_the_json_type(text: str, value: Any) -> None:
    assert render(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", ""),
        ("order.paid", "order.paid"),
        ("{{literal}}", "{literal}"),
        ("{{{id}}}", "{42}"),
        ('{id}:{paid}:{"not paid"}', "42:true:false"),
        ("n{total}", "n10000000000000000"),
        (" {id}", " 42"),
        ("{_request.query.shop}/{customer.email}", "7/joe@example.com"),
    ],
)
def test_parts_are_joined_to_text(text: str, value: str) -> None:
    assert render(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{ {a: id, b: {c: paid}}}", {"a": 42, "b": {"c": True}}),
        ("{'}'}", "}"),
        ("x{'}{'}", "x}{"),
        (r"{'it\'s }'}", "it's }"),
        ('{`{"a": "}"}`}', {"a": "}"}),
        ('{"}"}', None),
    ],
)
def test_braces_within_an_expression_balance_and_those_in_quotes_do_not_count(text: str, value: Any) -> None:
    assert render(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "{missing}",
        "a{missing}",
        "{customer.none}b",
        "{id.x}",
        "{items.x}",
        "{items[9]}",
        "{_file.name}",
        "{id[0]}",
        "{customer.email[0]}",
        "{customer[0]}",
    ],
)
def test_a_null_part_makes_the_whole_null(text: str) -> None:
    assert render(text) is None


def test_the_names_of_the_request_never_come_from_the_record() -> None:
    assert render("{_file}") is None
    assert render("{customer._request}") is None
    assert render("{items[*]._request}") == []
    assert render("{join('-', [_request.query.shop, \"E-post\"])}") == "7-eva@example.com"
    assert render("{_request | headers.x_topic}") == "orders"
    assert render("{[_request.query.shop, items[0].sku] | [1]}") == "x"
    assert render("{_request.headers.x_topic == 'orders'}") is True


@pytest.mark.parametrize("record", [None, 1, "text", [1], True])
def test_the_record_may_be_any_json_value(record: Any) -> None:
    assert render("{@}", record) == record
    assert render("{a.b}", record) is None
    assert render("{_request.query.shop}", record) == "7"
    assert render("{to_string(@)}", record) is not None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{id", "column 1: a closing } is missing"),
        ("a{'x}", "column 2: a closing ' is missing"),
        ("a}b", "column 2: a single } (write }} for a literal one)"),
        ("{}", "column 2: an expression is missing between { and }"),
        ("{  }", "column 2: an expression is missing between { and }"),
        ("x {a b}", "column 6: unexpected 'b' in the expression 'a b'"),
        ("{a ^}", "column 4: Unknown token ^"),
        ("{(a}", "column 4: the expression '(a' is not complete"),
        ("{nope(a)}", "column 2: there is no function nope()"),
        ("{[a, nope(a)]}", "column 2: there is no function nope()"),
        ("{abs(a, b)}", "column 2: abs() takes 1 arguments, not 2"),
        ("{merge()}", "column 2: merge() takes at least 1 arguments, not 0"),
        ("{a[::0]}", "column 2: a slice cannot have the step 0"),
        ("{&a}", "column 2: & stands only before an argument of a function"),
        ("{[&a]}", "column 2: & stands only before an argument of a function"),
        ("{`abc`}", "column 2: between backquotes stands JSON; text is written '...'"),
        ("{" + "(" * 5000 + "a" + ")" * 5000 + "}", "column 2: the expression is nested too deeply"),
    ],
)
def test_bad_syntax_is_told_with_its_column_and_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared below
        Template.parse(text)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("text", "path", "kind"),
    [
        ("{abs(customer.email)}", "customer.email", "string"),
        ("{sum(items[*].sku)}", None, "string"),
        ("{customer.email < id}", "customer.email", "string"),
        ("{join(',', [_request.query.shop, id])}", "_request.query.shop", "string"),
        ("{`1` < 'x'}", None, "object"),
        ("{avg(items[?n > 'x'])}", "items", "array"),
        ("{ceil(items[0].sku)}", "items[0].sku", "string"),
    ],
)
def test_a_runtime_fault_names_expression_path_and_kind(text: str, path: str | None, kind: str) -> None:
    with pytest.raises(TemplateFault) as caught:
        render(text)
    assert caught.value.expression == text[1:-1]
    if path != "_request.query.shop":  # join() reports the whole list it was given
        assert (caught.value.path, caught.value.kind) == (path, kind)


def test_a_fault_never_shows_the_value() -> None:
    record = {"a": "geheim-4711", "n": 1}
    for text in ("{abs(a)}", "{a < n}", "{join(a, a)}", "{max_by(@, &a)}", "{keys(a)}"):
        with pytest.raises(TemplateFault) as caught:
            render(text, record)
        shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
        assert "geheim" not in shown
        assert caught.value.__context__ is None


@pytest.mark.parametrize("text", ["x{customer}", "{items}y", "x{total}"])
def test_lists_objects_and_numbers_without_a_form_cannot_stand_inside_text(text: str) -> None:
    with pytest.raises(TemplateFault):
        render(text, {**RECORD, "total": float("inf")})


def test_what_a_template_reads_is_known() -> None:
    template = Template.parse(
        '{id}:{join(`,`, [customer.email, _request.query.shop])}{items[?n > m].sku}{"E-post"}'.replace("`,`", "','")
    )
    assert template.roots == {"id", "customer", "_request", "items", "E-post"}
    assert Template.parse("{@}").roots == {"@"}
    assert Template.parse("{length(@)}").roots == {"@"}
    assert Template.parse("fixed").constant
    assert not template.constant
    assert Template.parse("{ a }x{b}").expressions == ("a", "b")


def test_templates_compare_by_their_text() -> None:
    assert Template.parse("{a}") == Template.parse("{a}")
    assert Template.parse("{a}") != Template.parse("{ a }")
    assert Template.parse("{a}") != "{a}"
    assert len({Template.parse("{a}"), Template.parse("{a}")}) == 1
    assert repr(Template.parse("{a}")) == "Template('{a}')"


NAMES = st.sampled_from(["a", "b", "_c", "E-post", "x y", "é", "1", ""])
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=12,
)
QUOTED = NAMES.map(lambda name: name if name.isidentifier() and name.isascii() else f'"{name}"')
INDEX = st.integers(-3, 3).map(lambda place: f"[{place}]")


@st.composite
def paths(draw: st.DrawFn) -> str:
    steps = draw(st.lists(st.one_of(QUOTED, INDEX), min_size=1, max_size=4))
    start = draw(st.sampled_from(["", "@"]))
    text = start
    for step in steps:
        text += step if step.startswith("[") or not text else f".{step}"
    return text


@given(paths(), JSON)
def test_a_compiled_path_means_exactly_what_jmespath_means(path: str, record: Any) -> None:
    expected = jmespath.search(path, record)
    found = Template.parse("{" + path + "}").render(record, {})
    assert found is expected or found == expected


@given(st.text(alphabet="{}'\"`ab.[]0&|*?@ ", max_size=20), JSON)
def test_any_text_parses_and_renders_or_says_why(text: str, record: Any) -> None:
    with contextlib.suppress(ValueError, TemplateFault):
        Template.parse(text).render(record, {})
