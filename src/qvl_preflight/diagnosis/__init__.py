"""From the text of a crash to its cause: which symptoms fit which exception, and what the machine says to that."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from qvl_preflight.diagnosis.entries import ENTRIES
from qvl_preflight.diagnosis.entry import Entry
from qvl_preflight.diagnosis.lines import streams
from qvl_preflight.diagnosis.result import Diagnosis
from qvl_preflight.diagnosis.squeeze import compiled, literal, squeeze
from qvl_preflight.diagnosis.tracebacks import Raised, raised_in
from qvl_preflight.environment import examine
from qvl_preflight.exceptions import InputError
from qvl_preflight.facts import Facts
from qvl_preflight.facts_from import FactsLike, facts_of
from qvl_preflight.rule import Rule, all_rules
from qvl_preflight.symptoms import Symptom, as_symptom

Cause = Rule | Entry
_CUDA = frozenset(
    {"no-cuda-visible", "visible-devices-env", "torch-cpu-build", "driver-too-old", "bnb-no-cuda"}
)  # one symptom, many causes
_LEAST, _MOST_EXCEPTIONS = 0.3, 60


def diagnose(error: str | BaseException, *, facts: FactsLike = None) -> tuple[Diagnosis, ...]:
    """The causes of an error, best first; empty where it is not known. ``error``: an exception, or the text of a log.

    ``facts``: the machine on which it happened. None: unknown for a text, this machine for an exception.
    """
    if isinstance(error, BaseException):
        from traceback import format_exception  # only for a live exception

        known: Facts | None = facts_of(facts)
        text = "".join(format_exception(type(error), error, error.__traceback__, limit=-60))
    elif isinstance(error, str):
        text, known = error, None if facts is None else facts_of(facts)
    else:
        raise InputError(f"error is a {type(error).__name__}; expected an exception or the text of a log")
    found = _matched(text)
    return _with_machine(found, known) if known is not None else found


@lru_cache(maxsize=1)
def _causes() -> tuple[tuple[Symptom, Cause], ...]:
    every: tuple[Cause, ...] = (*all_rules(), *ENTRIES)
    return tuple((as_symptom(given), cause) for cause in every for given in cause.symptoms)


def _matched(text: str) -> tuple[Diagnosis, ...]:
    logs = streams(text)
    raised = [one for number, lines in enumerate(logs) for one in raised_in(lines, number)]
    real = _distinct([one for one in raised if not one.consequence] or raised)
    lines = [line for log in logs for line in log]
    best: dict[str, Diagnosis] = {}
    for score, cause, evidence in (*_in_exceptions(real), *_in_lines(lines, raised)):
        before = best.get(cause.code)
        if score >= _LEAST and (before is None or score > before.confidence):
            best[cause.code] = Diagnosis(
                cause.code, cause.topic, cause.summary, cause.summary, round(score, 2), _fix(cause), evidence.strip()[:300]
            )
    ranked = sorted(best.values(), key=lambda each: -each.confidence)
    seen: set[str] = set()
    return tuple(each for each in ranked if not (each.topic in seen or seen.add(each.topic)))  # type: ignore[func-returns-value]


def _distinct(raised: list[Raised]) -> list[Raised]:
    """The last of the same ones, at most as many as can be looked at; the last of all is marked."""
    found = {(one.type, one.message[:300], tuple(one.frames[-3:])): one for one in raised}
    kept = list(found.values())
    kept = kept if len(kept) <= _MOST_EXCEPTIONS else kept[: _MOST_EXCEPTIONS // 2] + kept[-_MOST_EXCEPTIONS // 2 :]
    if kept:
        kept[-1].last = True
    return kept


def _in_exceptions(raised: list[Raised]) -> Iterator[tuple[float, Cause, str]]:
    for one in raised:
        role = 1.0 if one.last else 0.97 if one.cause else 0.9 if one.handled else 0.93
        said, frames, code = squeeze(one.said), squeeze(";".join(one.frames)), squeeze(one.code)
        for symptom, cause in _causes():
            if symptom.type and not re.fullmatch(symptom.type, one.name):
                continue
            if symptom.frames and not compiled(symptom.frames).search(frames):
                continue
            if not symptom.text or _fits(symptom.text, said):
                yield symptom.weight * role, cause, one.text if one.message else one.code or one.text
            elif not one.message and _fits(symptom.text, code):
                yield symptom.weight * role, cause, one.code


def _fits(pattern: str, text: str) -> bool:
    needed = literal(pattern)
    return (not needed or needed in text) and compiled(pattern).search(text) is not None


def _in_lines(lines: list[str], raised: list[Raised]) -> Iterator[tuple[float, Cause, str]]:
    """Words that stand outside of exceptions: warnings, messages of compilers and of the system."""
    role = 0.75 if any(not one.consequence for one in raised) else 0.95
    kept = [line for line in dict.fromkeys(lines) if not line.lstrip().startswith(("File ", "raise ", "#"))]
    squeezed = [squeeze(line) for line in kept]
    whole, starts, at = "".join(squeezed), [], 0
    for part in squeezed:
        starts.append(at)
        at += len(part)
    for symptom, cause in _causes():
        needed = literal(symptom.text)
        if symptom.type or symptom.frames or not needed:
            continue
        position, tries = whole.find(needed), 0
        while position >= 0 and tries < 20:
            match = compiled(symptom.text).search(whole, max(0, position - 400), position + len(needed) + 400)
            if match is not None:
                yield symptom.weight * role, cause, kept[bisect_right(starts, match.start()) - 1]
                break
            position, tries = whole.find(needed, position + 1), tries + 1


def _fix(cause: Cause) -> str:
    if isinstance(cause, Entry):
        return cause.fix
    good = cause.page.split("```")
    call = good[3].partition("\n")[2].strip() if len(good) > 3 else ""
    return f"Make a call like this one: {call}" if call else ""


def _with_machine(found: tuple[Diagnosis, ...], facts: Facts) -> tuple[Diagnosis, ...]:
    """What the doctor finds about CUDA beats what a text leaves open."""
    if not any(each.topic in _CUDA for each in found):
        return found
    seen = [each for each in examine(facts).findings if each.topic in _CUDA and each.severity and each.severity.rank < 2]
    texts = {each.topic: each for each in found}
    evidence = next(each.evidence for each in found if each.topic in _CUDA)
    sure = tuple(
        Diagnosis(
            each.code, each.topic, each.name, each.message, 0.99,
            "; ".join([each.fix.title, *each.fix.commands]) if each.fix else getattr(texts.get(each.topic), "fix", ""), evidence,
        )
        for each in seen
    )  # fmt: skip
    if sure:
        return (*sure, *(each for each in found if each.topic not in {one.topic for one in sure}))
    visible = facts.gpus if isinstance(facts.gpus, tuple) else ()
    if not visible:
        return found
    return tuple(replace(each, confidence=round(each.confidence / 2, 2), message=f"{each.message} (But the machine of the facts shows no such fault.)")
                 if each.topic in _CUDA else each for each in found)  # fmt: skip
