"""The longest sequence and the largest batch that fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from qvl_preflight.fitting.question import Question

_LONGEST, _GRAIN = 2**20, 64
_WIDEST = 2**16


@dataclass(frozen=True)
class Limits:
    """``bound``: is it the model's positions that end the sequence, and not the memory? None: not even the least fits, or nobody knows."""

    sequence: int | None = None
    batch: int | None = None
    bound: bool = False


def limits(question: Question) -> Limits:
    """Each with the rest as it is asked for."""
    if question.holds is None or not question.rooms:
        return Limits()
    asked = question.call.asked
    positions = question.call.positions
    most = _LONGEST if positions is None else max(1, min(_LONGEST, positions - asked.new_tokens))
    length = _most(most // _GRAIN, lambda steps: question.step(length=steps * _GRAIN).holds is True) * _GRAIN
    rest = most - length
    if length == most // _GRAIN * _GRAIN and rest and question.step(length=most).holds is True:
        length = most
    batch = _most(_WIDEST, lambda count: question.step(batch=count, images=-(-asked.images * count // asked.batch)).holds is True)
    return Limits(length or None, batch or None, positions is not None and length == most)


def _most(most: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to ``most`` that fits; what is larger never fits again. It is looked for in doubled steps first."""
    high = 1
    while high <= most and fits(high):
        high *= 2
    low, high = high // 2, min(high - 1, most)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
