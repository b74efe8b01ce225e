"""cdmd, the customer data management daemon. Public names for plugins resolve on first use."""

__version__ = "0.1.0"
