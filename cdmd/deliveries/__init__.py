"""What leaves the daemon: what is sent to whom (``telling``), and how it is brought there (``dispatching``)."""
