"""ZeRO-3, FSDP and DeepSpeed: what is found, and what must stay quiet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.facts import Facts
from qvl_preflight.report import Finding, Report, Severity
from qvl_preflight.stack.deepspeed_ops import compiled
from qvl_preflight.testing import HARDWARE, STACKS, machine

PLAIN, GPTQ = "Qwen/Qwen2-7B-Instruct", "Qwen/Qwen2-7B-Instruct-GPTQ-Int4"
BF16 = {"__dtype__": "bfloat16"}
ZERO3 = {"deepspeed": {"zero_optimization": {"stage": 3}}}
ZERO2 = {"deepspeed": {"zero_optimization": {"stage": 2}}}


def bnb(**fields: Any) -> dict[str, Any]:
    return {"__class__": "BitsAndBytesConfig", "load_in_4bit": True, **fields}


def on(stack: str = "today-bnb", hardware: str = "rank-1-of-2", **packages: str) -> Facts:
    return machine(hardware, stack, packages={**STACKS[stack]["packages"], "deepspeed": "0.18.3", **packages})


def check(root: Path, model: str = PLAIN, **call: Any) -> Report:
    return qvl_preflight.check(str(root / model), **{"purpose": "qlora", "facts": on(), **call})


def found(report: Report, code: str) -> Finding | None:
    return next((finding for finding in report.findings if finding.code == code), None)


def grave(report: Report) -> list[tuple[str, str]]:
    return [(finding.code, finding.message) for finding in report.at_least(Severity.WARNING)]


@pytest.mark.parametrize("release", ["4.37.2", "4.45.2", "4.50.3"])
def test_low_cpu_mem_usage_under_zero3_is_refused_up_to_4_50(checkpoints: Path, release: str) -> None:
    report = check(checkpoints, facts=on("middle-bnb", transformers=release), trainer=ZERO3, purpose="full", low_cpu_mem_usage=True)
    assert found(report, "QVL704")


@pytest.mark.parametrize("release", ["4.51.3", "4.57.1", "5.23.0"])
def test_later_releases_ignore_low_cpu_mem_usage(checkpoints: Path, release: str) -> None:
    report = check(checkpoints, facts=on("today-bnb", transformers=release), trainer=ZERO3, purpose="full", low_cpu_mem_usage=True)
    assert not found(report, "QVL704")


def test_where_the_release_is_unknown_low_cpu_mem_usage_depends_on_it(checkpoints: Path) -> None:
    facts = machine("rank-1-of-2", packages={}, packages_complete=False)
    finding = found(check(checkpoints, facts=facts, trainer=ZERO3, purpose="full", low_cpu_mem_usage=True), "QVL704")
    assert finding is not None
    assert "older than 4.51" in finding.message
    assert finding.severity is Severity.WARNING


def test_bitsandbytes_without_a_map_passes_zero3(checkpoints: Path) -> None:
    """Weights stored in bfloat16 are sharded and train (run with DeepSpeed on two ranks)."""
    report = check(checkpoints, trainer={**ZERO3, "bf16": True}, dtype=BF16, quantization_config=bnb(bnb_4bit_quant_storage=BF16))
    assert grave(report) == []


def test_zero2_takes_any_storage(checkpoints: Path) -> None:
    assert grave(check(checkpoints, trainer=ZERO2, dtype=BF16, quantization_config=bnb(), device_map={"": 1})) == []


def test_releases_that_partition_before_they_quantise(checkpoints: Path) -> None:
    facts = on("middle-bnb", transformers="4.37.2")
    finding = found(check(checkpoints, facts=facts, trainer=ZERO3, quantization_config=bnb()), "QVL705")
    assert finding is not None
    assert finding.stage == "load"


def test_eight_bits_have_no_storage_to_choose(checkpoints: Path) -> None:
    finding = found(
        check(checkpoints, trainer=ZERO3, quantization_config={"__class__": "BitsAndBytesConfig", "load_in_8bit": True}), "QVL705"
    )
    assert finding is not None
    assert finding.fix is not None
    assert not finding.fix.edits


def test_a_device_map_is_said_before_what_follows_from_zero3(checkpoints: Path) -> None:
    """Without the map there is more to say; with it the load stops first."""
    report = check(checkpoints, trainer=ZERO3, device_map="auto", quantization_config=bnb())
    assert found(report, "QVL704")
    assert not found(report, "QVL705")


@pytest.mark.parametrize(
    ("stack", "release", "settings", "said"),
    [
        pytest.param("middle-bnb", "4.45.2", {}, True, id="version 1 is all there is"),
        pytest.param("today-bnb", "5.5.0", {}, True, id="version 1 by default"),
        pytest.param("today-bnb", "5.23.0", {}, False, id="version 2 by default"),
        pytest.param("today-bnb", "5.23.0", {"fsdp_config": {"version": 1}}, True, id="version 1 asked for"),
        pytest.param("today-bnb", "5.5.0", {"fsdp_config": {"fsdp_version": 2}}, False, id="version 2 asked for"),
    ],
)
def test_which_version_of_fsdp_flattens(checkpoints: Path, stack: str, release: str, settings: dict[str, Any], said: bool) -> None:
    facts = on(stack, transformers=release)
    report = check(checkpoints, facts=facts, trainer={"fsdp": "full_shard auto_wrap", **settings}, quantization_config=bnb())
    assert (found(report, "QVL707") is not None) is said


@pytest.mark.parametrize(
    ("purpose", "fsdp", "storage", "text"),
    [
        ("qlora", "full_shard auto_wrap", None, "Cannot flatten integer dtype tensors"),
        ("qlora", "full_shard", None, "Cannot flatten integer dtype tensors"),
        ("full", "full_shard", None, "Must flatten tensors with uniform dtype but got torch.bfloat16 and torch.uint8"),
        (
            "qlora",
            "full_shard auto_wrap",
            "float16",
            "Must flatten tensors with uniform dtype but got torch.float16 and torch.bfloat16",
        ),
    ],
)
def test_the_words_of_torch(checkpoints: Path, purpose: str, fsdp: str, storage: str | None, text: str) -> None:
    """As torch 2.14 said them over gloo, by what is flattened first."""
    config = bnb(**({"bnb_4bit_quant_storage": {"__dtype__": storage}} if storage else {}))
    report = check(
        checkpoints, facts=on("middle-bnb"), purpose=purpose, trainer={"fsdp": fsdp}, torch_dtype=BF16, quantization_config=config
    )
    finding = found(report, "QVL707")
    assert finding is not None
    assert finding.raises is not None
    assert finding.raises.text == text


def test_a_version_that_accelerate_decides_is_a_condition(checkpoints: Path) -> None:
    launch = {**HARDWARE["rank-1-of-2"]["launch"], "launcher": "accelerate", "fsdp": True}
    facts = machine("rank-1-of-2", "today-bnb", launch=launch)
    finding = found(check(checkpoints, facts=facts, quantization_config=bnb()), "QVL707")
    assert finding is not None
    assert finding.severity is Severity.WARNING
    assert "version 1" in finding.message


def test_storage_is_not_judged_against_a_dtype_that_nobody_passed(checkpoints: Path) -> None:
    """Frameworks set it on the configuration."""
    report = check(
        checkpoints,
        facts=on("middle-bnb"),
        trainer={"fsdp": True, "bf16": True},
        quantization_config=bnb(bnb_4bit_quant_storage=BF16),
    )
    assert grave(report) == []


def test_gptq_under_fsdp_is_a_note(checkpoints: Path) -> None:
    """peft ships an example of it: it trains, and saves no memory."""
    report = check(
        checkpoints,
        GPTQ,
        facts=on("today"),
        trainer={"fsdp": True},
        quantization_config={"__class__": "GPTQConfig", "bits": 4, "backend": "auto_trainable"},
    )
    assert grave(report) == []
    assert found(report, "QVL706")


def test_inference_is_left_alone(checkpoints: Path) -> None:
    """ZeRO-inference and FSDP of a frozen model are other jobs."""
    assert not found(check(checkpoints, purpose="inference", trainer=ZERO3, quantization_config=bnb()), "QVL705")


@pytest.mark.parametrize(
    "deepspeed",
    [
        {},
        {"train_micro_batch_size_per_gpu": "auto"},
        {"train_micro_batch_size_per_gpu": 2},
        {"gradient_clipping": 0.3},
        {"optimizer": {"type": "AdamW"}},
        {"optimizer": {"params": {"lr": 0.0001}}},
        {"bf16": {"enabled": "auto"}, "fp16": {"enabled": False}},
    ],
)
def test_values_that_agree_or_are_said_once(checkpoints: Path, deepspeed: dict[str, Any]) -> None:
    trainer = {
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-4,
        "bf16": True,
        "deepspeed": deepspeed or {"zero_optimization": {"stage": 2}},
    }
    assert grave(check(checkpoints, purpose="full", trainer=trainer)) == []


def test_the_mismatch_as_transformers_words_it(checkpoints: Path) -> None:
    trainer = {
        "per_device_train_batch_size": 2,
        "max_grad_norm": 0.5,
        "deepspeed": {"train_micro_batch_size_per_gpu": 4, "gradient_clipping": 1.0, "gradient_accumulation_steps": "auto"},
    }
    finding = found(check(checkpoints, purpose="full", trainer=trainer), "QVL711")
    assert finding is not None
    assert finding.severity is Severity.ERROR
    assert finding.raises is not None
    assert finding.raises.text == (
        "Please correct the following DeepSpeed config values that mismatch TrainingArguments values:\n"
        "- ds train_micro_batch_size_per_gpu=4 vs hf per_device_train_batch_size=2\n- ds gradient_clipping=1.0 vs hf max_grad_norm=0.5"
    )


def test_another_precision_is_refused_by_accelerate_first(checkpoints: Path) -> None:
    trainer = {"bf16": True, "deepspeed": {"fp16": {"enabled": True}}}
    finding = found(check(checkpoints, purpose="full", trainer=trainer), "QVL711")
    assert finding is not None
    assert finding.raises is not None
    assert finding.raises.text.startswith("`--mixed_precision` arg cannot be set to `bf16` when `fp16`")


def test_mpi_starts_ranks_too(checkpoints: Path) -> None:
    facts = machine("a100", "today", packages={**STACKS["today"]["packages"], "mpi4py": "4.0.0"})
    assert not found(check(checkpoints, purpose="full", facts=facts, trainer=ZERO2), "QVL710")


def test_fsdp_beside_deepspeed(checkpoints: Path) -> None:
    finding = found(check(checkpoints, purpose="full", trainer={"fsdp": True, **ZERO2}), "QVL709")
    assert finding is not None
    assert finding.raises is not None
    assert finding.raises.text.startswith("Using --fsdp xxx together with --deepspeed")


@pytest.mark.parametrize(
    ("release", "said"), [("4.45.2", True), ("4.57.1", True), ("5.5.0", True), ("5.6.0", False), ("5.23.0", False)]
)
def test_four_bits_are_exempt_from_data_parallel_since_5_6(checkpoints: Path, release: str, said: bool) -> None:
    """One plain process with two GPUs; a Trainer."""
    report = check(
        checkpoints,
        facts=on("today-bnb", "two-gpus", transformers=release),
        trainer={},
        device_map={"": 0},
        quantization_config=bnb(),
    )
    assert (found(report, "QVL703") is not None) is said


def test_eight_bits_were_always_exempt(checkpoints: Path) -> None:
    config = {"__class__": "BitsAndBytesConfig", "load_in_8bit": True}
    report = check(checkpoints, facts=on("middle-bnb", "two-gpus"), trainer={}, device_map={"": 0}, quantization_config=config)
    assert not found(report, "QVL703")


OFFLOAD = {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}


@pytest.mark.parametrize(
    ("deepspeed", "name"),
    [
        (OFFLOAD, "cpu_adam"),
        ({**OFFLOAD, "optimizer": {"type": "AdamW"}}, "cpu_adam"),
        ({**OFFLOAD, "zero_force_ds_cpu_optimizer": False}, None),
        ({"optimizer": {"type": "AdamW", "params": {"lr": 1e-4}}}, "fused_adam"),
        ({"optimizer": {"type": "AdamW", "params": {"torch_adam": True}}}, None),
        ({"optimizer": {"type": "Lion"}}, None),
        ({"zero_optimization": {"stage": 3, "offload_param": {"device": "cpu"}}}, None),
        ({}, None),
    ],
)
def test_which_optimizer_is_compiled(deepspeed: dict[str, Any], name: str | None) -> None:
    assert compiled(deepspeed) == name


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ({"nvcc": False, "ninja": True}, "MissingCUDAException"),
        ({"nvcc": "12.2", "ninja": True}, "CUDAMismatchException"),
        ({"nvcc": "13.1", "ninja": True}, None),
        ({"nvcc": "13.0", "ninja": False}, "RuntimeError"),
        ({"nvcc": None, "ninja": None}, None),
    ],
)
def test_what_compiling_takes(checkpoints: Path, tools: dict[str, Any], said: str | None) -> None:
    """torch is built for CUDA 13.0. Unknown counts as there."""
    finding = found(
        check(
            checkpoints, purpose="full", facts=machine("rank-1-of-2", build={"cxx": True, **tools}), trainer={"deepspeed": OFFLOAD}
        ),
        "QVL714",
    )
    assert (finding.raises.type if finding and finding.raises else None) == said


def test_a_rank_that_is_not_known_gets_its_gpu_by_name(checkpoints: Path) -> None:
    """No number that would put every rank on one GPU."""
    finding = found(
        check(checkpoints, purpose="lora", facts=machine("four-processes-two-gpus"), trainer={}, device_map="auto"), "QVL701"
    )
    assert finding is not None
    assert finding.fix is not None
    assert "LOCAL_RANK" in finding.fix.title
    assert not finding.fix.edits
