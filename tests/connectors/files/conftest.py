from tests.peers.fixtures import server

__all__ = ["server"]
