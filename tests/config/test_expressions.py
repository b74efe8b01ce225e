"""Regular expressions of the configuration: what they mean today is what they mean tomorrow."""

import re
import warnings

from hypothesis import example, given
from hypothesis import strategies as st

from cdmd.config.meaning import _expression_problem


@example("[[:alpha:]]")
@example("x[^[a]")
@example("[a--b]")
@example(r"[\[a\-\-b]\[[a]")
@given(st.text(alphabet="[]^-&|~\\ab", max_size=12))
def test_an_expression_that_python_will_read_otherwise_one_day_is_a_mistake_and_no_warning(expression: str) -> None:
    """All of which Python warns are refused, and nothing is refused that could not be read otherwise."""
    re.purge()
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        try:
            re.compile(expression)
        except re.error:
            return
    problem = _expression_problem(expression)
    assert not found or (problem is not None and "a set of characters" in problem)
    assert problem is None or re.search(r"\[\^?\[|--|&&|~~|\|\|", expression)
