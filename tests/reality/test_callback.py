"""PreflightCallback in trainings on real stacks: it says what is so, stops what would fail, and never changes or ends a training that works."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import stacks

HERE = Path(__file__).parent
STACKS = ("legacy", "v4", "modern")


class Stack:
    """A stack with tiny models, in which cases of trainings.py are run."""

    def __init__(self, name: str, scratch: Path) -> None:
        self.name, self.models = name, scratch / "models"
        self.python, self.env = stacks.command(name, scratch)
        subprocess.run(
            [*self.python, str(HERE / "tiny_models.py"), str(self.models)], env=self.env, check=True, capture_output=True
        )

    def run(self, *cases: str, launch: tuple[str, ...] = (), **env: str) -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
        command = [*self.python, *launch, str(HERE / "trainings.py"), str(self.models), *cases]
        done = subprocess.run(command, env=self.env | env, capture_output=True, text=True, timeout=500)
        if launch:  # two ranks write over one another; each has a file of its own
            return {}, done
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        assert lines, done.stderr[-3000:]
        return json.loads(lines[-1]), done


@pytest.fixture(scope="module", params=STACKS)
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    return Stack(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def trained(stack: Stack) -> dict[str, Any]:
    """Every case of one process; where the stack itself can do with it, in a home folder in which nothing can be written."""
    nowhere = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "HF_HOME"), "/dev/null/nowhere")
    return stack.run(**(nowhere if stack.name == "legacy" else {}))[0]


def test_a_training_is_the_same_with_it_to_the_last_digit(trained: dict[str, Any]) -> None:
    """Dropout and all: no random number is drawn, no hook stays, nothing is moved."""
    for case in ("with", "quiet", "broken judge", "broken probe", "closed stream", "kinds"):
        assert trained[case]["raised"] == "", case
        assert trained[case]["sum"] == trained["without"]["sum"], case
        assert trained[case]["hooks"] == 0, case
    assert trained["unlisted"]["sum"] == trained["unlisted-without"]["sum"]


def test_what_is_said_of_a_training_that_works(trained: dict[str, Any]) -> None:
    """The model as it is, and the gradients of the first step, with accumulation as well; nothing where it is to be quiet."""
    for case in ("with", "accumulated"):
        assert trained[case]["text"].startswith("OK  ")
        assert "in the first step gradients reach 4 of 8 trainable tensors" in trained[case]["text"]
    assert "gradients reach 21 of 21" in trained["full"]["text"]
    assert trained["unknown kind"]["text"].startswith("OK  Nothing for full")
    assert trained["quiet"]["text"] == ""


def test_an_error_stops_the_training_before_its_first_step(trained: dict[str, Any]) -> None:
    """Told to go on, it meets what was said."""
    assert trained["frozen"]["raised"].startswith("TrainingStopped: QVL853")
    assert "RuntimeError: element 0 of tensors does not require grad" in " ".join(trained["frozen"]["text"].split())
    assert trained["frozen-goes-on"]["raised"].startswith("RuntimeError: element 0 of tensors does not require grad")


def test_gradients_that_are_zero_are_said_after_three_steps(trained: dict[str, Any]) -> None:
    """Or at the end of a training that is shorter. It is not stopped."""
    assert "in the first 3 steps no gradient but zero" in trained["stillborn"]["text"]
    assert "in the first step no gradient but zero" in trained["stillborn-short"]["text"]
    assert trained["stillborn"]["raised"] == ""


def test_a_check_that_breaks_is_one_line(trained: dict[str, Any]) -> None:
    """The machine cannot be looked at; the model cannot be listed; a judgement fails."""
    assert trained["broken probe"]["text"].count("\n") == trained["unlisted"]["text"].count("\n") == 1
    assert "the training goes on without it" in trained["broken probe"]["text"]
    assert "QVL000" in trained["broken judge"]["text"]


def test_classes_subclasses_and_pickles(trained: dict[str, Any]) -> None:
    """All are callbacks of transformers."""
    assert trained["kinds"]["ok"]
    assert trained["kinds"]["stop"] is False


def ranks(stack: Stack, case: str) -> tuple[list[str], int]:
    launch = ("-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone")
    _, done = stack.run(case, launch=launch)
    return [(stack.models / f"rank-{rank}.txt").read_text() for rank in range(2)], done.returncode


def test_two_ranks(stack: Stack) -> None:
    """Rank 0 prints in full; of another one line, and only where something is wrong. A stopped training ends non-zero."""
    (first, second), code = ranks(stack, "rank")
    assert code == 0
    assert first.startswith("OK  ")
    assert "gradients reach 4 of 8" in first
    assert second == ""
    (first, second), code = ranks(stack, "bad rank")
    assert code != 0
    assert first.startswith("OK  ")
    assert second.startswith("qvl-preflight: rank 1: QVL853: no parameter requires a gradient")
    assert second.count("\n") == 1


@pytest.mark.parametrize("name", ["legacy", "modern"])
def test_sft_trainer_with_the_name_of_a_model(name: str, tmp_path: Path) -> None:
    """trl loads the model itself; the callback sees it."""
    stack = Stack(name, tmp_path)
    path = os.pathsep.join([stack.env["PYTHONPATH"], str(stacks.beside(f"trl-{name}"))])
    found, _ = stack.run("sft", PYTHONPATH=path)
    assert found["sft"]["steps"] == 2
    assert found["sft"]["text"].startswith("OK  ")
    assert "default: lora, r=4 on q_proj, v_proj" in found["sft"]["text"]
    assert "in the first step gradients reach 4 of 8" in found["sft"]["text"]
