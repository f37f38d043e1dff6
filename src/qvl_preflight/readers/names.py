"""The names of the settings that other programs' files hold, and what a name that is none of them was meant to be.

``tables/setting_names.txt`` holds those of all releases that were read together, written by scripts/setting_names.py. A name that is not there may
come with a later release or a subclass: it is said, never refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from functools import lru_cache

from qvl_preflight.spelling import nearest

PATH = os.path.join(os.path.dirname(os.path.dirname(__file__)), "tables", "setting_names.txt")
_SHOWN = 6
# What training scripts take beside TrainingArguments and a check reads; the last is a reader's own word.
_BESIDE = ("merge_lora", "merge_adapter", "merge_and_unload", "beside_deepspeed_config_file", "accelerate_mixed_precision")


@lru_cache(maxsize=1)
def _table() -> Mapping[str, frozenset[str]]:
    with open(PATH, encoding="utf-8") as file:
        lines = [line.partition(":") for line in file]
    table = {kind: frozenset(listed.split()) for kind, _, listed in lines}
    return {**table, "TrainingArguments": table["TrainingArguments"].union(_BESIDE)}


def names(*kinds: str) -> frozenset[str]:
    """All names of TrainingArguments, DeepSpeed, accelerate, peft, LLaMA-Factory: of those that are asked for."""
    return frozenset().union(*(_table()[kind] for kind in kinds))


def listed(given: Iterable[str], known: Iterable[str]) -> str:
    """``packing, gradient_chekpointing (gradient_checkpointing?)``: names, each with the known one that it is near to."""
    given, known = list(given), tuple(known)
    shown = [f"{name[:60]} ({near}?)" if (near := nearest(name, known)) else name[:60] for name in given[:_SHOWN]]
    return ", ".join(shown) + (f" and {len(given) - _SHOWN} more" if len(given) > _SHOWN else "")


def unread(given: Iterable[str], where: str, *kinds: str) -> tuple[str, ...]:
    """A note on the names that are no setting of these programs; none where all are."""
    known = names(*kinds)
    strange = [name for name in given if name not in known]
    return (f"{where}: not read, since {kinds[0]} has no such settings: {listed(strange, known)}.",) if strange else ()


def strange_alone(given: Iterable[str], *kinds: str) -> bool:
    """Is none of the names a setting of these programs?"""
    return not names(*kinds).intersection(given)
