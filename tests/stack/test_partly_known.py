"""Facts of which a part is missing, as threads and other people's machines are: what the rest decides is said, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.report import Severity
from qvl_preflight.testing import HARDWARE, machine

PLAIN, GPTQ = "Qwen/Qwen2-7B-Instruct", "Qwen/Qwen2-7B-Instruct-GPTQ-Int4"
BNB = {"__class__": "BitsAndBytesConfig", "load_in_4bit": True}
T4, A100 = HARDWARE["t4"]["gpus"][0], machine("a100").to_dict()["gpus"][0]
UNSAID: dict[str, Any] = {
    "env": None,
    "host": None,
    "build": None,
    "extensions": None,
    "nvidia": None,
    "driver": None,
    "torch": None,
    "launch": None,
}


def topics(
    root: Path, model: str = PLAIN, packages: dict[str, Any] | None = None, sections: dict[str, Any] | None = None, **call: Any
) -> set[str]:
    """What is found where only these packages and sections are known."""
    facts = machine("a100", packages=packages or {}, packages_complete=False, **{**UNSAID, **(sections or {})})
    report = qvl_preflight.check(str(root / model), facts=facts, **call)
    return {finding.topic for finding in report.findings if finding.severity is not Severity.NOTE}


@pytest.fixture
def config_alone(tmp_path: Path) -> Path:
    """A folder without weights: where "auto" puts it is not known."""
    folder = tmp_path / PLAIN
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "torch_dtype": "float16"}')
    return tmp_path


@pytest.mark.parametrize(
    ("gpus", "said"), [([T4], True), ([T4, {**T4, "index": 1, "uuid": "GPU-1"}], True), ([A100], False), ([T4, {**A100, "index": 1, "uuid": "GPU-1"}], False), (None, False)],
)  # fmt: skip
def test_every_gpu_is_too_old(config_alone: Path, gpus: Any, said: bool) -> None:
    """Whichever of them "auto" takes, and whether or not flash-attn is there: without it the load fails as well."""
    flash = {"attn_implementation": "flash_attention_2", "torch_dtype": "float16", "device_map": "auto"}
    assert ("flash-attn-arch" in topics(config_alone, sections={"gpus": gpus}, **flash)) == said
    half = {"torch_dtype": {"__dtype__": "bfloat16"}, "device_map": "auto"}
    assert ("bf16-unsupported" in topics(config_alone, sections={"gpus": gpus}, **half)) == said


def test_flash_attention_in_float32(config_alone: Path) -> None:
    """Said where float32 is asked for; a default hangs on the release."""
    flash = {"attn_implementation": "flash_attention_2", "device_map": "auto"}
    assert "flash-attn-dtype" in topics(
        config_alone, packages={"transformers": "4.45.2"}, torch_dtype={"__dtype__": "float32"}, **flash
    )
    assert "flash-attn-dtype" not in topics(config_alone, **flash)
    assert "flash-attn-dtype" not in topics(
        config_alone, packages={"flash-attn": False}, torch_dtype={"__dtype__": "float32"}, **flash
    )


BLACKWELL = {**A100, "name": "NVIDIA GeForce RTX 5090", "capability": [12, 0]}


@pytest.mark.parametrize(
    ("torch", "gpu", "said"),
    [("2.5.1", BLACKWELL, True), ("2.7.1", BLACKWELL, False), ("2.8.0", {**A100, "capability": [3, 7]}, True), ("2.5.1", A100, False), ("1.9.0", BLACKWELL, False)],
)  # fmt: skip
def test_no_wheel_of_that_release_has_the_gpu(config_alone: Path, torch: str, gpu: Any, said: bool) -> None:
    """For which CUDA it was built is not known: all official wheels are asked. Of a release that was not read nothing is said."""
    for device_map in ("auto", "cuda"):
        assert (
            "arch-no-kernel" in topics(config_alone, packages={"torch": torch}, sections={"gpus": [gpu]}, device_map=device_map)
        ) == said


@pytest.mark.parametrize(("version", "said"), [("470.82.01", True), ("525.60.13", False), ("580.95.05", False), (None, False)])
def test_a_driver_by_its_number(checkpoints: Path, version: str | None, said: bool) -> None:
    """Which CUDA it runs is not known; 12 takes one from 525.60 on."""
    sections = {"driver": {"version": version, "cuda": None}, "torch": {"cuda_build": "12.1", "hip_build": False}}
    for device_map in ("cuda", "auto"):
        assert ("driver-too-old" in topics(checkpoints, sections=sections, device_map=device_map)) == said
    assert "driver-too-old" not in topics(checkpoints, sections=sections, device_map="cpu")


MAC = {"python": {"version": "3.11.5", "implementation": "CPython", "platform": "macos-arm64"}, "gpus": []}


def test_no_mac_has_cuda(checkpoints: Path) -> None:
    """bitsandbytes counts as missing without it in this release; a plain model has MPS, which is not judged."""
    assert "bnb-missing" in topics(
        checkpoints,
        packages={"transformers": "4.40.2", "bitsandbytes": "0.43.1", "accelerate": "0.30.1"},
        sections=MAC,
        quantization_config=BNB,
    )
    assert not topics(checkpoints, packages={"transformers": "4.40.2"}, sections=MAC, device_map="auto")


def test_a_quantised_model_is_not_trained_whole(checkpoints: Path) -> None:
    """Under Trainer it is refused; a person's own loop may do with it what it likes: a warning."""
    facts = machine("a100", "middle-bnb")
    call: dict[str, Any] = {"facts": facts, "quantization_config": BNB, "device_map": {"": 0}, "purpose": "full"}
    found = qvl_preflight.check(str(checkpoints / PLAIN), **call)
    assert [finding.severity for finding in found.findings if finding.code == "QVL805"] == [Severity.WARNING]
    found = qvl_preflight.check(str(checkpoints / PLAIN), peft={"r": 8, "target_modules": ["q_proj"]}, **call)
    assert "QVL805" not in {finding.code for finding in found.findings}


