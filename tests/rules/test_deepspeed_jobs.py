"""DeepSpeed that is asked for and not there, and a configuration with two precisions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.cli import main
from qvl_preflight.report import Report
from qvl_preflight.testing import machine
from qvl_preflight.testing.stacks import STACKS

PLAIN = "Qwen/Qwen2-7B-Instruct"
ZERO2, ZERO3 = ({"zero_optimization": {"stage": stage}} for stage in (2, 3))
BOTH = {"fp16": {"enabled": True}, "bf16": {"enabled": True}}


def check(root: Path, trainer: Any, stack: str = "today", hardware: str = "rank-1-of-2", **call: Any) -> Report:
    more = call.pop("packages", {})
    facts = machine(hardware, stack, packages={**STACKS[stack]["packages"], **more}, packages_complete=call.pop("complete", True))
    return qvl_preflight.check(str(root / PLAIN), facts=facts, trainer=trainer, **call)


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.findings]


@pytest.mark.parametrize(
    ("stack", "text"),
    [
        ("legacy", "No package metadata was found for The 'deepspeed>=0.9.3' distribution was not found"),
        ("recent-4", "No package metadata was found for The 'deepspeed>=0.9.3' distribution was not found"),
        ("today", "No package metadata was found for The 'deepspeed>=0.9.3' distribution was not found"),
    ],
)
def test_trainingarguments_ask_for_it_first(checkpoints: Path, stack: str, text: str) -> None:
    """Before the model is loaded under ZeRO-3, whatever it is called with (run: 4.37.2, 4.57.1, 5.23.0)."""
    report = check(checkpoints, {"deepspeed": ZERO3}, stack)
    assert codes(report)[0] == "QVL715"
    assert report.findings[0].raises is not None
    assert report.findings[0].raises.type == "PackageNotFoundError"
    assert report.findings[0].raises.text.startswith(text)
    assert report.verdict == "fails"


def test_also_on_the_cpu_and_from_a_file_of_deepspeed(checkpoints: Path, tmp_path: Path) -> None:
    """use_cpu=True makes no difference (run: 5.23.0)."""
    path = tmp_path / "ds.json"
    path.write_text(json.dumps(ZERO2))
    assert codes(check(checkpoints, str(path), hardware="a100"))[0] == "QVL715"
    assert codes(check(checkpoints, {"use_cpu": True, "deepspeed": ZERO2}))[0] == "QVL715"


def test_accelerate_launch_starts_nothing(checkpoints: Path) -> None:
    """Run: accelerate 0.26.1, 1.15.0."""
    launch = {"distributed_type": "DEEPSPEED", "deepspeed_config": {"zero_stage": 2}, "num_processes": 2}
    report = check(checkpoints, launch, hardware="two-gpus")
    assert codes(report).count("QVL715") == 1
    finding = report.findings[0]
    assert (finding.code, finding.stage) == ("QVL715", "import")
    assert finding.raises is not None
    assert finding.raises.text == "DeepSpeed is not installed => run `pip3 install deepspeed` or build it from source."
    assert "QVL715" not in codes(check(checkpoints, launch, "today-deepspeed", hardware="two-gpus"))


def test_an_old_one_is_refused_as_well(checkpoints: Path) -> None:
    report = check(checkpoints, {"deepspeed": ZERO2}, packages={"deepspeed": "0.8.3"})
    assert report.findings[0].raises is not None
    assert report.findings[0].raises.text.startswith(
        "deepspeed>=0.9.3 is required for a normal functioning of this module, but found"
    )


def test_where_packages_are_not_all_known_it_is_an_open_question(checkpoints: Path) -> None:
    report = check(checkpoints, {"deepspeed": ZERO2}, complete=False)
    assert "QVL715" not in codes(report)
    assert any("deepspeed" in item.reason for item in report.skipped)


@pytest.mark.parametrize("trainer", [None, {}, {"bf16": True}, {"deepspeed": None}, {"deepspeed": ""}])
def test_who_does_not_ask_for_it_needs_none(checkpoints: Path, trainer: Any) -> None:
    assert "QVL715" not in codes(check(checkpoints, trainer, purpose="full"))


def test_what_is_installed_is_not_missed(checkpoints: Path) -> None:
    assert codes(check(checkpoints, {"deepspeed": ZERO3}, "today-deepspeed")) == []


@pytest.mark.parametrize(
    ("trainer", "text"),
    [
        ({}, "Please correct the following DeepSpeed config values that mismatch TrainingArguments values:\n- ds fp16.enabled=True vs hf fp16|fp16_full_eval=False\n- ds bf16.enabled=True vs hf bf16|bf16_full_eval=False"),
        ({"bf16": True}, "`--mixed_precision` arg cannot be set to `bf16` when `fp16` is set in the DeepSpeed config file."),
        ({"fp16": True}, "`--mixed_precision` arg cannot be set to `fp16` when `bf16` is set in the DeepSpeed config file."),
    ],
)  # fmt: skip
def test_two_precisions_in_its_configuration(checkpoints: Path, trainer: dict[str, Any], text: str) -> None:
    """Whatever TrainingArguments say (run: transformers 5.23.0, accelerate 1.15.0, deepspeed 0.18.3)."""
    report = check(checkpoints, {**trainer, "deepspeed": {**ZERO2, **BOTH}}, "today-deepspeed", dtype="float32")
    assert codes(report) == ["QVL711"]
    assert report.findings[0].raises is not None
    assert report.findings[0].raises.text == text
    assert report.verdict == "fails"


def test_two_precisions_in_a_file_alone(checkpoints: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, facts = tmp_path / "ds.json", tmp_path / "facts.json"
    path.write_text(json.dumps({**ZERO2, **BOTH}))
    facts.write_text(json.dumps(machine("rank-1-of-2", "today-deepspeed").to_dict()))
    assert main(["check", str(checkpoints / PLAIN), "--trainer", str(path), "--facts", str(facts)]) == 1
    assert "both fp16 and bf16" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("trainer", "config", "line"),
    [
        ({"fp16": False}, {"fp16": {"enabled": True}}, "- ds fp16.enabled=True vs hf fp16|fp16_full_eval=False"),
        ({"bf16": True}, {"bf16": {"enabled": False}}, "- ds bf16.enabled=False vs hf bf16|bf16_full_eval=True"),
        ({"bf16": False, "bf16_full_eval": True}, {"bf16": {"enabled": True}}, None),
        ({"bf16": True}, {"bf16": {"enabled": "auto"}, "fp16": {"enabled": False}}, None),
        ({}, {"bf16": {"enabled": True}}, None),  # what TrainingArguments say is not known
        ({"bf16": True}, {"bf16": {"enabled": True}, "fp16": {"enabled": "auto"}}, None),
    ],
)
def test_one_precision_that_the_other_side_contradicts(
    checkpoints: Path, trainer: dict[str, Any], config: dict[str, Any], line: str | None
) -> None:
    """Only where both name it (run: 5.23.0)."""
    report = check(checkpoints, {**trainer, "deepspeed": {**ZERO2, **config}}, "today-deepspeed")
    assert codes(report) == (["QVL711"] if line else [])
    assert line is None or (report.findings[0].raises is not None and line in report.findings[0].raises.text)


@pytest.mark.parametrize("stack", ["legacy", "recent-4"])
def test_older_releases_name_the_switch_of_apex_as_well(checkpoints: Path, stack: str) -> None:
    """Run: 4.37.2, 4.57.1."""
    report = check(checkpoints, {"deepspeed": {**ZERO2, **BOTH}}, stack, packages={"deepspeed": "0.18.3"})
    assert report.verdict == "fails"
    (finding,) = (finding for finding in report.findings if finding.code == "QVL711")
    assert finding.raises is not None
    assert "vs hf fp16|fp16_full_eval+fp16_backend(amp)=False" in finding.raises.text


def test_the_plan_of_a_sharded_model_names_no_device_that_it_is_not_on(checkpoints: Path) -> None:
    """ZeRO-3 shares the weights among the ranks; without a device_map a load is otherwise one on the CPU."""
    text = " ".join(check(checkpoints, {"deepspeed": ZERO3}, "today-deepspeed").text().split())
    assert "Plan shared among the ranks by ZeRO-3" in text
    assert "Plan on cpu" in " ".join(check(checkpoints, {"deepspeed": ZERO2}, "today-deepspeed").text().split())
