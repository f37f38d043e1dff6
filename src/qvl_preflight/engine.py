"""Runs the rules over a plan, and applies their edits until nothing changes. Pure: no I/O, no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from qvl_preflight.checkpoint import USUAL
from qvl_preflight.exceptions import FixDidNotConverge
from qvl_preflight.judge import judge, offered, ordered
from qvl_preflight.plan import UNPLANNED, LoadPlan, Situation
from qvl_preflight.planner import make_plan
from qvl_preflight.possible_stacks import on_possible_stacks
from qvl_preflight.questions import in_words
from qvl_preflight.remedies import Remedies
from qvl_preflight.report import Applicability, Change, Finding, Report, Severity, Skipped, selection_note
from qvl_preflight.rule import Rule, all_rules
from qvl_preflight.unknown import Unknown
from qvl_preflight.versions import newer_than_read

ROUNDS = 10


def check(situation: Situation, rules: Iterable[Rule]) -> Report:
    """Everything that is found about a call."""
    rules = tuple(rules)
    plan = make_plan(situation)
    findings, skipped = judge(rules, offer(situation, plan))
    grave = {finding.topic for finding in findings if finding.severity is not Severity.NOTE}
    possible = on_possible_stacks(situation, rules, grave, offer)
    graver = {finding.code for finding in possible}  # what was only worth knowing while the releases were left open
    findings = [finding for finding in findings if finding.code not in graver] + possible
    matters = _open_questions(plan)
    by_default = {rule.code for rule in rules if rule.severity is not Severity.NOTE}
    skipped = [
        replace(item, matters=item.code in matters or (item.code in by_default and item.reason not in _HARMLESS))
        for item in skipped
    ]
    skipped += [
        Skipped(code, name, reason, True) for code, (name, reason) in matters.items() if code not in {item.code for item in skipped}
    ]
    left_out = len(all_rules()) - len(rules)
    notes = _notes(situation, findings) + selection_note(left_out)
    return Report(ordered(findings, plan.raises), tuple(skipped), situation.facts, plan, situation.request, notes, left_out)


def offer(situation: Situation, plan: LoadPlan) -> dict[str, Any]:
    """What rules may ask for, by name."""
    return offered(
        situation.facts, situation.devices, plan, packages=situation.packages, request=situation.request, checkpoint=situation.checkpoint,
        situation=situation, remedies=Remedies(situation, plan),
    )  # fmt: skip


_HARMLESS = (*USUAL, UNPLANNED.reason)


def _open_questions(plan: LoadPlan) -> dict[str, tuple[str, str]]:
    """What could not be worked out and this call depends on. Nothing is open where the load stops before."""
    if plan.stops_at is not None:
        return {}
    found: dict[str, tuple[str, str]] = {}
    for _, question, reason in plan.undecided:
        if reason != UNPLANNED.reason:  # else a consequence of another
            found.setdefault(question, (in_words(question), reason))
    return found


def _notes(situation: Situation, findings: Iterable[Finding]) -> tuple[str, ...]:
    request, notes = situation.request, list(situation.notes)
    if isinstance(situation.facts.env, Unknown):
        notes.append(
            "Which environment variables are set is not known; none was taken to be, CUDA_VISIBLE_DEVICES and HF_HUB_OFFLINE among them."
        )
    if not request.purpose_named and request.purpose != "inference":
        notes.append(f"The purpose was taken to be {request.purpose}, from what else was given.")
    if not request.purpose_named and any(_waits_for_the_purpose(finding) for finding in findings):
        named = f'--purpose {request.purpose}, or purpose="{request.purpose}"'
        notes.append(
            f"Edits marked (required) change a kernel, a dtype or the quantisation. Name the purpose to have them made: {named}."
        )
    if newer := newer_than_read(situation.packages):
        notes.append(f"{', '.join(newer)}: newer than the releases that were read; taken to behave as the newest of those.")
    return tuple(notes)


def _waits_for_the_purpose(finding: Finding) -> bool:
    return finding.fix is not None and finding.fix.applicability is Applicability.REQUIRED and finding.severity is not Severity.NOTE


@dataclass(frozen=True)
class Fixed:
    """A call after its edits: the changes in order, the report before them and the one after.

    ``withheld``: edits that were not made, since with them the call would still fail; the situation is the one before them then.
    """

    situation: Situation
    changes: tuple[Change, ...]
    before: Report
    after: Report
    withheld: tuple[Change, ...] = ()

    @property
    def handed_back(self) -> Report:
        """What is found in the call that a person gets."""
        return self.before if self.withheld else self.after


def fix(situation: Situation, rules: Iterable[Rule], *, unsafe: bool = False) -> Fixed:
    """Apply the edits that may be applied, plan again, until nothing changes. Raises FixDidNotConverge.

    Where an error is left then, none is made: they would only move the crash from one place to the next.
    """
    rules, given = tuple(rules), situation
    before = report = check(situation, rules)
    changes: list[Change] = []
    for _ in range(ROUNDS):
        edits = _applicable(report.findings, situation, unsafe)
        if not edits:
            made = _joined(changes)
            if made and report.at_least(Severity.ERROR):
                return Fixed(given, (), before, report, made)
            return Fixed(situation, made, before, report)
        changes += edits
        situation = situation.as_corrected(situation.request.with_edits({change.path: change.after for change in edits}))
        report = check(situation, rules)
    raise FixDidNotConverge(
        f"after {ROUNDS} rounds the edits still change: {', '.join(f'{c.code} {c.path}' for c in changes[-4:])}; please report this"
    )


def _joined(changes: list[Change]) -> tuple[Change, ...]:
    """One change a path: what it was at first, what it is in the end. Later edits inside an object that was added are part of it."""
    joined: dict[str, Change] = {}
    undone: dict[str, str] = {}
    for change in changes:
        earlier = joined.get(change.path)
        joined[change.path] = replace(change, before=earlier.before) if earlier else change
        if earlier and earlier.before == change.after:  # taken back: who reads why the rest was changed must be told
            undone[earlier.reason] = change.reason
    return tuple(
        replace(change, reason=f"{change.reason}; then: {undone[change.reason]}") if change.reason in undone else change
        for change in joined.values()
        if change.before != change.after
    )


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


__all__ = ["Fixed", "check", "fix"]
