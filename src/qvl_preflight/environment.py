"""The doctor: the rules that judge a machine without a call. Loads nothing that plans a load."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from qvl_preflight.devices import visible_devices
from qvl_preflight.facts import field_names
from qvl_preflight.judge import judge, ordered
from qvl_preflight.report import Report
from qvl_preflight.rule import environment_rules

if TYPE_CHECKING:
    from qvl_preflight.facts import Facts


def examine(facts: Facts, select: Iterable[str] = (), ignore: Iterable[str] = ()) -> Report:
    """What is found about the environment alone. Raises InputError for a selector that names nothing."""
    offer = {name: getattr(facts, name) for name in field_names()} | {
        "facts": facts,
        "plan": None,
        "devices": visible_devices(facts),
    }
    findings, skipped = judge(environment_rules(select, ignore), offer)
    return Report(ordered(findings), tuple(replace(item, matters=True) for item in skipped), facts)
