"""The Connector Studio: APIs that speak HTTP, declared in TOML and read without code."""

from cdmd.connectors.rest.connector import Rest

__all__ = ["Rest"]