def test_a_trainer_takes_half_precision_to_the_gpu(checkpoints: Path) -> None:
    """float16 weights lie on the CPU until then; where there is no GPU they stay, and an old torch cannot compute there."""
    packages = {"transformers": "4.37.2", "torch": "2.0.1", "peft": "0.13.2", "accelerate": "0.26.1"}
    call: dict[str, Any] = {"purpose": "lora", "trainer": {"bf16": False}, "torch_dtype": {"__dtype__": "float16"}}
    assert "fp16-cpu" not in topics(checkpoints, packages=packages, sections={"gpus": None}, **call)
    assert "fp16-cpu" in topics(checkpoints, packages=packages, sections={"gpus": []}, **call)


def test_who_asks_for_half_precision_training_has_a_gpu(checkpoints: Path) -> None:
    """fp16=True on float16 weights fails in every release; that releases from 4.42 on would train on a CPU is no way out."""
    call: dict[str, Any] = {
        "purpose": "full",
        "trainer": {"fp16": True},
        "device_map": "cuda",
        "torch_dtype": {"__dtype__": "float16"},
    }
    assert "fp16-unscale" in topics(
        checkpoints,
        sections={"gpus": None, "launch": {"launcher": "python", "world_size": 1, "deepspeed_zero": False, "fsdp": False}},
        **call,
    )


def test_what_is_installed_may_be_what_fails(checkpoints: Path) -> None:
    """transformers 5 with a bitsandbytes that it does not take: nobody would install both, and somebody has."""
    packages = {"transformers": "5.23.0", "bitsandbytes": "0.41.1"}
    assert "bnb-missing" in topics(
        checkpoints, packages=packages, sections={"gpus": [A100]}, quantization_config=BNB, device_map={"": 0}
    )


