"""The doctor: the rules that judge a machine without a call. Loads nothing that plans a load."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from qvl_preflight.devices import visible_devices
from qvl_preflight.judge import judge, offered, ordered
from qvl_preflight.report import Report, selection_note
from qvl_preflight.rule import environment_rules

if TYPE_CHECKING:
    from qvl_preflight.facts import Facts


def examine(facts: Facts, select: Iterable[str] = (), ignore: Iterable[str] = ()) -> Report:
    """What is found about the environment alone. Raises InputError for a selector that names nothing."""
    select, ignore = tuple(select), tuple(ignore)
    rules = environment_rules(select, ignore)
    left_out = len(environment_rules()) - len(rules) if select or ignore else 0
    findings, skipped = judge(rules, offered(facts, visible_devices(facts)))
    open_questions = tuple(replace(item, matters=True) for item in skipped)
    return Report(ordered(findings), open_questions, facts, notes=(*facts.unread, *selection_note(left_out)), left_out=left_out)
