"""Runs rules over what they ask for, and puts the findings in order. Knows no plan: the doctor needs none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qvl_preflight import strict
from qvl_preflight.facts import field_names
from qvl_preflight.report import Finding, Severity, Skipped
from qvl_preflight.unknown import Undecided

if TYPE_CHECKING:
    from qvl_preflight.devices import Devices
    from qvl_preflight.facts import Facts
    from qvl_preflight.plan import LoadPlan, WillRaise
    from qvl_preflight.rule import Rule
    from qvl_preflight.unknown import Unknown

_STAGES = ("import", "load", "forward", "train")


def offered(facts: Facts, devices: Devices | Unknown, plan: LoadPlan | None = None, **more: Any) -> dict[str, Any]:
    """What rules may ask for, by name; without a call that is the machine alone."""
    sections = {name: getattr(facts, name) for name in field_names()}
    return {**sections, "facts": facts, "devices": devices, "plan": plan, "remedies": None, **more}


def judge(rules: Iterable[Rule], offer: dict[str, Any]) -> tuple[list[Finding], list[Skipped]]:
    """What the rules find, and which of them could not be decided."""
    findings: list[Finding] = []
    skipped: list[Skipped] = []
    for rule in rules:
        try:
            for finding in rule.judge(*(offer[name] for name in rule.needs)):
                findings.append(
                    replace(finding, code=rule.code, name=rule.name, topic=rule.topic, severity=finding.severity or rule.severity)
                )
        except Undecided as undecided:
            skipped.append(Skipped(rule.code, rule.name, undecided.reason))
        except Exception as error:  # a rule of ours that breaks must not take the others with it
            if strict.ON:
                raise
            message = f"the rule {rule.code} ({rule.name}) failed: {type(error).__name__}: {error}; the other rules were run"
            findings.append(Finding(message, code="QVL000", name="rule-failed", topic="internal", severity=Severity.NOTE))
    return findings, skipped


def ordered(findings: Iterable[Finding], raises: Iterable[WillRaise] = ()) -> tuple[Finding, ...]:
    """Errors first; among equals what is met first comes first."""
    position = {id(raised): index for index, raised in enumerate(raises)}

    def key(finding: Finding) -> tuple[int, int, int, str]:
        severity = finding.severity or Severity.NOTE
        met = position.get(id(finding.raises), len(position))
        return severity.rank, met if finding.raises else len(position), _STAGES.index(finding.stage), finding.code

    return tuple(sorted(findings, key=key))
