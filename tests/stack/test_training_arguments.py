"""Arguments of TrainingArguments by release: what 4.37.2, 4.50.3, 4.51.3, 4.57.1 and 5.23.0 answered when they were asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.stack.training_arguments import takes
from qvl_preflight.testing import machine

MODEL = "Qwen/Qwen2-7B-Instruct"


def raised(root: Path, release: str, trainer: dict[str, Any], python: str = "3.12.3") -> list[str]:
    packages = {"transformers": release, "torch": "2.8.0", "accelerate": "1.15.0", "peft": "0.15.2"}
    facts = machine("a100", packages=packages, python={"version": python, "implementation": "CPython", "platform": "linux-x86_64"})
    found = qvl_preflight.check(str(root / MODEL), facts=facts, purpose="lora", trainer=trainer, device_map={"": 0})
    return [finding.raises.text for finding in found.findings if finding.code == "QVL820" and finding.raises]


@pytest.mark.parametrize(
    ("release", "name", "refused"),
    [
        ("4.37.2", "evaluation_strategy", False), ("4.37.2", "eval_strategy", True), ("4.37.2", "sharded_ddp", True), ("4.37.2", "save_safetensors", False),
        ("4.50.3", "evaluation_strategy", False), ("4.51.3", "evaluation_strategy", True), ("4.45.2", "eval_strategy", False),
        ("4.57.1", "use_ipex", True), ("4.57.1", "overwrite_output_dir", False), ("4.57.1", "warmup_ratio", False),
        ("5.23.0", "overwrite_output_dir", True), ("5.23.0", "logging_dir", True), ("5.23.0", "warmup_ratio", True), ("5.23.0", "eval_strategy", False),
    ],
)  # fmt: skip
def test_runs(checkpoints: Path, release: str, name: str, refused: bool) -> None:
    expected = [f"TrainingArguments.__init__() got an unexpected keyword argument '{name}'"] if refused else []
    assert raised(checkpoints, release, {name: "no"}) == expected


def test_releases_between_those_that_were_read() -> None:
    """5.12 lies between 5.10, which takes warmup_ratio, and 5.17, which does not: nothing is said."""
    assert takes("warmup_ratio", (5, 12)) is None
    assert takes("warmup_ratio", (5, 7)) is True
    assert takes("warmup_ratio", (5, 18)) is False
    assert takes("warmup_ratio", (5, 99)) is False
    assert takes("nobody_knows_it", (5, 0)) is None


def test_settings_of_other_programs_are_left_alone(checkpoints: Path) -> None:
    """A mapping may hold them, and some share a name with an argument of another release."""
    assert not raised(
        checkpoints, "4.37.2", {"use_unsloth": True, "project": "mine", "use_cache": False, "disable_flash_attn2": False}
    )


def test_the_first_one_is_named_as_python_does(checkpoints: Path) -> None:
    """The class stands before it since Python 3.10; one finding, whatever their number."""
    trainer = {"fp16": False, "no_cuda": False, "evaluation_strategy": "no"}
    assert raised(checkpoints, "5.23.0", trainer, "3.9.18") == ["__init__() got an unexpected keyword argument 'no_cuda'"]


def test_a_llama_factory_file_is_not_held_to_it(tmp_path: Path, checkpoints: Path) -> None:
    """LLaMA-Factory declares what transformers took away."""
    path = tmp_path / "job.yaml"
    path.write_text(
        f"model_name_or_path: {checkpoints / MODEL}\nstage: sft\ndo_train: true\nfinetuning_type: lora\noverwrite_output_dir: true\nwarmup_ratio: 0.1\n"
    )
    report = qvl_preflight.check(str(path), facts=machine("a100"))
    assert "QVL820" not in {finding.code for finding in report.findings}
