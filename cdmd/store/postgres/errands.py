"""``Errands`` in a table of the store that several nodes write. Not here: what is asked, and how it is sealed."""

from collections.abc import Callable

from typing_extensions import override

from cdmd.contracts import Errand, Errands
from cdmd.store.postgres.nodes import Nodes
from cdmd.store.tables import Reading, Tables, Write


class PostgresErrands(Errands):
    """``plainly`` runs something on the writer's thread, with no fence; ``reading`` is asked for when it is there."""

    def __init__(self, nodes: Nodes, plainly: Write, reading: Callable[[], Reading]) -> None:
        self._nodes, self._run, self._reading = nodes, plainly, reading

    @override
    async def ask(self, node: str | None, asked: bytes) -> int | None:
        rows = await self._run(lambda tables: tables.rows("errands.ask", {"name": node, "asked": asked}))
        return rows[0][0] if rows else None

    @override
    async def look(self, number: int) -> Errand | None:
        for answer, begun, there in await self._reading().rows("errands.state", (number,)):
            return Errand(answer=answer, begun=begun, there=there)
        return None

    @override
    async def withdraw(self, number: int) -> bool:
        return await self._run(lambda tables: tables.run("errands.withdraw", (number,))) > 0

    @override
    async def forget(self, number: int) -> None:
        await self._run(lambda tables: tables.run("errands.done", (number,)))

    @override
    async def waiting(self) -> bool:
        ((found,),) = await self._reading().rows("errands.waiting", (self._nodes.node,))
        return bool(found)

    @override
    async def take(self) -> list[tuple[int, bytes]]:
        def take(tables: Tables) -> list[tuple[int, bytes]]:
            tables.run("errands.forget")
            return [(number, asked) for number, asked in tables.rows("errands.take", (self._nodes.node,))]

        return await self._run(take)

    @override
    async def answer(self, number: int, answer: bytes) -> None:
        await self._run(lambda tables: tables.run("errands.answer", (answer, number)))
