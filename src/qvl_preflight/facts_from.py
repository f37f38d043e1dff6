"""Facts out of whatever a person has: nothing (this machine), a file, a mapping, or facts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

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
    return Facts.from_dict(facts) if isinstance(facts, Mapping) else Facts.load(os.fspath(facts))
