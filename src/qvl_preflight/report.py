"""What a check hands back: findings with fixes, and the report that holds them. Its JSON is a shape of its own (report/1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from qvl_preflight._version import __version__
from qvl_preflight.settings import SWITCH

if TYPE_CHECKING:
    from qvl_preflight.engine import Fixed
    from qvl_preflight.facts import Facts
    from qvl_preflight.loaded.causes import LoadedCause
    from qvl_preflight.loaded.record import Loaded
    from qvl_preflight.plan import LoadPlan, WillRaise
    from qvl_preflight.request import Request
    from qvl_preflight.rule import Rule

SCHEMA = "qvl-preflight/report/1"


class Severity(Enum):
    """Error: it will raise, hang or train nothing. Warning: it runs, but surely not as wanted, or fails under a condition."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """0 for the gravest."""
        return list(Severity).index(self)


class Applicability(Enum):
    """Who may apply a fix: `safe` anyone, `required` where the purpose was named, `unsafe` on request, `display` only a person."""

    SAFE = "safe"
    REQUIRED = "required"
    UNSAFE = "unsafe"
    DISPLAY = "display"


@dataclass(frozen=True)
class Edit:
    """One kwarg set, or removed (``after`` is MISSING), by dotted path."""

    key: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Fix:
    """A titled remedy: edits of the call, commands for a person, or both."""

    title: str
    applicability: Applicability
    edits: tuple[Edit, ...] = ()
    commands: tuple[str, ...] = ()

    @classmethod
    def of(cls, title: str, applicability: Applicability, request: Request, **edits: Any) -> Fix:
        """A fix that sets kwargs of ``request``; ``__`` in a name stands for the dot of a path."""
        named = {key.replace("__", "."): value for key, value in edits.items()}
        return cls(title, applicability, tuple(Edit(key, request.get(key), value) for key, value in named.items()))

    @classmethod
    def display(cls, title: str, *commands: str) -> Fix:
        """A fix that only a person can carry out."""
        return cls(title, Applicability.DISPLAY, commands=commands)


@dataclass(frozen=True)
class Finding:
    """One instance of a rule. The rule gives message and fix; the engine stamps the rest."""

    message: str
    stage: str = "load"  # import, load, forward or train
    raises: WillRaise | None = None
    fix: Fix | None = None
    severity: Severity | None = None  # None: the rule's own
    code: str = ""
    name: str = ""
    topic: str = ""


@dataclass(frozen=True)
class Skipped:
    """A rule that could not be decided, and why."""

    code: str
    name: str
    reason: str
    matters: bool = False  # for this call: makes an otherwise clean verdict incomplete


@dataclass(frozen=True)
class Change:
    """One kwarg that fix_kwargs changed, or would have, and why."""

    path: str
    before: Any
    after: Any
    code: str
    applicability: str
    reason: str


def is_selected(entry: Rule | LoadedCause | Finding, selectors: Iterable[str]) -> bool:
    """Is it named by a code, the beginning of a code, a name or a topic?"""
    return any(
        selector.lower() in (entry.name, entry.topic) or entry.code.startswith(selector.upper())
        for selector in map(str.strip, selectors)
        if selector
    )


def selection_note(left_out: int) -> tuple[str, ...]:
    """What a reader must know where ``select`` and ``ignore`` left rules out."""
    return (f"{left_out} rule{' was' if left_out == 1 else 's were'} left out by select and ignore.",) if left_out else ()


@dataclass(frozen=True, repr=False)
class Report:
    """Everything a check found. ``plan`` is None where no model was named. ``print(report.text())`` shows it as the command line does."""

    findings: tuple[Finding, ...]
    skipped: tuple[Skipped, ...]
    facts: Facts
    plan: LoadPlan | None = None
    request: Request | None = None
    notes: tuple[str, ...] = field(default_factory=tuple)  # about the check itself
    left_out: int = 0  # rules that were not asked, by select and ignore
    loaded: Loaded | None = None  # what is really there, where a loaded model was given

    def __repr__(self) -> str:
        """``<Report fails: QVL306 error, QVL803 error; 2 not checked>``"""
        if self.off:
            return f"<Report {self.verdict}: {self.skipped[0].reason}>"
        found = [f"{finding.code} {finding.severity.value}" for finding in self.findings if finding.severity]
        skipped = sum(item.matters for item in self.skipped)
        return f"<Report {self.verdict}: {', '.join(found) or 'no findings'}{f'; {skipped} not checked' if skipped else ''}>"

    def text(self) -> str:
        """The report as the command line prints it, without colour, 80 columns wide."""
        from qvl_preflight.render.layout import plain, report_lines  # only for people

        return plain(report_lines(self))

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from qvl_preflight.render.html import report_html

        return report_html(self)

    @property
    def off(self) -> bool:
        """Does the environment switch everything off? Then nothing was looked at, which no verdict but ``incomplete`` says."""
        return any(item.code == SWITCH for item in self.skipped)

    @property
    def ok(self) -> bool:
        """Is the verdict ``ok``: no error, no warning, and nothing open that matters?"""
        return self.verdict == "ok"

    def with_notes(self, notes: tuple[str, ...]) -> Report:
        """The report with notes that it does not hold yet."""
        new = tuple(note for note in notes if note not in self.notes)
        return replace(self, notes=(*self.notes, *new)) if new else self

    @property
    def verdict(self) -> str:
        """``fails``, ``degraded``, ``incomplete`` or ``ok``."""
        worst = {finding.severity for finding in self.findings}
        if Severity.ERROR in worst:
            return "fails"
        if Severity.WARNING in worst:
            return "degraded"
        return "incomplete" if any(item.matters for item in self.skipped) else "ok"

    def at_least(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of that severity or graver."""
        return tuple(f for f in self.findings if f.severity is not None and f.severity.rank <= severity.rank)

    def to_dict(self) -> dict[str, Any]:
        """The JSON of report/1."""
        return {
            "schema": SCHEMA,
            "version": __version__,
            "model": self.request.model if self.request else None,
            "purpose": self.request.purpose if self.request else None,
            "verdict": self.verdict,
            "plan": self.plan.to_dict() if self.plan else None,
            "findings": [_finding(finding) for finding in self.findings],
            "skipped": [{"code": s.code, "name": s.name, "reason": s.reason} for s in self.skipped],
            "notes": list(self.notes),
            "facts": self.facts.to_dict(),
            **({} if self.loaded is None else {"loaded": self.loaded.to_dict()}),
        }


