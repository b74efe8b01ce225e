"""Raises an exception that nobody expects while it is imported."""


class Odd(BaseException):
    """None of the usual ones."""


raise Odd("joe@example.com")
