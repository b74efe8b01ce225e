"""The journal and the store in SQLite: everything that is kept, and the only room that speaks SQL.

Start at ``opening`` (both databases of a state directory, checked against each other), then ``journal`` and ``store``.
Not here: any decision about an event; ``Store.apply`` is handed the function that decides.
"""
