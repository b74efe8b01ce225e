from tests.peers.fixtures import gpg_home, server

__all__ = ["gpg_home", "server"]
