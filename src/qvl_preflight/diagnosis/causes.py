"""All symptoms, each with its cause: the rules' own, those of the entries, what the plan raises, and what else the libraries say."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from functools import lru_cache

from qvl_preflight.diagnosis.entries import ENTRIES
from qvl_preflight.diagnosis.entry import Entry
from qvl_preflight.diagnosis.words import WORDS
from qvl_preflight.rule import Rule, all_rules
from qvl_preflight.symptoms import Symptom, as_symptom

Cause = Rule | Entry
MESSAGES = os.path.join(os.path.dirname(os.path.dirname(__file__)), "tables", "messages.txt")
_GAP = re.compile(r"\\\{\\\}")
# Words of torch's own, common in everybody's loops: where a traceback shows frames, they count in those of the libraries alone.
_COMMON = re.compile(r"Error\(s\) in loading state_dict|element 0 of tensors does not require grad")
_LIBRARIES = r"transformers|peft|accelerate|trl|deepspeed|lightning|swift|llamafactory"
_FROZEN, _BNB = re.compile(r"'frozenset' object has no attribute 'discard'"), r"bitsandbytes|quantizer_bnb"
_PLANNED = 0.8  # a text of the plan says less than a symptom that somebody wrote


@lru_cache(maxsize=1)
def causes() -> tuple[tuple[Symptom, Cause], ...]:
    """Every symptom, with the rule or entry that explains it."""
    every: tuple[Cause, ...] = (*all_rules(), *ENTRIES)
    by_code = {cause.code: cause for cause in every}
    own = [(as_symptom(given), cause) for cause in every for given in cause.symptoms]
    said = [(symptom, by_code[code]) for code, symptom in WORDS]
    return (*own, *said, *((_symptom(text, kind, releases), by_code[code]) for code, kind, releases, text in planned()))


@lru_cache(maxsize=1)
def planned() -> tuple[tuple[str, str, str, str], ...]:
    """Code, type, releases and text of what the plan says that a release raises."""
    with open(MESSAGES, encoding="utf-8") as file:
        lines = [tuple(line.rstrip("\n").split(" ", 3)) for line in file]
    return tuple(line for line in lines if len(line) == 4)


def _symptom(text: str, kind: str, releases: str) -> Symptom:
    pattern = _GAP.sub(".{0,200}", re.escape(text))
    within = _LIBRARIES if _COMMON.match(text) else _BNB if _FROZEN.match(text) else ""
    plain = Symptom(pattern, within=within, weight=_PLANNED, releases="" if releases == "-" else releases)
    return plain if kind == "-" or len(text) > 30 else replace(plain, type=re.escape(kind))
