"""Leaves it to the server when what was committed is on its disk."""

from cdmd.store.postgres import connecting

connecting._SESSION = {  # type: ignore[misc]
    name: value for name, value in connecting._SESSION.items() if name != "synchronous_commit"
}