def _finding(finding: Finding) -> dict[str, Any]:
    raises, fix = finding.raises, finding.fix
    return {
        "code": finding.code,
        "name": finding.name,
        "topic": finding.topic,
        "severity": finding.severity.value if finding.severity else None,
        "message": finding.message,
        "stage": finding.stage,
        "raises": {"type": raises.type, "message": raises.text} if raises else None,
        "fix": {
            "title": fix.title,
            "applicability": fix.applicability.value,
            "edits": [{"key": e.key, "before": json_value(e.before), "after": json_value(e.after)} for e in fix.edits],
            "commands": list(fix.commands),
        }
        if fix
        else None,
        "docs": f"docs/rules/{finding.code}.md",
    }


def _change(change: Change) -> dict[str, Any]:
    return {
        "path": change.path,
        "before": json_value(change.before),
        "after": json_value(change.after),
        "code": change.code,
        "applicability": change.applicability,
        "reason": change.reason,
    }


def fixed_to_dict(fixed: Fixed) -> dict[str, Any]:
    """The JSON of ``check --fix``: report/1 of the call as written, with the corrected kwargs, what was withheld and what is left."""
    return {
        **fixed.before.to_dict(),
        "fixed": {
            "kwargs": json_value(fixed.situation.request.kwargs),
            "changes": [_change(change) for change in fixed.changes],
            "withheld": [_change(change) for change in fixed.withheld],
            "remaining": fixed.after.to_dict()["findings"],
        },
    }


def json_value(value: Any) -> Any:
    """A record as JSON: keys become strings, an absent value the sentinel of the contract."""
    from qvl_preflight.request import to_plain  # the doctor, which has no call, does without

    plain = to_plain(value)
    return {str(key): json_value(item) for key, item in plain.items()} if isinstance(plain, Mapping) else plain


__all__ = ["Applicability", "Change", "Edit", "Finding", "Fix", "Report", "Severity", "Skipped", "json_value"]
