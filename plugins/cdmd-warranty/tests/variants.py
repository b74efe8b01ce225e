"""The warranty extension under the other two rules for failures, as a plugin of its own would declare them."""

import cdmd_warranty

import cdmd


class Storing:
    @cdmd.hookimpl
    def cdmd_extensions(self) -> list[cdmd.Extension]:
        @cdmd.extension(on="tv.runtime", timeout=0.5, on_failure="store", name="warranty_or_not")
        async def ask(event: cdmd.Event, context: cdmd.Context) -> cdmd.Event | None:
            return await cdmd_warranty.warranty.function(event, context)

        return [ask]


class Rejecting:
    @cdmd.hookimpl
    def cdmd_extensions(self) -> list[cdmd.Extension]:
        @cdmd.extension(on="tv.runtime", timeout=0.5, on_failure="reject", name="warranty_or_dead")
        async def ask(event: cdmd.Event, context: cdmd.Context) -> cdmd.Event | None:
            return await cdmd_warranty.warranty.function(event, context)

        return [ask]


storing, rejecting = Storing(), Rejecting()
