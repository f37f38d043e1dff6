"""Recorded runs of real stacks, replayed: the plan must say what happened. See tests/recordings/README.md for how they were made."""

from __future__ import annotations

import json
from dataclasses import replace
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


# Where plan and outcome part, and why; each must still part, or its line goes.
KNOWN: dict[str, str] = json.loads((RECORDINGS / "known.json").read_text())


@pytest.mark.parametrize(("stack", "case"), CASES, ids=[f"{stack} {case['id']}" for stack, case in CASES])
def test_plan_says_what_happened(stack: str, case: dict[str, Any]) -> None:
    """Exception, stage, devices, dtype and kernel of a recorded call."""
    adapters = case["purpose"] in ("lora", "qlora") and case["action"] in ("lora_step", "trainer_step")
    peft = {"peft": LORA} if adapters else {}
    trainer = case.get("trainer") or {} if case["action"] == "trainer_step" else None
    machine = facts(stack)
    if case.get("env"):
        machine = replace(machine, env={**machine.env, **case["env"]})  # type: ignore[dict-item]
    model = str(RECORDINGS / "models" / case["model"])
    report = qvl_preflight.check(
        model, purpose=case["purpose"], trainer=trainer, facts=machine, **peft, **with_numbers(case["kwargs"])
    )
    parted = disagreement(report, case)
    if f"{stack} {case['id']}" in KNOWN:
        assert parted is not None, "this agrees now: take it out of known.json"
    else:
        assert parted is None


def test_recordings_are_there() -> None:
    """A glob that finds nothing would pass silently."""
    assert len(CASES) > 500
    assert len(KNOWN) < len(CASES) / 50
