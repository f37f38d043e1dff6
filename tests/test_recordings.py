"""Recorded runs of real stacks, replayed: the plan must say what happened. See tests/recordings/README.md for how they were made."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from agreement import disagreement
from qvl_preflight.facts import Facts

RECORDINGS = Path(__file__).parent / "recordings"
LORA = {"r": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
CASES = [(file.stem, json.loads(line)) for file in sorted(RECORDINGS.glob("*.jsonl")) for line in file.read_text().splitlines()]


@lru_cache
def facts(stack: str) -> Facts:
    return Facts.load(str(RECORDINGS / f"{stack}.facts.json"))


def with_numbers(value: Any) -> Any:
    """JSON loses that keys were numbers."""
    if isinstance(value, dict):
        return {(int(key) if key.isdigit() else key): with_numbers(item) for key, item in value.items()}
    return value


@pytest.mark.parametrize(("stack", "case"), CASES, ids=[f"{stack} {case['id']}" for stack, case in CASES])
def test_plan_says_what_happened(stack: str, case: dict[str, Any]) -> None:
    """Exception, stage, devices, dtype and kernel of a recorded call."""
    peft = {"peft": LORA} if case["action"] == "lora_step" else {}
    model = str(RECORDINGS / "models" / case["model"])
    report = qvl_preflight.check(model, purpose=case["purpose"], facts=facts(stack), **peft, **with_numbers(case["kwargs"]))
    assert disagreement(report, case) is None


def test_recordings_are_there() -> None:
    """A glob that finds nothing would pass silently."""
    assert len(CASES) > 200
