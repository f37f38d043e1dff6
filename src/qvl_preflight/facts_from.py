"""Facts out of whatever a person has: nothing (this machine), a file, a mapping, or facts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from qvl_preflight.exceptions import InputError
from qvl_preflight.facts import Facts

FactsLike = Facts | Mapping[str, Any] | str | os.PathLike[str] | None


def collect_facts(*, deep: bool = False) -> Facts:
    """The facts of this machine and process. ``deep`` is reserved for what only torch itself can tell."""
    from qvl_preflight.probes import collect

    return collect()


def facts_of(facts: FactsLike) -> Facts:
    """Facts out of any of their forms; None: this machine. Raises InputError."""
    if facts is None:
        return collect_facts()
    if isinstance(facts, Facts):
        return facts
    if isinstance(facts, Mapping):
        try:
            return Facts.from_dict(facts)
        except RecursionError:
            raise InputError("facts: nested too deep") from None
    if isinstance(facts, (str, os.PathLike)):
        return Facts.load(os.fsdecode(facts))
    raise InputError(f"facts is a {type(facts).__name__}; expected Facts, a mapping of their JSON, or the path of a file")
