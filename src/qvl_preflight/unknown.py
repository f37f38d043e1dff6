"""What nobody could establish is a value with a reason, never a guess.

A value is ``T | Unknown``. Code that cannot go on without it calls ``need(value)``: that raises `Undecided`, which whoever
runs the code (the plan for its stages, the engine for its rules) turns into a skipped check with that reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@dataclass(frozen=True)
class Unknown:
    """Stands for a value that nobody could establish."""

    reason: str

    def __bool__(self) -> bool:
        raise TypeError(f"unknown is neither true nor false ({self.reason}); ask need() or isinstance(…, Unknown)")


class Undecided(Exception):
    """A question cannot be answered without a value that is unknown."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def need(value: T | Unknown) -> T:
    """The value itself. Raises `Undecided` where it is unknown."""
    if isinstance(value, Unknown):
        raise Undecided(value.reason)
    return value


def attempt(compute: Callable[[], T]) -> T | Unknown:
    """What ``compute()`` returns, or Unknown where it needed something unknown."""
    try:
        return compute()
    except Undecided as undecided:
        return Unknown(undecided.reason)
