"""Which symptoms fit which exception or line of a log, and how well."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache

from qvl_preflight.diagnosis.causes import Cause, causes, planned
from qvl_preflight.diagnosis.foreign import held_by_others, is_foreign, without_foreign_lines
from qvl_preflight.diagnosis.lines import streams
from qvl_preflight.diagnosis.spans import by_release
from qvl_preflight.diagnosis.squeeze import compiled, literals, opening, squeeze
from qvl_preflight.diagnosis.tracebacks import Raised, raised_in
from qvl_preflight.diagnosis.words.concepts import WRAPPERS
from qvl_preflight.symptoms import Symptom

_MOST_EXCEPTIONS, _NEAR, _TRIES, _MOST_BESIDE = 60, 400, 20, 200_000
_LOUD, _REMARK, _EXACT = 0.9, 0.67, 0.8  # beside an exception a line must weigh this much
_CUT, _CUT_WHOLE, _CUT_WEIGHT = 22, 18, 0.7  # signs that a message must have kept to be known by its beginning


@dataclass(frozen=True)
class Match:
    """A cause that a text betrays. ``releases``: of the package that says it so, ``transformers:4.36-4.54``."""

    score: float
    cause: Cause
    evidence: str
    releases: str = ""
    more: str = ""  # what the tables of releases add


def matches(text: str) -> list[Match]:
    """Everything that fits, in no order."""
    logs = streams(text)
    raised = [one for number, lines in enumerate(logs) for one in raised_in(lines, number)]
    real = _distinct([one for one in raised if not one.consequence] or raised)
    real = [one for one in real if not is_foreign(one)]
    lines = without_foreign_lines([line for log in logs for line in log])
    whole = squeeze("".join(lines)[:_MOST_BESIDE])
    found = [*_in_exceptions(real, whole), *_in_lines(lines, raised)]
    return found or list(_cut_off(real, lines))


def _distinct(raised: list[Raised]) -> list[Raised]:
    """The last of the same ones, at most as many as can be looked at; the last of all is marked."""
    found = {(one.type, one.message[:300], tuple(one.frames[-3:])): one for one in raised}
    kept = list(found.values())
    kept = kept if len(kept) <= _MOST_EXCEPTIONS else kept[: _MOST_EXCEPTIONS // 2] + kept[-_MOST_EXCEPTIONS // 2 :]
    if kept:
        kept[-1].last = True
    return kept


def _in_exceptions(raised: list[Raised], whole: str) -> Iterator[Match]:
    stands = cache(lambda pattern: compiled(pattern).search(whole) is not None)  # the same for every exception
    for one in raised:
        role = 1.0 if one.last else 0.97 if one.cause else 0.9 if one.handled else 0.93
        fitting = list(_fitting(one, stands))
        exact = any(symptom.weight >= _EXACT for symptom, _, _ in fitting)
        for symptom, cause, line in fitting:
            if not (exact and symptom.source == WRAPPERS):  # the library's own words say it better
                yield Match(symptom.weight * role, cause, line, symptom.releases)
        for weight, cause, more in (*by_release(one), *held_by_others(one)):
            yield Match(weight * role, cause, one.text, more=more)


def _fitting(one: Raised, stands: Callable[[str], bool]) -> Iterator[tuple[Symptom, Cause, str]]:
    """Symptoms that fit the exception, each with the line that betrays it."""
    said, frames, code = squeeze(one.said), squeeze(";".join(one.frames)), squeeze(one.code)
    for symptom, cause in causes():
        if symptom.type and not re.fullmatch(symptom.type, one.name):
            continue
        if symptom.frames and not compiled(symptom.frames).search(frames):
            continue
        if symptom.within and frames and not compiled(symptom.within).search(frames):
            continue
        if symptom.beside and not stands(symptom.beside):
            continue
        if not symptom.text or _fits(symptom.text, said):
            yield symptom, cause, _line(one, symptom.text)
        elif not one.message and _fits(symptom.text, code):
            yield symptom, cause, one.code


def _line(one: Raised, pattern: str) -> str:
    """The line that betrays it: the first one, unless a later line of the message holds the words alone."""
    if not one.message:
        return one.code or one.text
    first = one.said.partition("\n")[0]
    if not pattern or _fits(pattern, squeeze(first)):
        return one.text if len(one.text.strip()) >= len(first) else first  # a message may begin on the next line
    return next((line for line in one.message.splitlines()[1:] if _fits(pattern, squeeze(line))), one.text)


def _fits(pattern: str, text: str) -> bool:
    needed = literals(pattern)
    return (not needed or any(each in text for each in needed)) and compiled(pattern).search(text) is not None


def _in_lines(lines: list[str], raised: list[Raised]) -> Iterator[Match]:
    """Words that stand outside of exceptions: warnings, messages of compilers and of the system."""
    role = 0.75 if any(not one.consequence for one in raised) else 0.95
    kept = [line for line in dict.fromkeys(lines) if not line.lstrip().startswith(("File ", "raise ", "#"))]
    squeezed = [squeeze(line) for line in kept]
    whole, starts, at = "".join(squeezed), [], 0
    for part in squeezed:
        starts.append(at)
        at += len(part)
    for symptom, cause in causes():
        if symptom.type or symptom.frames or symptom.within or symptom.beside or (role < _LOUD and symptom.weight < _REMARK):
            continue  # beside an exception a remark is mostly noise
        position = _place(symptom, whole)
        if position is not None:
            yield Match(symptom.weight * role, cause, kept[bisect_right(starts, position) - 1], symptom.releases)


def _place(symptom: Symptom, whole: str) -> int | None:
    for needed in literals(symptom.text):
        position, tries = whole.find(needed), 0
        while position >= 0 and tries < _TRIES:
            found = compiled(symptom.text).search(whole, max(0, position - _NEAR), position + len(needed) + _NEAR)
            if found is not None:
                return found.start()
            position, tries = whole.find(needed, position + 1), tries + 1
    return None


def _cut_off(raised: list[Raised], lines: list[str]) -> Iterator[Match]:
    """A message that is cut off in the paste is known by its beginning."""
    tails = [one.message for one in raised if one.last] or [line for line in lines[-1:] if line.strip()]
    for tail in tails:
        if tail.rstrip().endswith(("'", '"')):
            continue  # a name that is quoted to its end: nothing is cut off
        message = squeeze(tail).rstrip(".…")
        for cause, text, releases in _beginnings():
            if message.endswith(text):
                continue  # nothing is cut off, and the whole did not fit
            if (len(message) >= _CUT_WHOLE and text.startswith(message)) or _ends_in_beginning(message, text):
                yield Match(_CUT_WEIGHT, cause, tail.strip().splitlines()[-1] if tail.strip() else "", releases)


def _ends_in_beginning(message: str, text: str) -> bool:
    """Are the last signs of the message the first ones of the text?"""
    at = message.find(text[:_CUT])
    return at >= 0 and text.startswith(message[at:])


@lru_cache(maxsize=1)
def _beginnings() -> tuple[tuple[Cause, str, str], ...]:
    by_code = {cause.code: cause for _, cause in causes()}
    texts = [(by_code[code], squeeze(text.partition("{}")[0]), releases) for code, _, releases, text in planned()]
    texts += [(cause, opening(symptom.text), "") for symptom, cause in causes() if symptom.text and not symptom.frames]
    return tuple(each for each in texts if len(each[1]) >= _CUT)
