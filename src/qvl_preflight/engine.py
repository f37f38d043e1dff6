"""Runs the rules over a plan, and applies their edits until nothing changes. Pure: no I/O, no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from qvl_preflight.devices import visible_devices
from qvl_preflight.exceptions import FixDidNotConverge
from qvl_preflight.facts import Facts, Packages, field_names
from qvl_preflight.plan import LoadPlan, Situation, Stage
from qvl_preflight.planner import make_plan
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Applicability, Change, Finding, Report, Severity, Skipped
from qvl_preflight.rule import Rule
from qvl_preflight.unknown import Undecided

ROUNDS = 10
_STAGES = {stage.reported: index for index, stage in reversed(list(enumerate(Stage)))}


def check(situation: Situation, rules: Iterable[Rule]) -> Report:
    """Everything that is found about a call."""
    plan = make_plan(situation)
    findings, skipped = _judge(rules, _offer(situation.facts, situation, plan))
    matters = _open_questions(plan)
    skipped = [replace(item, matters=item.code in matters) for item in skipped]
    skipped += [
        Skipped(code, name, reason, True) for code, (name, reason) in matters.items() if code not in {item.code for item in skipped}
    ]
    return Report(_ordered(findings, plan), tuple(skipped), situation.facts, plan, situation.request, _notes(situation))


def check_environment(facts: Facts, rules: Iterable[Rule]) -> Report:
    """What is found about the machine alone."""
    findings, skipped = _judge((rule for rule in rules if rule.environment), _offer(facts, None, None))
    return Report(_ordered(findings, None), tuple(skipped), facts)


def _offer(facts: Facts, situation: Situation | None, plan: LoadPlan | None) -> dict[str, Any]:
    """What rules may ask for, by name."""
    offer: dict[str, Any] = {name: getattr(facts, name) for name in field_names()} | {"plan": plan, "facts": facts}
    if situation is None or plan is None:
        return offer | {"devices": visible_devices(facts), "packages": Packages(facts)}
    return offer | {
        "devices": situation.devices, "packages": situation.packages, "request": situation.request,
        "checkpoint": situation.checkpoint, "situation": situation, "remedies": Remedies(situation, plan),
    }  # fmt: skip


def _judge(rules: Iterable[Rule], offer: dict[str, Any]) -> tuple[list[Finding], list[Skipped]]:
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
            if STRICT:
                raise
            message = f"the rule {rule.code} ({rule.name}) failed: {type(error).__name__}: {error}; the other rules were run"
            findings.append(Finding(message, code="QVL000", name="rule-failed", topic="internal", severity=Severity.NOTE))
    return findings, skipped


STRICT = False  # tests: let a rule's own exception through


def _ordered(findings: list[Finding], plan: LoadPlan | None) -> tuple[Finding, ...]:
    """Errors first; among equals what is met first comes first."""
    position = {id(raised): index for index, raised in enumerate(plan.raises)} if plan else {}

    def key(finding: Finding) -> tuple[int, int, int, str]:
        severity = finding.severity or Severity.NOTE
        met = position.get(id(finding.raises), len(position))
        return severity.rank, met if finding.raises else len(position), _STAGES.get(finding.stage, 0), finding.code

    return tuple(sorted(findings, key=key))


def _open_questions(plan: LoadPlan) -> dict[str, tuple[str, str]]:
    """The stages that could not be worked out and on which this call depends. Nothing is open where the load stops before."""
    if plan.stops_at is not None:
        return {}
    order = list(Stage)
    open_: dict[str, tuple[str, str]] = {}
    for stage, question, reason in plan.undecided:
        key = question if question.startswith("QVL") else f"plan:{order.index(stage):02d}:{question}"
        open_.setdefault(key, (question.replace("_", "-"), reason))
    return open_


def _notes(situation: Situation) -> tuple[str, ...]:
    request = situation.request
    if request.purpose_named or request.purpose == "inference":
        return ()
    return (
        f"The purpose was taken to be {request.purpose}, from what else was given; name it (purpose=) to have every edit applied.",
    )


@dataclass(frozen=True)
class Fixed:
    """A call after its edits: the changes in order, the report before them and the one after."""

    situation: Situation
    changes: tuple[Change, ...]
    before: Report
    after: Report


def fix(situation: Situation, rules: Iterable[Rule], *, unsafe: bool = False) -> Fixed:
    """Apply the edits that may be applied, plan again, until nothing changes. Raises FixDidNotConverge."""
    rules = tuple(rules)
    before = report = check(situation, rules)
    changes: list[Change] = []
    for _ in range(ROUNDS):
        edits = _applicable(report.findings, situation, unsafe)
        if not edits:
            return Fixed(situation, _joined(changes), before, report)
        changes += edits
        situation = replace(situation, request=situation.request.with_edits({change.path: change.after for change in edits}))
        report = check(situation, rules)
    raise FixDidNotConverge(
        f"after {ROUNDS} rounds the edits still change: {', '.join(f'{c.code} {c.path}' for c in changes[-4:])}; please report this"
    )


def _joined(changes: list[Change]) -> tuple[Change, ...]:
    """One change a path: what it was at first, what it is in the end. Later edits inside an object that was added are part of it."""
    joined: dict[str, Change] = {}
    for change in changes:
        earlier = joined.get(change.path)
        joined[change.path] = replace(change, before=earlier.before) if earlier else change
    return tuple(change for change in joined.values() if change.before != change.after)


def _applicable(findings: Iterable[Finding], situation: Situation, unsafe: bool) -> list[Change]:
    """The edits of one round. Where two touch one key, the earlier finding wins."""
    allowed = (
        {Applicability.SAFE}
        | ({Applicability.REQUIRED} if situation.request.purpose_named else set())
        | ({Applicability.UNSAFE} if unsafe else set())
    )
    taken: set[str] = set()
    out: list[Change] = []
    for finding in findings:
        fix_ = finding.fix
        if fix_ is None or fix_.applicability not in allowed or finding.severity is Severity.NOTE:
            continue
        roots = {edit.key.split(".")[0] for edit in fix_.edits}
        if roots & taken:
            continue
        taken |= roots
        out += [
            Change(e.key, e.before, e.after, finding.code, fix_.applicability.value, fix_.title)
            for e in fix_.edits
            if e.before != e.after
        ]
    return out


__all__ = ["Fixed", "check", "check_environment", "fix"]
