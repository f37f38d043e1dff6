"""What betrays a cause in the text of an error: a pattern of the message, and where that is not enough the type and the frames.

A plain string is a pattern too. Blanks, line breaks, quotes, backticks and underscores count neither in a pattern nor in the text: what is
pasted out of a terminal or an issue loses them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Symptom:
    """One pattern. ``weight``: how often it is this cause where it fits; ``source``: in which package the words stand."""

    text: str = ""  # in "Type: message"; empty: any
    type: str = ""  # the name of the exception, whole, as a pattern
    frames: str = ""  # in the files and functions of the traceback
    weight: float = 0.9
    source: str = ""  # why no package's Python source holds it: "torch's C++", "the loader of the system"


def as_symptom(given: str | Symptom) -> Symptom:
    """A plain string is a pattern of the message."""
    return Symptom(given) if isinstance(given, str) else given
