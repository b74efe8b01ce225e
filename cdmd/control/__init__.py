"""The local socket: what may be asked, by whom, and what comes back. Light to import: the client side needs no server."""
