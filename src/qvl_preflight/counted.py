"""Numbers in sentences."""

from __future__ import annotations


def counted(number: int, thing: str) -> str:
    """``1 layer``, ``2 layers``."""
    return f"{number} {thing if number == 1 else f'{thing}s'}"


def verb(number: int, one: str, more: str) -> str:
    """The form of the verb that goes with the number."""
    return one if number == 1 else more
