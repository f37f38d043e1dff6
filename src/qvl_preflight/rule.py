"""The declaration of a rule: a function that judges, its code and topic, and its page in the docstring.

A rule's parameters name what it needs: ``request``, ``plan``, ``devices``, ``packages``, ``checkpoint``, ``remedies`` or a section of the
facts. Where a value is unknown it calls ``need()``, and the engine lists it as skipped with that reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from qvl_preflight.exceptions import InputError
from qvl_preflight.report import Finding, Fix, Severity, is_selected
from qvl_preflight.symptoms import Symptom
from qvl_preflight.unknown import Undecided, Unknown

if TYPE_CHECKING:
    from qvl_preflight.plan import LoadPlan, WillRaise
    from qvl_preflight.settings import Settings

Judge = Callable[..., Iterator[Finding]]
T = TypeVar("T")


@dataclass(frozen=True)
class Rule:
    """One judgement, as registered."""

    code: str
    severity: Severity
    topic: str
    symptoms: tuple[str | Symptom, ...]
    environment: bool  # has something to say without a call: its plan may be None
    judge: Judge

    @property
    def name(self) -> str:
        """The function's name with hyphens."""
        return self.judge.__name__.replace("_", "-")

    @property
    def page(self) -> str:
        """The documentation, in Markdown."""
        lines = (self.judge.__doc__ or "").strip("\n").splitlines()
        indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
        return "\n".join(line[indent:].rstrip() for line in lines).strip()

    @property
    def summary(self) -> str:
        """The first line of the page."""
        return self.page.partition("\n")[0]

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """The names that the judge asks for."""
        code = self.judge.__code__
        return code.co_varnames[: code.co_argcount]

    def to_dict(self) -> dict[str, object]:
        """The entry of ``rules --json``."""
        return {
            "code": self.code,
            "name": self.name,
            "topic": self.topic,
            "severity": self.severity.value,
            "summary": self.summary,
            "fixable": self.fixable,
        }

    @property
    def fixable(self) -> bool:
        """Does its page promise an edit, safe or required?"""
        safety = self.page.partition("## Fix safety")[2].strip()
        return safety.startswith(("Safe", "Required"))

    @property
    def shown(self) -> bool:
        """Does its page say that no edit mends it?"""
        return self.page.partition("## Fix safety")[2].strip().startswith(("Shown", "None"))


_REGISTRY: dict[str, Rule] = {}


def rule(
    code: str, severity: Severity, *, topic: str, symptoms: tuple[str | Symptom, ...] = (), environment: bool = False
) -> Callable[[Judge], Judge]:
    """Register a judge under a code. ``symptoms``: patterns of error text that betray the rule.

    ``environment``: the rule also judges the machine alone; its plan is None then.
    """

    def register(judge: Judge) -> Judge:
        if code in _REGISTRY or not re.fullmatch(r"QVL\d{3}", code):
            raise ValueError(f"rule code {code} is taken or malformed")
        _REGISTRY[code] = Rule(code, severity, topic, symptoms, environment, judge)
        return judge

    return register


def all_rules() -> tuple[Rule, ...]:
    """Every rule, by code."""
    from qvl_preflight.rules import load_themes

    load_themes()
    return tuple(sorted(_REGISTRY.values(), key=lambda entry: entry.code))


def environment_rules(select: Iterable[str] = (), ignore: Iterable[str] = ()) -> tuple[Rule, ...]:
    """The rules that judge a machine alone. Without selectors only their modules are loaded. Raises InputError."""
    select, ignore = tuple(select), tuple(ignore)
    if select or ignore:
        return tuple(entry for entry in select_rules(select, ignore) if entry.environment)
    from qvl_preflight.rules import ENVIRONMENT, load_themes

    load_themes(ENVIRONMENT)
    modules = {f"qvl_preflight.rules.{theme}" for theme in ENVIRONMENT}
    return tuple(entry for _, entry in sorted(_REGISTRY.items()) if entry.environment and entry.judge.__module__ in modules)


def find_rule(key: str) -> Rule:
    """The rule with this code or name. Raises InputError."""
    for entry in all_rules():
        if key.strip().upper() == entry.code or key.strip().lower() == entry.name:
            return entry
    raise InputError(f"no rule is called {key!r}; 'qvl-preflight rules' lists them all")


def select_rules(select: Iterable[str] = (), ignore: Iterable[str] = ()) -> tuple[Rule, ...]:
    """The rules that ``select`` names (default: all) less those that ``ignore`` names. Raises InputError for a name of nothing."""
    every, select, ignore = all_rules(), tuple(select), tuple(ignore)
    for selector in (*select, *ignore):
        if not is_known(selector):
            raise InputError(f"{selector!r} is no rule's code, name or topic; 'qvl-preflight rules' lists them all")
    return tuple(entry for entry in every if (not select or is_selected(entry, select)) and not is_selected(entry, ignore))


def is_known(selector: str) -> bool:
    """Does it name something: a rule, or a cause that only a loaded model shows?"""
    from qvl_preflight.loaded.causes import CAUSES, LoadedCause  # only where somebody selects

    entries: tuple[Rule | LoadedCause, ...] = (*all_rules(), *CAUSES)
    return any(is_selected(entry, (selector,)) for entry in entries)


def selection(select: Iterable[str], ignore: Iterable[str], settings: Settings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is asked for, else what pyproject.toml says. Raises InputError for a name of nothing in that file."""
    select, ignore = tuple(select), tuple(ignore)
    for name in (*settings.select * (not select), *settings.ignore * (not ignore)):
        if not is_known(name):
            raise InputError(f"{settings.path}: {name!r} is no rule's code, name or topic; 'qvl-preflight rules' lists them all")
    return select or settings.select, ignore or settings.ignore


def as_planned(plan: LoadPlan, code: str, remedy: Fix | Callable[[WillRaise], Fix | None] | None = None) -> Iterator[Finding]:
    """The findings of a rule whose conditions the plan has worked out: one for each exception that carries its code.

    ``remedy``: the fix, or what works it out for one exception.
    """
    for raised in plan.raised(code):
        depends = f" (if {raised.condition})" if raised.condition else ""
        severity = None if raised.certain else Severity.WARNING
        yield Finding(raised.why + depends, raised.stage.reported, raised, remedy(raised) if callable(remedy) else remedy, severity)


def ask(value: T | Unknown, plan: LoadPlan | None) -> T | None:
    """The value of something rare that can be amiss. Unknown: of a machine alone that is a check that was skipped (raises Undecided);
    a call does not hang on it, and is judged by what is known (None)."""
    if not isinstance(value, Unknown):
        return value
    if plan is None:
        raise Undecided(value.reason)
    return None