@pytest.mark.parametrize(
    ("torch", "call", "said"),
    [
        ("2.2.2", {"device_map": "mps"}, True),
        ("2.2.2", {"purpose": "lora", "trainer": {"max_steps": 1}}, True),
        ("2.3.1", {"device_map": "mps"}, False),  # depends on macOS
        ("2.2.2", {"device_map": "cpu"}, False),
        ("2.2.2", {}, False),
        ("2.2.2", {"device_map": "mps", "torch_dtype": {"__dtype__": "float16"}}, False),
        ("2.2.2", {"purpose": "lora", "trainer": {"use_cpu": True}}, False),
    ],
)
def test_bfloat16_on_a_mac(checkpoints: Path, torch: str, call: dict[str, Any], said: bool) -> None:
    """Before 2.3 torch has no such tensors on MPS, on whichever macOS."""
    packages = {"transformers": "4.40.2", "torch": torch, "accelerate": "0.30.1", "peft": "0.10.0"}
    assert (
        "mps-bf16" in topics(checkpoints, packages=packages, sections=MAC, **{"torch_dtype": {"__dtype__": "bfloat16"}, **call})
    ) == said


@pytest.mark.parametrize(
    ("bitsandbytes", "cuda", "said"),
    [("0.41.1", "12.4", True), ("0.41.1", "11.8", False), ("0.43.1", "12.4", False), ("0.43.1", "12.8", True), ("0.38.1", "12.4", False), ("0.51.0", "13.2", False)],
)  # fmt: skip
def test_a_bitsandbytes_that_was_not_looked_into(checkpoints: Path, bitsandbytes: str, cuda: str, said: bool) -> None:
    """It brings no library that neither the release before nor the one after it brings; at the ends of the list nothing is said."""
    sections = {"gpus": [A100], "torch": {"cuda_build": cuda, "hip_build": False}}
    packages = {"transformers": "4.40.2", "torch": "2.4.0", "accelerate": "0.30.1", "bitsandbytes": bitsandbytes}
    found = topics(checkpoints, packages=packages, sections=sections, quantization_config=BNB, device_map={"": 0})
    assert ("bnb-cuda-setup" in found) == said


@pytest.mark.parametrize(
    ("transformers", "accelerate", "call", "said"),
    [
        ("4.29.2", "0.20.3", {"load_in_4bit": True}, True),
        ("4.30.2", "0.20.3", {"load_in_4bit": True}, False),
        ("4.31.0", "0.19.0", {"load_in_4bit": True, "device_map": "auto"}, True),
        ("4.31.0", "0.19.0", {"load_in_4bit": True, "device_map": {"": 0}}, False),
        ("4.31.0", "0.21.0", {"load_in_4bit": True, "device_map": "auto"}, False),
        ("4.31.0", "0.19.0", {"load_in_8bit": True, "device_map": "auto"}, False),
    ],
)
def test_before_there_were_four_bits(
    checkpoints: Path, transformers: str, accelerate: str, call: dict[str, Any], said: bool
) -> None:
    packages = {"transformers": transformers, "torch": "2.0.1", "accelerate": accelerate, "bitsandbytes": "0.39.0"}
    sections = {"gpus": [A100], "torch": {"cuda_build": "11.8", "hip_build": False}}
    assert ("bnb-version-skew" in topics(checkpoints, packages=packages, sections=sections, **call)) == said


def test_auto_with_a_torch_without_cuda(checkpoints: Path) -> None:
    """Said where there is a GPU that "auto" would take; who names the CPU, or nothing, may mean it."""
    no_cuda = {"torch": {"cuda_build": False, "hip_build": False}}
    assert "torch-cpu-build" in topics(checkpoints, sections={**no_cuda, "gpus": [A100]}, device_map="auto")
    assert "torch-cpu-build" not in topics(checkpoints, sections={**no_cuda, "gpus": []}, device_map="auto")
    assert "torch-cpu-build" not in topics(checkpoints, sections={**no_cuda, "gpus": [A100]}, device_map="cpu")
    assert "torch-cpu-build" not in topics(checkpoints, sections={**no_cuda, "gpus": [A100]})
