"""What ``check`` says of memory (QVL501, QVL502, the plan's bytes) and what ``fit`` says are of one computation: they never contradict each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.fitting.spread import Spread
from qvl_preflight.memory.training import full
from qvl_preflight.memory.weights import in_memory
from qvl_preflight.testing import machine
from qvl_preflight.unknown import Unknown

BNB = {"__class__": "BitsAndBytesConfig", "load_in_4bit": True}
CHECKPOINTS = (
    "Qwen/Qwen2-7B-Instruct",
    "Qwen/Qwen2-0.5B-Instruct",
    "meta-llama/Llama-2-7b-hf",
    "bigscience/bloom-560m",
    "TheBloke/Llama-2-7B-Chat-GPTQ",
)
MACHINES = ("small-gpu", "t4", "two-gpus")
LOADS: tuple[dict[str, Any], ...] = ({"dtype": "float32"}, {"dtype": "bfloat16"}, {"dtype": "bfloat16", "quantization_config": BNB})


def both(root: Path, name: str, hardware: str, **call: Any) -> tuple[qvl_preflight.Report, qvl_preflight.Fit]:
    facts = machine(hardware)
    return qvl_preflight.check(str(root / name), facts=facts, **call), qvl_preflight.fit(str(root / name), facts=facts, **call)


def codes(report: qvl_preflight.Report) -> set[str]:
    return {finding.code for finding in report.findings}


def memory(report: qvl_preflight.Report) -> dict[str, int]:
    assert report.plan is not None
    found = report.plan.memory
    return {} if isinstance(found, Unknown) else dict(found)


@pytest.mark.parametrize("hardware", MACHINES)
@pytest.mark.parametrize("name", CHECKPOINTS)
@pytest.mark.parametrize("load", LOADS, ids=["float32", "bfloat16", "4-bit"])
def test_the_weights_of_the_plan_are_those_of_the_estimate(
    checkpoints: Path, name: str, hardware: str, load: dict[str, Any]
) -> None:
    """To the byte; and what is too large for check is too large for fit."""
    if "GPTQ" in name and ("quantization_config" in load or load["dtype"] != "float16"):
        load = {"dtype": "float16"}
    report, found = both(checkpoints, name, hardware, device_map={"": 0}, **load)
    assert sum(found.question.estimate.modules.values()) == memory(report)["cuda:0"]
    spread = found.question.spread
    assert isinstance(spread, Spread)
    assert sum(spread.shares["cuda:0"].modules.values()) == memory(report)["cuda:0"]
    if "QVL501" in codes(report):
        assert found.verdict == "too large"
    if found.verdict in ("fits", "narrowly"):
        assert not codes(report) & {"QVL501", "QVL502"}


@pytest.mark.parametrize("strategy", ["auto", "balanced", "sequential"])
@pytest.mark.parametrize("hardware", MACHINES)
def test_a_strategy_puts_the_same_bytes_on_the_same_devices(checkpoints: Path, hardware: str, strategy: str) -> None:
    """What spills by the plan spills by fit."""
    report, found = both(checkpoints, CHECKPOINTS[0], hardware, device_map=strategy, dtype="float32")
    spread = found.question.spread
    assert isinstance(spread, Spread)
    sizes = {device: sum(share.modules.values()) for device, share in spread.shares.items()}
    assert {**sizes, **{place: away.total_bytes for place, away in spread.away.items()}} == memory(report)
    if "QVL409" in codes(report):
        assert found.verdict in ("spills", "too large")


@pytest.mark.parametrize("optimizer", ["adamw_torch", "adamw_8bit", "adafactor", "sgd", "paged_adamw_8bit"])
@pytest.mark.parametrize("hardware", MACHINES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_and_states_are_the_same(checkpoints: Path, hardware: str, optimizer: str, dtype: str) -> None:
    """QVL502 counts the parts of the estimate that are surely held together."""
    call: dict[str, Any] = {"purpose": "full", "trainer": {"optim": optimizer}, "dtype": dtype, "device_map": {"": 0}}
    report, found = both(checkpoints, CHECKPOINTS[0], hardware, **call)
    estimate = found.question.estimate
    held = full(in_memory(found.question.call.checkpoint, dtype, None), {"optim": optimizer})
    assert (estimate.gradient_bytes, estimate.optimizer_bytes) == (held.gradients, held.states)
    assert isinstance(estimate.peak_bytes, int)
    assert held.total_bytes <= estimate.peak_bytes
    if "QVL502" in codes(report):
        assert found.verdict == "too large"


@pytest.mark.parametrize(
    "trainer", [{"deepspeed": {"zero_optimization": {"stage": stage}}} for stage in (1, 2, 3)] + [{"fsdp": "full_shard auto_wrap"}]
)
@pytest.mark.parametrize("count", [2, 8])
def test_a_rank_holds_what_is_said_of_it(checkpoints: Path, trainer: dict[str, Any], count: int) -> None:
    """QVL502 is a lower bound of what fit estimates for a rank."""
    gpu = machine("small-gpu").to_dict()["gpus"][0]
    gpus = [{**gpu, "index": index, "uuid": f"GPU-{index}"} for index in range(count)]
    launch = {
        "launcher": "torchrun",
        "world_size": count,
        "rank": 0,
        "local_rank": 0,
        "local_world_size": count,
        "notebook": False,
        "deepspeed_zero": False,
        "fsdp": False,
    }
    facts = machine("small-gpu", gpus=gpus, launch=launch)
    call: dict[str, Any] = {"purpose": "full", "trainer": trainer, "dtype": "float16"}
    report = qvl_preflight.check(str(checkpoints / CHECKPOINTS[0]), facts=facts, **call)
    found = qvl_preflight.fit(str(checkpoints / CHECKPOINTS[0]), facts=facts, **call)
    sharing = found.question.call.sharing
    assert sharing is not None
    assert sharing.ranks == count
    held = full(in_memory(found.question.call.checkpoint, "float16", None), trainer, sharing)
    assert isinstance(found.question.estimate.peak_bytes, int)
    assert held.total_bytes <= found.question.estimate.peak_bytes
    if "QVL502" in codes(report):
        assert found.verdict == "too large"
