"""The recorded runs under tests/recordings/, and what the plan says of each."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import qvl_preflight
from qvl_preflight.facts import Facts
from qvl_preflight.report import Report

RECORDINGS = Path(__file__).parent / "recordings"
LORA = {"r": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}

Case = tuple[str, dict[str, Any]]  # the stack, and one line of its file


def cases() -> list[Case]:
    """Every recorded call, in the order of the files."""
    files = sorted(RECORDINGS.glob("*.jsonl"))
    return [(file.stem, json.loads(line)) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def known() -> dict[str, str]:
    """Where plan and outcome part, and why."""
    found: dict[str, str] = json.loads((RECORDINGS / "known.json").read_text(encoding="utf-8"))
    return found


@lru_cache
def facts(stack: str) -> Facts:
    """The machine and the stack of a file."""
    return Facts.load(str(RECORDINGS / f"{stack}.facts.json"))


def replay(stack: str, case: dict[str, Any]) -> Report:
    """What is said of a recorded call."""
    adapters = case["purpose"] in ("lora", "qlora") and case["action"] in ("lora_step", "trainer_step")
    peft = {"peft": LORA} if adapters else {}
    trainer = case.get("trainer") or {} if case["action"] == "trainer_step" else None
    machine = facts(stack)
    if case.get("env"):
        machine = replace(machine, env={**machine.env, **case["env"]})  # type: ignore[dict-item]
    model = str(RECORDINGS / "models" / case["model"])
    return qvl_preflight.check(
        model, purpose=case["purpose"], trainer=trainer, facts=machine, **peft, **_with_numbers(case["kwargs"])
    )


def _with_numbers(value: Any) -> Any:
    """JSON loses that keys were numbers."""
    if isinstance(value, dict):
        return {(int(key) if key.lstrip("-").isdigit() else key): _with_numbers(item) for key, item in value.items()}
    return value
