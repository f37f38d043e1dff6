"""What is found in a call that is about to be made: in a thread of its own with a limit, once for calls that are alike."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from qvl_preflight import engine
from qvl_preflight.api import situation
from qvl_preflight.guarding.made import Made, purposes
from qvl_preflight.plan import Situation
from qvl_preflight.report import Change, Finding, Report, Severity
from qvl_preflight.request import to_record
from qvl_preflight.rule import select_rules, selection
from qvl_preflight.settings import read_settings

LIMIT_S = 15.0  # a first check takes a third of a second; slow file systems a few


@dataclass(frozen=True)
class Asked:
    """A call, and what is wanted: with ``correct``, the corrected arguments as well."""

    model: str
    loader: Any
    kwargs: Mapping[str, Any]
    purpose: str | None
    correct: bool


@dataclass(frozen=True)
class Judged:
    """The report of a call as written; ``fixed`` where it may be corrected. ``named``: somebody said what the model is for."""

    report: Report
    fixed: engine.Fixed | None
    named: bool

    @property
    def changes(self) -> tuple[Change, ...]:
        return self.fixed.changes if self.fixed is not None else ()

    @property
    def grave(self) -> tuple[Finding, ...]:
        """Errors and warnings."""
        return self.report.at_least(Severity.WARNING)

    @property
    def stops(self) -> bool:
        """Is there an error that is sure to come? What comes after the load depends on the purpose, and nobody is stopped for a guess."""
        errors = self.report.at_least(Severity.ERROR)
        return any(self.named or finding.stage in ("import", "load") for finding in errors)


_cache: dict[str, Judged] = {}


def judged(asked: Asked, made: Made) -> Judged:
    """Raises InputError for what cannot be read, TimeoutError where it takes too long."""
    key = _key(asked, made)
    if key not in _cache:
        _cache[key] = within_limit(lambda: judge(asked, made))
    return _cache[key]


def _key(asked: Asked, made: Made) -> str:
    """The call as text, with what may change between two that read alike."""
    try:
        here = os.stat(os.path.join(asked.model, "config.json")).st_mtime_ns
    except OSError:
        here = 0
    records = {name: to_record(value) for name, value in asked.kwargs.items()}
    return repr(
        (asked.model, here, asked.loader, records, asked.purpose, asked.correct, id(made.trainer), id(made.lora), made.prepared)
    )


def within_limit(work: Callable[[], Judged]) -> Judged:
    """The thread is left behind where a probe hangs: it ends with the process."""
    done: list[Judged] = []
    failed: list[Exception] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # SystemExit of ours would end the script
            failed.append(error if isinstance(error, Exception) else RuntimeError(repr(error)))

    thread = threading.Thread(target=run, name="qvl-preflight", daemon=True)
    thread.start()
    thread.join(LIMIT_S)
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError(f"the check took longer than {LIMIT_S:.0f} s")
    return done[0]


def judge(asked: Asked, made: Made) -> Judged:
    """The call on this machine, for its purpose; for both where only training is known, and what holds for both."""
    settings = read_settings()
    rules = select_rules(*selection((), (), settings))
    cases = list(_cases(asked, made))
    found = [_one(case, rules, asked) for case in cases]
    first = found[0]
    if len(found) > 1:
        first = _common(found, made)
    return replace(first, report=first.report.with_notes(settings.notes))


def _one(case: Situation, rules: Iterable[Any], asked: Asked) -> Judged:
    if not asked.correct:
        return Judged(engine.check(case, rules), None, asked.purpose is not None)
    fixed = engine.fix(case, rules)
    return Judged(fixed.before, fixed, asked.purpose is not None)


def _cases(asked: Asked, made: Made) -> Iterable[Situation]:
    case = situation(asked.model, asked.purpose, asked.loader, made.lora, made.trainer, None, asked.kwargs)
    possible = purposes(made, _quantised(case)) if asked.purpose is None else ()
    if not possible:
        yield case
        return
    case = replace(case, notes=(*case.notes, f"In this process {made.words}."))
    for purpose in possible:
        yield replace(case, request=replace(case.request, purpose=purpose))


def _quantised(case: Situation) -> bool:
    given = case.request.kwargs
    return isinstance(case.checkpoint.quantization, Mapping) or any(
        given.get(name) for name in ("quantization_config", "load_in_4bit", "load_in_8bit")
    )


def _common(found: list[Judged], made: Made) -> Judged:
    """What holds for each of the purposes; a correction only where all agree on it."""
    codes = set.intersection(*({finding.code for finding in each.report.findings} for each in found))
    first = found[0]
    note = "Something is trained, adapters or all weights: what is said holds for both."
    notes = (*(text for text in first.report.notes if not text.startswith("The purpose was taken")), note)
    report = replace(first.report, findings=tuple(f for f in first.report.findings if f.code in codes), notes=notes)
    agree = all(each.changes == first.changes for each in found) and {f.code for f in first.report.findings} == codes
    return Judged(report, first.fixed if agree else None, False)
