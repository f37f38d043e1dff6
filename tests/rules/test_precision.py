"""Half precision: what is refused, what is emulated, and what must stay quiet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.report import Report
from qvl_preflight.request import ConfigObject, Dtype
from qvl_preflight.testing import machine

SMALL = "Qwen/Qwen2-0.5B-Instruct"
HALF = Dtype("float16")


def packages(**versions: str) -> dict[str, Any]:
    return {name.replace("_", "-"): version for name, version in versions.items()}


def report(
    root: Path,
    hardware: str = "a100",
    trainer: dict[str, Any] | None = None,
    purpose: str | None = None,
    versions: Any = None,
    **kwargs: Any,
) -> Report:
    facts = machine(hardware, **({"packages": versions} if versions else {}))
    return qvl_preflight.check(str(root / SMALL), facts=facts, purpose=purpose, trainer=trainer, **kwargs)


def codes(found: Report) -> set[str]:
    return {finding.code for finding in found.findings}


T4 = [
    ("4.34.1", "2.4.1", True),  # transformers tests the capability itself
    ("4.37.2", "2.2.2", True),  # torch tests it
    ("4.37.2", "2.3.1", False),  # torch counts emulation
    ("5.23.0", "2.14.1", False),
]


@pytest.mark.parametrize(("transformers", "torch", "refused"), T4)
def test_bf16_on_a_t4_is_refused_or_emulated(checkpoints: Path, transformers: str, torch: str, refused: bool) -> None:
    """Whether bf16=True raises there depends on both releases; where it does not, it is emulated."""
    versions = packages(transformers=transformers, torch=torch, accelerate="0.26.1", peft="0.13.2")
    found = report(checkpoints, "t4", {"bf16": True}, "lora", versions, device_map={"": 0}, torch_dtype=HALF)
    assert ("QVL806" in codes(found)) == refused
    assert ("QVL930" in codes(found)) != refused


def test_no_gpu_and_bf16_passed_before_4_52(checkpoints: Path) -> None:
    """4.41 to 4.51 train on the CPU then."""
    versions = packages(transformers="4.51.3", torch="2.6.0", accelerate="1.6.0", peft="0.15.2")
    assert "QVL806" not in codes(report(checkpoints, "no-gpu", {"bf16": True}, "lora", versions))


def test_fp16_on_the_cpu_is_taken_from_4_42_on(checkpoints: Path) -> None:
    """Run on 4.57.1 and 5.23.0: TrainingArguments(fp16=True) passes."""
    assert "QVL807" not in codes(report(checkpoints, "no-gpu", {"fp16": True}, "lora"))


def test_tf32_false_is_taken_everywhere(checkpoints: Path) -> None:
    """Only True asks for the GPU."""
    assert "QVL808" not in codes(report(checkpoints, "no-gpu", {"tf32": False}, "lora"))


def test_amperes_bfloat16_is_no_finding(checkpoints: Path) -> None:
    """Nothing is emulated from 8.0 on, whoever asks."""
    config = ConfigObject("BitsAndBytesConfig", {"load_in_4bit": True, "bnb_4bit_compute_dtype": Dtype("bfloat16")})
    found = report(
        checkpoints, trainer={"bf16": True, "tf32": True}, purpose="qlora", device_map={"": 0}, quantization_config=config
    )
    assert not codes(found) & {"QVL806", "QVL808", "QVL930"}


def test_bfloat16_by_bitsandbytes_is_emulated_too(checkpoints: Path) -> None:
    """The compute dtype of 4-bit layers is what their products run in; float16 is what a T4 has."""
    versions = {**packages(transformers="5.23.0", torch="2.14.1", accelerate="1.15.0", bitsandbytes="0.50.2")}
    for dtype, expected in (("bfloat16", True), ("float16", False)):
        config = ConfigObject("BitsAndBytesConfig", {"load_in_4bit": True, "bnb_4bit_compute_dtype": Dtype(dtype)})
        found = report(checkpoints, "t4", versions=versions, device_map={"": 0}, quantization_config=config)
        assert ("QVL930" in codes(found)) == expected
        if expected:
            fix = next(finding.fix for finding in found.findings if finding.code == "QVL930")
            assert fix is not None
            assert [edit.key for edit in fix.edits] == ["quantization_config.bnb_4bit_compute_dtype"]


@pytest.mark.parametrize(("peft", "raises"), [("0.11.1", True), ("0.12.0", False)])
def test_adapters_are_upcast_from_peft_0_12_on(checkpoints: Path, peft: str, raises: bool) -> None:
    """Before, they take the dtype of the model, and the scaler refuses them."""
    versions = packages(transformers="4.45.2", torch="2.4.1", accelerate="1.0.1", peft=peft)
    found = report(checkpoints, "a100", {"fp16": True}, "lora", versions, device_map={"": 0}, torch_dtype=HALF)
    assert ("QVL810" in codes(found)) == raises


@pytest.mark.parametrize(("asked", "raises"), [("bfloat16", "NotImplementedError"), ("float16", "ValueError"), ("float32", None)])
def test_the_scaler_takes_float32_alone(checkpoints: Path, asked: str, raises: str | None) -> None:
    """A model in half precision stops at the first step, each kind with its own words; bf16=True scales nothing."""
    found = report(checkpoints, "a100", {"fp16": True}, "full", device_map={"": 0}, dtype=Dtype(asked))
    said = [finding.raises.type for finding in found.findings if finding.code == "QVL810" and finding.raises]
    assert said == ([] if raises is None else [raises])
    assert "QVL810" not in codes(report(checkpoints, "a100", {"bf16": True}, "full", device_map={"": 0}, dtype=Dtype(asked)))


def test_deepspeed_scales_by_itself(checkpoints: Path) -> None:
    """Its float16 engine keeps float32 copies of the weights."""
    trainer = {"fp16": True, "deepspeed": {"zero_optimization": {"stage": 2}}}
    assert "QVL810" not in codes(report(checkpoints, "a100", trainer, "full", dtype=HALF))


@pytest.mark.parametrize(("torch", "model_type", "first"), [
    ("2.1.2", "llama", "addmm_impl_cpu_"), ("2.1.2", "gpt2", "LayerNormKernelImpl"),
    ("2.2.2", "llama", None), ("2.2.2", "gpt2", "LayerNormKernelImpl"), ("2.3.1", "gpt2", None),
])  # fmt: skip
def test_the_kernels_that_a_torch_lacks_on_the_cpu(tmp_path: Path, torch: str, model_type: str, first: str | None) -> None:
    """Run with torch 2.1.2, 2.2.2 and 2.13.0: matrix products come with 2.2, the LayerNorm with 2.3."""
    (tmp_path / "config.json").write_text(f'{{"model_type": "{model_type}", "torch_dtype": "float16"}}')
    facts = machine("no-gpu", packages=packages(transformers="4.37.2", torch=torch, accelerate="0.26.1"))
    found = [f for f in qvl_preflight.check(str(tmp_path), facts=facts, torch_dtype=HALF).findings if f.code == "QVL931"]
    assert [finding.raises.text for finding in found if finding.raises] == (
        [f"\"{first}\" not implemented for 'Half'"] if first else []
    )


def test_float16_goes_to_the_gpu_where_there_is_one(checkpoints: Path) -> None:
    """Nobody who has a GPU wants float32 on the CPU; who asks for the CPU gets float32."""
    versions = packages(transformers="4.37.2", torch="2.1.2", accelerate="0.26.1")
    facts = machine("a100", packages=versions)
    fixed = qvl_preflight.fix_kwargs(str(checkpoints / SMALL), facts=facts, torch_dtype=HALF)
    assert fixed["device_map"] == {"": 0}
    fixed = qvl_preflight.fix_kwargs(str(checkpoints / SMALL), purpose="inference", facts=facts, torch_dtype=HALF, device_map="cpu")
    assert fixed.to_plain() == {"torch_dtype": {"__dtype__": "float32"}, "device_map": "cpu"}


def test_tf32_hangs_on_the_gpu_alone(checkpoints: Path) -> None:
    """Its refusal is the same in every release: it is said where none is known."""
    facts = machine("t4", packages={}, packages_complete=False)
    found = qvl_preflight.check(str(checkpoints / SMALL), facts=facts, purpose="full", trainer={"bf16": True, "tf32": True})
    assert "QVL808" in codes(found)


def test_a_trainer_takes_the_model_to_the_gpu(checkpoints: Path) -> None:
    """Without a device_map the weights lie on the CPU until then; bf16=True is emulated on a T4 all the same."""
    versions = packages(transformers="4.51.3", torch="2.6.0", accelerate="1.6.0", peft="0.15.2")
    assert "QVL930" in codes(report(checkpoints, "t4", {"bf16": True}, "lora", versions))
    assert "QVL930" not in codes(report(checkpoints, "t4", {"bf16": True, "use_cpu": True}, "lora", versions))
    assert "QVL930" not in codes(report(checkpoints, "a100", {"bf16": True}, "lora", versions))
