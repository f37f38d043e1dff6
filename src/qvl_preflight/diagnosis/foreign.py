"""What looks like a cause and is none of these libraries' doing, and memory that other processes hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from qvl_preflight.diagnosis.causes import Cause
from qvl_preflight.diagnosis.tracebacks import Raised
from qvl_preflight.rule import all_rules

# Other frameworks say the same of the same driver.
_FRAMEWORKS = re.compile(r"\bjaxlib\.|XlaRuntimeError|JaxRuntimeError|tensorflow/\S{1,200}dso_loader")
_OPTIONAL = re.compile(r"No module named '?flash_attn'?")  # many try to import it and go on without
_OWN = re.compile(r"this process has (?P<size>[\d.]{1,20}) (?P<unit>[KMG]iB)")
_OTHER = re.compile(r"Process \d{1,10} has (?P<size>[\d.]{1,20}) (?P<unit>[KMG]iB) memory in use")
_TOTAL = re.compile(r"total capacity of (?P<size>[\d.]{1,20}) (?P<unit>[KMG]iB)")
_UNITS = {"KiB": 2**-20, "MiB": 2**-10, "GiB": 1.0}


def is_foreign(one: Raised) -> bool:
    """Does another framework say it, or did the program go on without what it had looked for?"""
    return bool(_FRAMEWORKS.search(one.text)) or (one.handled and bool(_OPTIONAL.search(one.message)))


def without_foreign_lines(lines: list[str]) -> list[str]:
    """The lines that no other framework says."""
    return [line for line in lines if not _FRAMEWORKS.search(line)]


def held_by_others(one: Raised) -> Iterator[tuple[float, Cause, str]]:
    """Out of memory, and the message itself says that other processes hold more than this one."""
    own, total = _OWN.search(one.message), _TOTAL.search(one.message)
    if own is None or total is None:
        return
    others = sum(_gib(each) for each in _OTHER.finditer(one.message))
    if _gib(own) < others <= _gib(total):  # the driver gives nonsense where it may not look at a process
        yield 0.97, _held(), f"other processes have {others:.1f} GiB of {_gib(total):.1f} GiB, this one {_gib(own):.1f} GiB"


def _gib(match: re.Match[str]) -> float:
    try:
        return float(match["size"]) * _UNITS[match["unit"]]
    except ValueError:  # more points than a number has
        return 0.0


@lru_cache(maxsize=1)
def _held() -> Cause:
    return next(rule for rule in all_rules() if rule.code == "QVL117")
