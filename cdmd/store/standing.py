"""Up to where a store is applied, and which journal and digest key it belongs to. Functions for the writer's thread.

Not here: what moves the position.
"""

from cdmd.errors import Damaged, NotDurable
from cdmd.models import LANE, Seq
from cdmd.store.keys import FORMS, NEWEST, STRANGERS
from cdmd.store.moves import MOVE, refuse_moved
from cdmd.store.tables import Tables


def check_position(stored: Seq, *, known: Seq) -> None:
    """Raise where the store is not where it was when it was last written."""
    if known in {stored, 0}:
        return
    if stored < known:
        raise Damaged(f"the store went back from position {known} to {stored}; restart cdmd: it applies what is missing again")
    raise NotDurable(f"the store had reached position {stored} after all; what was to be applied must be chosen again")


def position_of(tables: Tables) -> Seq:
    """Up to where everything is applied, as the tables say. Raises ``Damaged`` where they do not."""
    for (seq,) in tables.rows("position", (LANE,)):
        return Seq(seq)
    raise Damaged("the store is damaged: it does not say up to where it is applied; mend it with: cdmd restore FILE")


def belong(journal_id: str, key_check: bytes, tables: Tables) -> str:
    """Within a transaction: a new store takes over the journal's identity and the key's; an old one must have them.

    Returns the form of its digests (``FORMS``). That follows the key's check, and is in no row of its own: a version that does
    not know the form takes the store for another key's, and starts nothing with it.
    Raises ``Damaged``, and ``CdmdError`` where the store is being filled from another one or was moved to another one.
    """
    for (said,) in tables.rows("meta", (MOVE,)):
        refuse_moved("store", said)
    kept = {name: value for name in STRANGERS for (value,) in tables.rows("meta", (name,))}
    form = kept.get("key_check", "").removeprefix(key_check.hex()) if kept else NEWEST
    mine = {"journal_id": journal_id, "key_check": key_check.hex() + (form if form in FORMS else "")}
    for name, value in mine.items():
        if name not in kept:
            tables.run("set_meta", (name, value))
        elif kept[name] != value:
            raise Damaged(STRANGERS[name])
    return form
