"""What does not fit: weights, and full fine-tuning. Most of it is about silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.report import Report, Severity
from qvl_preflight.testing import HARDWARE, machine

MODEL = "Qwen/Qwen2-7B-Instruct"  # two layers: 2.9 GiB in half precision
GPU = HARDWARE["small-gpu"]["gpus"][0]  # 4 GiB
ON_GPU: dict[str, Any] = {"device_map": {"": 0}}
BNB = {"__class__": "BitsAndBytesConfig", "load_in_4bit": True}


def report(root: Path, hardware: str = "small-gpu", sections: dict[str, Any] | None = None, **call: Any) -> Report:
    return qvl_preflight.check(str(root / MODEL), facts=machine(hardware, **(sections or {})), **call)


def codes(found: Report) -> set[str]:
    return {finding.code for finding in found.findings}


def ranks(count: int, **gpu: Any) -> dict[str, Any]:
    """Rank 0 of several, with as many GPUs."""
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
    return {"launch": launch, "gpus": [{**GPU, **gpu, "index": index, "uuid": f"GPU-{index}"} for index in range(count)]}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({**ON_GPU, "dtype": "float32"}, True),
        ({"device_map": "cuda", "dtype": "float32"}, True),
        ({**ON_GPU, "dtype": "float16"}, False),
        ({**ON_GPU, "dtype": "float16", "quantization_config": BNB}, False),
        ({"device_map": "cpu", "dtype": "float32"}, False),
        ({"device_map": "auto", "dtype": "float32"}, False),  # the rest goes to the CPU: QVL409
        ({"dtype": "float32"}, False),  # people move it, or do not
        ({"device_map": {"model.layers": 0, "model.embed_tokens": "cpu", "model.norm": 0, "lm_head": "cpu"}, "dtype": "float32"}, False),
    ],
)  # fmt: skip
def test_weights_on_a_small_gpu(checkpoints: Path, call: dict[str, Any], said: bool) -> None:
    assert ("QVL501" in codes(report(checkpoints, **call))) == said


@pytest.mark.parametrize(
    "sections",
    [
        {"gpus": [{**GPU, "total_bytes": None, "free_bytes": None}]},
        {"gpus": [{**GPU, "total_bytes": 8 * 2**30, "free_bytes": 2**30}]},  # others hold it: QVL117
        {"gpus": None},
        {"torch": {"cuda_build": False, "hip_build": False}},
    ],
    ids=["size not known", "held by others", "no look", "no CUDA"],
)
def test_what_is_not_known_is_not_said(checkpoints: Path, sections: dict[str, Any]) -> None:
    assert "QVL501" not in codes(report(checkpoints, sections=sections, dtype="float32", **ON_GPU))


def test_windows_can_take_ram_instead(checkpoints: Path) -> None:
    """Its driver may: a warning then."""
    python = {"version": "3.12.3", "implementation": "CPython", "platform": "win-amd64"}
    found = report(checkpoints, sections={"python": python}, dtype="float32", **ON_GPU)
    assert [finding.severity for finding in found.findings if finding.code == "QVL501"] == [Severity.WARNING]


def test_a_trainer_moves_the_model(checkpoints: Path) -> None:
    """Without a device_map it lies on the CPU, where a person's own loop may leave it."""
    assert "QVL501" in codes(report(checkpoints, dtype="float32", purpose="lora", trainer={}))
    assert "QVL501" not in codes(report(checkpoints, dtype="float32", purpose="lora"))
    assert "QVL501" not in codes(report(checkpoints, dtype="float32", purpose="lora", trainer={"use_cpu": True}))
    zero3 = {"deepspeed": {"zero_optimization": {"stage": 3}}}
    assert "QVL501" not in codes(report(checkpoints, sections=ranks(4), dtype="float32", purpose="lora", trainer=zero3))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ({"dtype": "float16"}, False),  # 11.6 GiB
        ({"dtype": "float32"}, True),  # 23.2 GiB
        ({"dtype": "float32", "trainer": {"optim": "adamw_8bit"}}, False),  # 14.5 GiB
        ({"dtype": "float32", "trainer": {"optim": "paged_adamw_32bit"}}, False),
        ({"dtype": "float32", "trainer": {"optim": "adafactor"}}, False),
        ({"dtype": "float32", "trainer": {"optim": "galore_adamw"}}, False),
        ({"dtype": "float32", "trainer": {"optim": "one_of_tomorrow"}}, False),
        ({"dtype": "float32", "trainer": {"use_cpu": True}}, False),
        ({"dtype": "float32", "purpose": "lora"}, False),
        ({"dtype": "float32", "purpose": None}, False),  # adapters that nobody mentioned may come
        ({"dtype": "float32", "peft": {"r": 8}}, False),
        ({"dtype": "float32", "trainer": {"deepspeed": "ds_config.json"}}, False),
        ({"dtype": "float32", "device_map": None}, True),
    ],
)  # fmt: skip
def test_full_training_on_a_t4(checkpoints: Path, call: dict[str, Any], said: bool) -> None:
    """16 GB; the bytes are weights, gradients and the states that the optimizer keeps on the GPU."""
    found = report(checkpoints, "t4", **{"purpose": "full", "trainer": {}, **ON_GPU, **call})
    assert ("QVL502" in codes(found)) == said
    assert all(finding.severity is Severity.WARNING for finding in found.findings if finding.code == "QVL502")


@pytest.mark.parametrize(
    ("count", "trainer", "said"),
    [
        (4, {}, True),  # each rank holds all of it
        (2, {"deepspeed": {"zero_optimization": {"stage": 3}}}, True),  # 11.6 GiB a rank
        (8, {"deepspeed": {"zero_optimization": {"stage": 3}}}, False),  # 2.9 GiB
        (8, {"deepspeed": {"zero_optimization": {"stage": 2}}}, True),  # 2.9 GiB of weights in each, and 2.5 of the rest
        (8, {"deepspeed": {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}}, False),
        (2, {"deepspeed": {"zero_optimization": {"stage": 3, "offload_param": {"device": "cpu"}}}}, False),
        (2, {"fsdp": "full_shard auto_wrap"}, True),  # 5.8 GiB at least
        (4, {"fsdp": "full_shard auto_wrap"}, False),
        (2, {"fsdp": "full_shard offload auto_wrap"}, False),
    ],
)
def test_ranks_hold_it_together(checkpoints: Path, count: int, trainer: dict[str, Any], said: bool) -> None:
    """What ZeRO and FSDP divide, by the number of ranks; 4 GiB each."""
    found = report(checkpoints, sections=ranks(count), purpose="full", trainer=trainer, dtype="float16")
    assert ("QVL502" in codes(found)) == said


def test_several_gpus_hold_a_spread_model_together(checkpoints: Path) -> None:
    """Their memory counts together; it is never said of one that it is too small for its part."""
    devices = {"model.embed_tokens": 0, "model.layers.0": 0, "model.layers.1": 1, "model.norm": 1, "lm_head": 1}
    gpus = [{**GPU, "index": index, "uuid": f"GPU-{index}", "total_bytes": 12 * 2**30} for index in range(2)]
    call: dict[str, Any] = {"purpose": "full", "trainer": {}, "device_map": devices}
    assert "QVL502" not in codes(report(checkpoints, sections={"gpus": gpus}, dtype="float32", **call))
    gpus = [{**gpu, "total_bytes": 11 * 2**30} for gpu in gpus]
    assert "QVL502" in codes(report(checkpoints, sections={"gpus": gpus}, dtype="float32", **call))
