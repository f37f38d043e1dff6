"""From the text of a crash to its cause: which symptoms fit which exception, and what the machine says to that."""

from __future__ import annotations

import re
from dataclasses import replace

from qvl_preflight.diagnosis.apart import TELLS
from qvl_preflight.diagnosis.causes import Cause
from qvl_preflight.diagnosis.entry import Entry
from qvl_preflight.diagnosis.matching import Match, matches
from qvl_preflight.diagnosis.printed import printed_facts
from qvl_preflight.diagnosis.result import Diagnosis
from qvl_preflight.diagnosis.weigh import said_by_other_releases, weighed
from qvl_preflight.diagnosis.what_to_do import WHAT_TO_DO
from qvl_preflight.exceptions import InputError
from qvl_preflight.facts import Facts, Packages
from qvl_preflight.facts_from import FactsLike, facts_of
from qvl_preflight.unknown import Undecided

_SPAN = re.compile(r"^transformers (?:.* and )?(?P<since>\d+\.\d+) (?:on|and later|to (?P<last>\d+\.\d+)) has ")
_MODEL = re.compile(r'"[^"]*"(?=[,)])')  # the example's, which is nobody's
_LEAST, _OTHER_RELEASE = 0.3, 0.85


def diagnose(error: str | BaseException, *, facts: FactsLike = None) -> tuple[Diagnosis, ...]:
    """The causes of an error, best first; empty where it is not known. ``error``: an exception, or the text of a log.

    ``facts``: the machine on which it happened. None: this machine for an exception; for a text, what the log prints of versions.
    """
    if isinstance(error, BaseException):
        from traceback import format_exception  # only for a live exception

        known: Facts | None = facts_of(facts)
        text = "".join(format_exception(type(error), error, error.__traceback__, limit=-60))
    elif isinstance(error, str):
        text, known = error, _known(error, facts)
    else:
        raise InputError(f"error is a {type(error).__name__}; expected an exception or the text of a log")
    found = _best(matches(text), known)
    return weighed(found, known) if known is not None else found


def _known(text: str, facts: FactsLike) -> Facts | None:
    if facts is not None:
        return facts_of(facts)
    printed = printed_facts(text)
    return None if printed is None else facts_of(printed)


def _best(found: list[Match], facts: Facts | None) -> tuple[Diagnosis, ...]:
    """One diagnosis for each topic, best first."""
    best: dict[str, Diagnosis] = {}
    for match in sorted(found, key=lambda each: -_score(each, facts)):
        score = _score(match, facts)
        if score >= _LEAST and match.cause.topic not in best:
            best[match.cause.topic] = _diagnosis(match, score, facts)
        elif match.more and match.cause.topic in best and match.more not in best[match.cause.topic].message:
            before = best[match.cause.topic]
            said = f"{before.message} ({match.more}.)"
            best[match.cause.topic] = replace(before, message=said, fix=_release(match.more) or before.fix)
    return tuple(best.values())


def _score(match: Match, facts: Facts | None) -> float:
    other = match.releases and facts is not None and said_by_other_releases(match.releases, facts)
    return match.score * (_OTHER_RELEASE if other else 1)


def _diagnosis(match: Match, score: float, facts: Facts | None) -> Diagnosis:
    cause = match.cause
    message = f"{cause.summary} ({match.more}.)" if match.more else cause.summary
    evidence = match.evidence.strip()[:300]
    fix = _release(match.more) or _spelled(_fix(cause), facts)
    return Diagnosis(cause.code, cause.topic, cause.summary, message, round(score, 2), fix, evidence, TELLS.get(cause.topic, ""))


def _release(more: str) -> str:
    """What to install where the tables say which releases have what is asked for."""
    found = _SPAN.search(more)
    if found is None:
        return ""
    if found["last"]:
        return f'Update what asks for it, or `pip install "transformers<={found["last"]}.99"`.'
    return f'`pip install -U "transformers>={found["since"]}"`'


def _fix(cause: Cause) -> str:
    if isinstance(cause, Entry):
        return cause.fix
    if said := WHAT_TO_DO.get(cause.code):
        return said
    good = cause.page.split("```")
    call = good[3].partition("\n")[2].strip() if len(good) > 3 and not cause.shown else ""
    return f"Make a call like this one: {_MODEL.sub('MODEL', call, count=1)}" if call else ""


def _spelled(fix: str, facts: Facts | None) -> str:
    """As the release that is known spells it: torch_dtype is dtype since 4.56."""
    try:
        newer = facts is not None and Packages(facts).has("transformers") and Packages(facts).at_least("transformers", 4, 56)
        older = facts is not None and Packages(facts).has("transformers") and not newer
    except Undecided:
        return fix
    if newer:
        return fix.replace("torch_dtype=", "dtype=")
    return fix.replace(" dtype=", " torch_dtype=").replace("(dtype=", "(torch_dtype=") if older else fix
