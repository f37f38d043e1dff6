"""The sentinel for a kwarg that is not there, in edits and changes."""

from __future__ import annotations

from enum import Enum


class Missing(Enum):
    """The type of MISSING."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING = Missing.MISSING
