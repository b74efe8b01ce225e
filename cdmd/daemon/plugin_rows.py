"""Plugins as commands show them: what each brings, what its extensions took, and TOML to paste for it."""

from collections.abc import Mapping

from cdmd.config.example import example
from cdmd.contracts import Extension
from cdmd.control.protocol import ExtensionRow, PluginInfo, PluginRow, ProcessRow
from cdmd.daemon.parts import Parts
from cdmd.errors import NotFound
from cdmd.extensions import ExtensionState
from cdmd.isolation import ProcessState
from cdmd.models import from_micros, show_time
from cdmd.plugins.brought import Brought


def plugin_rows(parts: Parts, held: Mapping[str, int]) -> list[PluginRow]:
    """A row for each, by name. ``held`` is how many events wait for each extension (``Store.waiting_for``)."""
    states, declared = parts.extensions.states(), parts.extensions.declared()
    found = []
    for row in parts.plugins.rows():
        own = [one for one in states if one.plugin == row.name]
        errors = [row.error, *(f"{one.extension}: {_said(one)}" for one in own if one.error)]
        found.append(
            PluginRow(
                name=row.name,
                version=row.version,
                state=row.state,
                error="; ".join(one for one in errors if one) or None,
                brings=tuple(row.brings),
                calls=sum(one.calls for one in own),
                failures=sum(one.failures for one in own),
                seconds=round(sum(one.seconds for one in own), 3),
                process=_process(parts.isolating.state(row.name)),
                held=sum(held.get(one.extension, 0) for one in own),
                withheld=tuple(
                    sorted({glob for one in own if one.withheld is not None for glob in declared[one.extension].on})
                ),
            )
        )
    return found


def _said(state: ExtensionState) -> str:
    until = None if state.open_until is None else f"not called until {show_time(from_micros(state.open_until))}"
    return "; ".join(filter(None, (state.error, until)))


def _process(state: ProcessState | None) -> ProcessRow | None:
    if state is None:
        return None
    return ProcessRow(
        state=state.state,
        pid=state.pid,
        memory_bytes=state.memory,
        max_memory_bytes=state.max_memory,
        restarts=state.restarts,
        reason=state.reason,
        kernel=state.kernel,
        signals=state.signals,
    )


async def plugin_info(parts: Parts, name: str) -> PluginInfo:
    """All about one. Raises ``NotFound``, and ``CdmdError`` where the store cannot be read."""
    held = await parts.store.waiting_for()
    row = next((one for one in plugin_rows(parts, held) if one.name == name), None)
    if row is None:
        raise NotFound(f"there is no plugin {name}: cdmctl plugins lists those there are")
    declared = parts.extensions.declared()
    brought = parts.plugins.brought(name)
    return PluginInfo(
        **{field: getattr(row, field) for field in row.__struct_fields__},
        extensions=tuple(
            _row(one, declared[one.extension], held.get(one.extension, 0))
            for one in parts.extensions.states()
            if one.plugin == name
        ),
        example="" if brought is None else examples(name, brought),
    )


def examples(name: str, brought: Brought) -> str:
    """Its own table where it declares one, then a table of each connector and target type, and each format."""
    tables = (
        [example(f"plugins.{name}", brought.settings)]
        if brought.settings is not None
        else list(filter(None, [brought.example]))
    )
    for what, types in (("connectors", brought.connectors), ("targets", brought.targets)):
        tables += [example(f"{what}.{one.type}", one.Settings, type=one.type) for one in types]
    tables += [example("connectors.NAME.format", one.Settings, type=one.name) for one in brought.formats]
    return "\n".join(tables)


def _row(state: ExtensionState, declared: Extension, held: int) -> ExtensionRow:
    return ExtensionRow(
        name=state.extension,
        on=tuple(declared.on),
        timeout=declared.timeout,
        on_failure=declared.on_failure,
        calls=state.calls,
        failures=state.failures,
        seconds=round(state.seconds, 3),
        p95_seconds=state.p95_seconds,
        running=state.running,
        waiting=state.waiting,
        not_called_until=None if state.open_until is None else from_micros(state.open_until),
        error=state.error,
        held=held,
        withheld=state.withheld,
    )
