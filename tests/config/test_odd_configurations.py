"""Whatever a configuration says, it is taken or refused in sentences: never a traceback, never a line that breaks."""

from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdmd.config.schema import Config
from cdmd.errors import ConfigInvalid

TABLES = st.sampled_from(
    ["daemon", "http", "http.tls", "control", "network", "queue", "journal", "identity", "identity.identifiers.email",
     "indicators.a", 'indicators."a\\nb"', "connectors.a", "connectors.a.event", "connectors.a.verify",
     "plugins.w", 'plugins.""']
)  # fmt: skip
KEYS = st.sampled_from(
    ["state_dir", "listen", "max_body", "tls", "socket", "admins", "allow_addresses", "max_events", "keep", "type", "verify",
     "secrets", "records", "accept", "where", "was", "event", "id", "time", "identifiers", "data", "on", "value", "compute",
     "priority", "region", "blocked", "per", "path", "enabled", "token", '"\\u0000"', '"x.y"']
)  # fmt: skip
VALUES = st.sampled_from(
    ["1", "-1", "99999999999999999999999", '""', '"webhook"', '"files"', "true", "[]", "{}", "[{}]", "{a = 1}", "1.5", "nan",
     "1979-05-27T07:32:00Z", '"{"', '"{a.b[*]}"', '"\\u0000"', '"env:"', '"file:/"', '"file:\\u0000"', '"credential:../x"',
     '"1 MiB"', '"9999999999999999w"', '[1, "a", []]', '"((("', '"event.a"', '"*"', '"fd:"', '"[::1]:0"', '["1.1.1.1/99"]']
)  # fmt: skip
ROWS = st.one_of(TABLES.map(lambda name: f"[{name}]"), st.tuples(KEYS, VALUES).map(lambda pair: f"{pair[0]} = {pair[1]}"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROWS, max_size=12))
def test_any_configuration_is_taken_or_refused_in_sentences(loading: Callable[..., Config], rows: list[Any]) -> None:
    problems = ["cdmd.toml: a mistake"]
    try:
        assert isinstance(loading("\n".join(rows)), Config)
    except ConfigInvalid as refused:
        problems = list(refused.problems)
    assert problems
    assert [one for one in problems if not one.isprintable() or ": " not in one] == []
