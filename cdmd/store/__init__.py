"""The journal and the store: everything that is kept, and the only room that speaks SQL.

Start at ``opening`` (both databases of a state directory, checked against each other), then ``journal`` and ``store``. What the
store does with its tables is written over ``tables``, which knows statements by their names only; ``sqlite_tables`` speaks
SQLite's dialect, the package ``postgres`` PostgreSQL's. ``remote`` is the writer in a process of its own, ``served``
what it does there.
Not here: any decision about an event; ``Store.apply`` is handed the function that decides.
"""
