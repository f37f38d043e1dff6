"""Every prediction against the real stack: what from_pretrained did must be what the plan said.

Run by ``make reality``. The facts are those of each environment itself.
"""

from __future__ import annotations

import json
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

import grid
import pytest
import stacks

import qvl_preflight
from agreement import disagreement
from qvl_preflight.facts import Facts
from qvl_preflight.report import Report

RUNNER = Path(__file__).parent / "runner.py"
LORA = {"r": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
CASES = {case["id"]: case for case in grid.cases()}
MISSING = {case["id"]: case for case in grid.missing()}


@lru_cache(maxsize=1)
def scratch() -> Path:
    """Models and link farms, kept beside the stacks."""
    folder = stacks.home() / "scratch"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@lru_cache(maxsize=1)
def models() -> Path:
    folder = scratch() / "models"
    python, env = stacks.command("legacy", scratch())
    subprocess.run([*python, str(RUNNER.with_name("tiny_models.py")), str(folder)], env=env, check=True)
    return folder


@lru_cache(maxsize=16)
def facts(stack: str) -> Facts:
    """The environment's own facts."""
    python, env = stacks.command(stack, scratch())
    code = "import json, qvl_preflight; print(json.dumps(qvl_preflight.collect_facts().to_dict()))"
    done = subprocess.run([*python, "-c", code], env=env, check=True, capture_output=True, text=True)
    return Facts.from_dict(json.loads(done.stdout))


@lru_cache(maxsize=32)
def outcomes(stack: str, which: str) -> dict[str, Any]:
    """All cases of one kind on one stack, run once."""
    cases = list(MISSING.values()) if which == "missing" else list(CASES.values())
    if which == "fixed":
        cases = [{**case, "fix": True} for case in cases if needs_fix(stack, case)]
    python, env = stacks.command(stack, scratch())
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    done = subprocess.run([*python, str(RUNNER), str(models())], input=lines, env=env, check=True, capture_output=True, text=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    (scratch() / f"{stack}-{which}.jsonl").write_text(
        "".join(json.dumps({**case, **one}) + "\n" for case, one in zip(cases, found, strict=True))
    )
    return {one["id"]: one for one in found}


def predicted(stack: str, case: dict[str, Any]) -> Report:
    peft = {"peft": LORA} if case["action"] == "lora_step" else {}
    kwargs = decoded(case["kwargs"])
    return qvl_preflight.check(str(models() / case["model"]), purpose=case["purpose"], facts=facts(stack), **peft, **kwargs)


def decoded(value: Any) -> Any:
    """Keys that are numbers, as JSON loses them on the way to the runner."""
    return (
        {(int(k) if isinstance(k, str) and k.lstrip("-").isdigit() else k): decoded(v) for k, v in value.items()}
        if isinstance(value, dict)
        else value
    )


def needs_fix(stack: str, case: dict[str, Any]) -> bool:
    return predicted(stack, case).verdict in ("fails", "degraded")


@pytest.mark.parametrize("stack", list(stacks.STEPS))
@pytest.mark.parametrize("case", CASES)
def test_plan_agrees_with_the_stack(stack: str, case: str) -> None:
    """Exception, place, dtype and kernel are as predicted."""
    assert disagreement(predicted(stack, CASES[case]), outcomes(stack, "grid")[case]) is None


@pytest.mark.parametrize("stack", list(stacks.WITHOUT))
@pytest.mark.parametrize("case", MISSING)
def test_plan_agrees_where_a_package_is_missing(stack: str, case: str) -> None:
    """A missing package shows as the exception that was predicted."""
    assert disagreement(predicted(stack, MISSING[case]), outcomes(stack, "missing")[case]) is None


@pytest.mark.parametrize("stack", list(stacks.STEPS))
def test_installing_moves_nothing(stack: str, tmp_path: Path) -> None:
    """pip would add what is missing and replace nothing: pydantic 1.10, which old DeepSpeed pins, is in the legacy stack."""
    python, env = stacks.command(stack, scratch())
    root = Path(__file__).parents[2]
    report = tmp_path / "report.json"
    command = [
        *python,
        "-m",
        "pip",
        "install",
        "-q",
        "--dry-run",
        "--disable-pip-version-check",
        "--report",
        str(report),
        str(root),
    ]
    subprocess.run(command, env={**env, "PYTHONPATH": ""}, check=True)
    wanted = {entry["metadata"]["name"].lower().replace("_", "-") for entry in json.loads(report.read_text())["install"]}
    assert "qvl-preflight" in wanted
    assert not wanted & facts(stack).to_dict()["packages"].keys()


@pytest.mark.parametrize("stack", list(stacks.STEPS))
@pytest.mark.parametrize("case", CASES)
def test_fixed_call_does_what_was_asked(stack: str, case: str) -> None:
    """A call that fix_kwargs changes, with live objects and the environment's own facts, loads, runs, and trains with gradients: else it is unchanged."""
    if not needs_fix(stack, CASES[case]):
        pytest.skip("nothing to fix")
    real = outcomes(stack, "fixed")[case]
    if not real.get("changes"):
        pytest.skip(f"no argument mends it: {real.get('remaining')}")
    assert not real["remaining"]
    assert real["outcome"] == "ok", real
    assert real.get("finite", True)
    if CASES[case]["action"] == "lora_step":
        assert real["grad_norm"] > 0
