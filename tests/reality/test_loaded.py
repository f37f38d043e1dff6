"""check() of models that real stacks loaded: what it says is what then happens, and the model is as it was."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import stacks

STACKS = ("legacy", "v4", "modern")


@pytest.fixture(scope="module", params=STACKS)
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Case → what check said, and what happened."""
    scratch = tmp_path_factory.mktemp(request.param)
    python, env = stacks.command(request.param, scratch)
    here = Path(__file__).parent
    subprocess.run([*python, str(here / "tiny_models.py"), str(scratch / "models")], env=env, check=True, capture_output=True)
    command = [*python, str(here / "loaded_models.py"), str(scratch / "models")]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return {case["id"]: case for case in json.loads(done.stdout.splitlines()[-1])}


def test_working_models_have_no_finding(seen: dict[str, Any]) -> None:
    """Plain, with adapters, with offloaded parts, with gradient checkpointing as it has to be."""
    for case in ("plain", "plain-full", "lora", "inference", "continued", "checkpointing-with-grads", "offloaded"):
        assert seen[case]["codes"] == [], case
        assert seen[case]["verdict"] == "ok", case


def test_gradients_are_those_of_a_real_step(seen: dict[str, Any]) -> None:
    """At the beginning lora_B gets one and lora_A none; in full training every tensor gets one."""
    assert (seen["lora"]["gradients"]["arrived"], len(seen["lora"]["gradients"]["zero"])) == (4, 4)
    assert seen["plain-full"]["gradients"]["arrived"] == seen["plain-full"]["trainable"]
    assert seen["lora"]["as it was"] is True
    assert seen["plain-full"]["as it was"] is True


def test_frozen_adapters_and_what_a_step_says_to_them(seen: dict[str, Any]) -> None:
    """The exception is the one that the step raises."""
    assert seen["frozen"]["codes"] == ["QVL853 error"]
    assert seen["frozen"]["raised"].startswith(seen["frozen"]["predicted"])


def test_checkpointing_over_frozen_embeddings(seen: dict[str, Any]) -> None:
    """Reentrant, without an input that requires a gradient: nothing arrives."""
    assert seen["checkpointing"]["codes"] == ["QVL854 warning"]


def test_weights_without_data(seen: dict[str, Any]) -> None:
    """A part on meta: the forward raises, or it takes what lies in memory for the result of that part (torch 2.13, 2.14 on the CPU)."""
    assert seen["meta"]["codes"] == ["QVL851 error"]
    assert seen["meta"]["happened"] != "nothing"


def test_quantised_layers_and_whether_they_take_train(seen: dict[str, Any]) -> None:
    """QVL801 exactly where model.train() raises, in its words."""
    case = seen["gptq"]
    assert case["kernels"]
    assert ("QVL801 error" in case["codes"]) == bool(case["raised"])
    if case["raised"]:
        assert case["raised"].startswith(case["predicted"])
    else:
        assert case["gradients"]["arrived"] == 4
