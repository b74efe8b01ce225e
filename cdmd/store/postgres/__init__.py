"""The store in PostgreSQL, for those who outgrow one machine: its dialect of ``cdmd.store.tables``, and how it is reached.

Imported only where the configuration names such a store: the driver (psycopg 3) comes with the extra ``cdmd[cluster]``.
"""
