"""One protection: what it looks like in the code, and the test that misses it."""

from typing import NamedTuple


class Protection(NamedTuple):
    """One line of code that keeps a promise."""

    name: str
    path: str
    stands: str
    """What is there, once."""
    broken: str
    """What takes its place."""
    tests: tuple[str, ...]
    """What must fail then: arguments of pytest."""
