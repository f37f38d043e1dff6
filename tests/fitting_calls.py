"""Calls of a Llama with 1.1 billion weights on GPUs that are only thought of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from memory_steps import decoder
from qvl_preflight.facts import Facts
from qvl_preflight.fitting.call import Call
from qvl_preflight.fitting.cards import cards_of, thought_of
from qvl_preflight.fitting.question import Question
from qvl_preflight.fitting.rooms import rooms_of
from qvl_preflight.memory.asked import read_asked
from qvl_preflight.plan import Situation
from qvl_preflight.request import Request
from qvl_preflight.testing import machine
from qvl_preflight.unknown import Unknown

GIB = 2**30


def question(
    *gpus: str,
    method: str | None = None,
    batch: int = 1,
    length: int = 2048,
    facts: Facts | None = None,
    kwargs: Any = None,
    **changes: Any,
) -> Question:
    """A call in bfloat16; ``changes`` are those of the model's configuration, or of the call."""
    step = {"batch_size": batch, "sequence_length": length}
    asked = read_asked(step, None) if method is None else read_asked(None, {**step, "method": method, "amp": "bf16"})
    assert asked is not None
    call = {key: changes.pop(key) for key in ("quantization", "attention", "sharing") if key in changes}
    here = facts or thought_of(machine("a100"), cards_of(list(gpus)), None)
    case = Situation(here, Request("model", kwargs or {}), decoder(**{"max_position_embeddings": 8192, **changes}))
    made = Call(case, "bfloat16", None, "sdpa", asked, (9, 0))
    return Question(replace(made, **call), rooms_of(case, thought_of=facts is None))


def needs(asked: Question) -> int:
    """What the fullest GPU must have."""
    found = asked.needs
    assert not isinstance(found, Unknown), found.reason
    return found
