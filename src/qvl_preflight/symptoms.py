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
    within: str = ""  # in the frames too, but only where the traceback shows any: the words alone are common
    beside: str = ""  # somewhere else in the log
    weight: float = 0.9
    source: str = (
        ""  # where it was read: "accelerate 1.15.0 utils/modeling.py:539"; or what says it that is no Python source: "torch's C++"
    )
    releases: str = ""  # of the package that says it so: "transformers:4.36-4.54"


def as_symptom(given: str | Symptom) -> Symptom:
    """A plain string is a pattern of the message."""
    return Symptom(given) if isinstance(given, str) else given
