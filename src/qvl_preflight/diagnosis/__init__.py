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
from qvl_preflight.diagnosis.spans import SPAN
from qvl_preflight.diagnosis.weigh import HALF, against, has_already, said_by_other_releases, weighed
from qvl_preflight.diagnosis.what_to_do import WHAT_TO_DO
from qvl_preflight.exceptions import InputError
from qvl_preflight.facts import Facts, Packages
from qvl_preflight.facts_from import FactsLike, facts_of
from qvl_preflight.unknown import Undecided

_MODEL = re.compile(r'"[^"]*"(?=[,)])')  # the example's, which is nobody's
_LEAST, _OTHER_RELEASE, _ANOTHER_RAN = 0.3, 0.85, 0.75
_OWN_FIX = ("QVL697", "QVL698")  # no release of transformers alone mends what auto-gptq and autoawq ask for
_WHICH_RAN = (
    'See which one ran: `python -c "import transformers; print(transformers.__version__, transformers.__file__)"`, with the interpreter of the '
    "call; restart a kernel that was started before an update."
)


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
    for match in sorted(found, key=lambda each: -_standing(each, facts)):
        score = _score(match, facts)
        if score >= _LEAST and match.cause.topic not in best:
            best[match.cause.topic] = _diagnosis(match, score, facts)
        elif match.more and match.cause.topic in best and match.more not in best[match.cause.topic].message:
            best[match.cause.topic] = _with_more(best[match.cause.topic], match.more, facts)
    return tuple(best.values())


def _standing(match: Match, facts: Facts | None) -> float:
    """Among the causes of one text the one that the facts rule out comes last."""
    ruled_out = facts is not None and against(match.cause.code, match.cause.topic, facts)
    return _score(match, facts) * (HALF if ruled_out else 1)


def _score(match: Match, facts: Facts | None) -> float:
    if facts is None:
        return match.score
    return match.score * (_OTHER_RELEASE if match.releases and said_by_other_releases(match.releases, facts) else 1)


def _diagnosis(match: Match, score: float, facts: Facts | None) -> Diagnosis:
    cause = match.cause
    evidence, tell = match.evidence.strip()[:300], TELLS.get(cause.topic, "")
    fix = _spelled(_fix(cause), facts)
    found = Diagnosis(cause.code, cause.topic, cause.summary, cause.summary, round(score, 2), fix, evidence, tell)
    return _with_more(found, match.more, facts) if match.more else found


def _with_more(found: Diagnosis, more: str, facts: Facts | None) -> Diagnosis:
    """With what the tables of releases add, unless what is installed has it: then another installation ran."""
    installed = has_already(more, facts) if facts is not None else ""
    if not installed:
        fix = found.fix if found.code in _OWN_FIX else _release(more) or found.fix
        return replace(found, message=f"{found.message} ({more}.)", fix=fix)
    said = f"{found.message} ({more}. But {installed}, which is said to be installed, has it: another one ran.)"
    return replace(found, message=said, fix=_WHICH_RAN, confidence=round(found.confidence * _ANOTHER_RAN, 2))


def _release(more: str) -> str:
    """What to install where the tables say which releases have what is asked for."""
    found = SPAN.search(more)
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
    call = " ".join(good[3].partition("\n")[2].split()) if len(good) > 3 and not cause.shown else ""
    call = call.replace("( ", "(").replace(" )", ")")
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
