"""torch that was built for something else: how sure a finding is, and what is done about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.report import Applicability, Finding, Severity
from qvl_preflight.testing import machine

PLAIN, GPTQ = "Qwen/Qwen2-7B-Instruct", "Qwen/Qwen2-7B-Instruct-GPTQ-Int4"
OLD = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]
CPU_TORCH = {"cuda_build": False, "hip_build": False, "xpu_build": False}
NO_GPU: dict[str, Any] = {"gpus": [], "driver": None, "torch": CPU_TORCH}


def found(checkpoints: Path, code: str, facts: Any, model: str = PLAIN, **kwargs: Any) -> list[Finding]:
    """The findings of one rule."""
    return [each for each in qvl_preflight.check(str(checkpoints / model), facts=facts, **kwargs).findings if each.code == code]


def blackwell(**torch: Any) -> Any:
    return machine("blackwell-old-wheel", "legacy", torch={"cuda_build": "12.1", "hip_build": False, **torch})


def test_a_list_that_was_read_makes_an_error(checkpoints: Path) -> None:
    """torch's own library says for what it holds kernels."""
    (finding,) = found(checkpoints, "QVL114", blackwell(arch_list=OLD), device_map="cuda")
    assert finding.severity is Severity.ERROR
    assert finding.raises is not None
    assert finding.raises.condition is None


def test_a_list_of_the_official_wheel_makes_a_warning(checkpoints: Path) -> None:
    """A torch that somebody built may hold others; that is said."""
    (finding,) = found(checkpoints, "QVL114", blackwell(), device_map="cuda")
    assert finding.severity is Severity.WARNING
    assert finding.raises is not None
    assert finding.raises.condition == "torch is PyTorch's own wheel"


def test_ptx_runs_on_what_is_newer(checkpoints: Path) -> None:
    """compute_90 is compiled for the GPU at first use."""
    assert found(checkpoints, "QVL114", blackwell(arch_list=[*OLD, "compute_90"]), device_map="cuda") == []


@pytest.mark.parametrize("device_map", ["cuda", "cuda:0", 0, {"": 0}, {"model": "cuda:0", "lm_head": "cpu"}])
def test_a_machine_without_any_gpu_gets_the_cpu(checkpoints: Path, device_map: Any) -> None:
    """A torch for the CPU on a machine of CPUs: the map alone is wrong, and putting it right is safe."""
    fixed = qvl_preflight.fix_kwargs(str(checkpoints / PLAIN), facts=machine("a100", **NO_GPU), device_map=device_map)
    assert fixed == {"device_map": "cpu"}
    assert [finding.code for finding in fixed.report.findings if finding.code == "QVL102"] == ["QVL102"]
    assert fixed.remaining.findings == ()


@pytest.mark.parametrize(
    "differs",
    [
        pytest.param({"gpus": None, "driver": None}, id="nobody knows which GPUs there are"),
        pytest.param({"nvidia": {"cards": 1, "kernel_module": False}}, id="a card without its driver"),
        pytest.param({"host": {"other_gpus": ["amd"]}}, id="a GPU of another vendor"),
    ],
)
def test_a_machine_that_may_have_a_gpu_does_not(checkpoints: Path, differs: dict[str, Any]) -> None:
    """There the torch is wrong, and a package is for the person to replace."""
    facts = machine("a100", **{**NO_GPU, **differs})
    for finding in found(checkpoints, "QVL102", facts, device_map="cuda"):
        assert finding.fix is not None
        assert finding.fix.applicability is Applicability.DISPLAY


def test_quantised_weights_are_not_moved_on_a_guess(checkpoints: Path) -> None:
    """Whether their kernel runs on the CPU is another rule's question."""
    for finding in found(checkpoints, "QVL102", machine("a100", **NO_GPU), GPTQ, device_map="cuda"):
        assert finding.fix is not None
        assert finding.fix.applicability is Applicability.DISPLAY


def test_the_doctor_says_nothing_of_a_cpu_torch_where_there_is_no_gpu() -> None:
    """They go together."""
    assert "QVL102" not in {finding.code for finding in qvl_preflight.doctor(facts=machine("a100", **NO_GPU)).findings}
