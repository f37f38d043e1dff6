"""The line that says where the model lands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.render.machine import plan_line
from qvl_preflight.testing import checkpoint, machine


def line(
    model: Path, hardware: str = "a100", purpose: str | None = None, trainer: Any = None, stack: str = "today", **kwargs: Any
) -> str:
    report = qvl_preflight.check(str(model), facts=machine(hardware, stack), purpose=purpose, trainer=trainer, **kwargs)
    assert report.plan is not None
    return plan_line(report.plan)


@pytest.mark.parametrize("kwargs", [{}, {"device_map": None}])
def test_a_gpu_that_stays_idle_is_named(kwargs: dict[str, Any], checkpoints: Path) -> None:
    """Nobody placed the model: a word, no finding, and the verdict stands."""
    plain = checkpoints / "Qwen/Qwen2-7B-Instruct"
    assert "on cpu (cuda:0, NVIDIA A100-SXM4-80GB, stays idle unless the model is moved)" in line(plain, **kwargs)
    assert qvl_preflight.check(str(plain), facts=machine(), **kwargs).findings == ()


@pytest.mark.parametrize(
    ("hardware", "rest"),
    [
        ("a100", {"device_map": "cpu"}),
        ("a100", {"device_map": "auto"}),
        ("a100", {"purpose": "lora"}),
        ("a100", {"trainer": {}}),
        ("no-gpu", {}),
        ("hidden", {}),
        ("a100-cpu-torch", {}),
        ("a100-old-driver", {}),
        ("crowded", {}),
    ],
)
def test_no_gpu_is_called_idle(hardware: str, rest: dict[str, Any], checkpoints: Path) -> None:
    """A choice, a Trainer that moves the model, a GPU that cannot be used or has no room."""
    assert "idle" not in line(checkpoints / "Qwen/Qwen2-7B-Instruct", hardware, **rest)


def test_a_split_of_known_modules_is_stated(tmp_path: Path) -> None:
    """Recorded maps of these classes agree; nothing hangs on free memory."""
    model = checkpoint("Qwen/Qwen2-7B-Instruct", tmp_path, layers=28)
    text = line(Path(model), "two-gpus", device_map="auto")
    assert "about" not in text
    assert "cuda:1" in text


def test_a_split_of_guessed_modules_is_about_so(tmp_path: Path) -> None:
    """Another class than the one that was saved: its modules are put together from the names of the tensors."""
    model = checkpoint("Qwen/Qwen2-7B-Instruct", tmp_path, layers=28)
    report = qvl_preflight.check(model, facts=machine("two-gpus"), loader="Qwen2ForSequenceClassification", device_map="auto")
    assert report.plan is not None
    text = plan_line(report.plan)
    assert "about" in text
    assert "cuda:1" in text


def test_a_split_that_free_memory_decides_is_about_so(checkpoints: Path) -> None:
    """Less is free once CUDA runs; a limit of the person's own is taken as it is."""
    plain = checkpoints / "Qwen/Qwen2-7B-Instruct"
    assert "about" in line(plain, "crowded", device_map="auto")
    assert "about" not in line(plain, "crowded", device_map="auto", max_memory={0: "300MB", "cpu": "100GB"})
