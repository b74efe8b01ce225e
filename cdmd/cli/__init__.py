"""The two commands: ``cdmd`` starts and inspects, ``cdmctl`` talks to the running daemon. Here imports may be late."""
