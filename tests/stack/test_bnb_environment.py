"""What each release asks of bitsandbytes and of CUDA. Each row was run on a stack without a GPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.plan import LoadPlan
from qvl_preflight.testing import machine

PLAIN = "Qwen/Qwen2-7B-Instruct"
FOUR, EIGHT = {"load_in_4bit": True}, {"load_in_8bit": True}


def planned(root: Path, hardware: str, packages: dict[str, str], **call: Any) -> LoadPlan:
    installed = {"torch": "2.8.0", "accelerate": "1.15.0", "peft": "0.18.0", **packages}
    plan = qvl_preflight.check(str(root / PLAIN), facts=machine(hardware, "today", packages=installed), **call).plan
    assert plan is not None
    return plan


def bnb(fields: dict[str, Any]) -> dict[str, Any]:
    return {"__class__": "BitsAndBytesConfig", **fields}


@pytest.mark.parametrize(
    ("release", "version", "fields", "expected"),
    [
        ("4.37.2", None, FOUR, ("PackageNotFoundError", "No package metadata was found for bitsandbytes")),
        ("4.37.2", None, EIGHT, ("RuntimeError", "No GPU found. A GPU is needed for quantization.")),
        ("4.40.2", None, EIGHT, ("ImportError", "Using `bitsandbytes` 8-bit quantization requires Accelerate")),
        ("4.40.2", None, FOUR, ("PackageNotFoundError", "No package metadata was found for bitsandbytes")),
        ("4.45.2", "0.42.0", FOUR, ("ImportError", "Using `bitsandbytes` 4-bit quantization requires the latest version")),
        ("4.45.2", "0.45.5", EIGHT, ("RuntimeError", "CUDA is required but not available for bitsandbytes.")),
        ("4.45.2", "0.50.2", FOUR, ("AttributeError", "'frozenset' object has no attribute 'discard'")),
        ("4.51.3", "0.42.0", EIGHT, ("ImportError", "Using `bitsandbytes` 8-bit quantization requires the latest version")),
        ("4.51.3", "0.50.2", FOUR, ("RuntimeError", "None of the available devices `available_devices = None` are supported")),
        ("4.57.1", "0.42.0", FOUR, ("ImportError", "The installed version of bitsandbytes (<0.43.1) requires CUDA")),
        ("4.57.1", "0.45.5", FOUR, ("RuntimeError", "CUDA is required but not available for bitsandbytes.")),
        ("4.57.1", "0.50.2", FOUR, None),
        ("4.57.1", "0.50.2", EIGHT, None),
        ("5.23.0", "0.45.5", FOUR, ("ImportError", "Using `bitsandbytes` 4-bit quantization requires bitsandbytes: `pip install -U bitsandbytes>=0.46.1`")),
        ("5.23.0", "0.50.2", FOUR, None),
    ],
)  # fmt: skip
def test_without_a_gpu(
    checkpoints: Path, release: str, version: str | None, fields: dict[str, Any], expected: tuple[str, str] | None
) -> None:
    """The first refusal, in the words of the release."""
    packages = {"transformers": release, **({"bitsandbytes": version} if version else {})}
    raises = [
        found
        for found in planned(checkpoints, "no-gpu", packages, quantization_config=bnb(fields)).raises
        if found.stage.reported != "forward"
    ]
    if expected is None:
        assert not raises
    else:
        assert (raises[0].type, raises[0].text[: len(expected[1])]) == expected
        assert raises[0].certain


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("4.45.2", ("RuntimeError", "Failed to import transformers.integrations.bitsandbytes")),
        ("4.51.3", ("RuntimeError", "Failed to import transformers.integrations.bitsandbytes")),
        ("4.57.1", ("ModuleNotFoundError", "Could not import module 'validate_bnb_backend_availability'.")),
    ],
)
def test_an_old_bitsandbytes_with_a_new_triton(checkpoints: Path, release: str, expected: tuple[str, str]) -> None:
    """triton.ops is gone from 3.2 on; each release words the failed import in its own way."""
    packages = {"transformers": release, "bitsandbytes": "0.44.1", "triton": "3.3.0"}
    for hardware in ("a100", "no-gpu"):
        found = planned(checkpoints, hardware, packages, quantization_config=bnb(FOUR)).raises[0]
        assert (found.type, found.text[: len(expected[1])]) == expected


@pytest.mark.parametrize(
    ("version", "triton", "breaks"),
    [("0.44.1", "3.2.0", True), ("0.45.0", "3.8.0", True), ("0.45.1", "3.8.0", False), ("0.44.1", "3.1.0", False), ("0.44.1", None, False)],
)  # fmt: skip
def test_peft_imports_what_is_installed(checkpoints: Path, version: str, triton: str | None, breaks: bool) -> None:
    """A plain model under LoRA meets the broken import as well."""
    packages = {"transformers": "4.57.1", "bitsandbytes": version, **({"triton": triton} if triton else {})}
    plan = planned(checkpoints, "a100", packages, purpose="lora", device_map={"": 0})
    assert bool(plan.raised("QVL334")) is breaks


def test_scipy_before_042(checkpoints: Path) -> None:
    """bitsandbytes 0.41 imports scipy and does not ask pip for it."""
    packages = {"transformers": "4.45.2", "bitsandbytes": "0.41.3", "triton": "2.2.0"}
    call = {"quantization_config": bnb(FOUR), "device_map": {"": 0}}
    assert "scipy" in planned(checkpoints, "a100", packages, **call).raised("QVL334")[0].why
    assert not planned(checkpoints, "a100", {**packages, "scipy": "1.11.4"}, **call).raised("QVL334")


@pytest.mark.parametrize(
    ("version", "build", "env", "extensions", "fits"),
    [
        ("0.46.1", "13.0", {}, {}, False),
        ("0.44.1", "12.6", {}, {}, False),
        ("0.44.1", "12.4", {}, {}, True),
        ("0.49.2", "13.0", {}, {}, True),
        ("0.50.2", "12.9", {}, {}, True),
        ("0.50.2", "12.9", {"BNB_CUDA_VERSION": "129"}, {}, False),
        ("0.46.1", "13.0", {"BNB_CUDA_VERSION": "128"}, {}, True),
        ("0.46.1", "13.0", {}, {"libbitsandbytes_cuda130": True}, True),
        ("0.48.1", "13.0", {}, {"libbitsandbytes_cuda126": True}, False),
        ("0.48.1", "13.0", {}, {}, True),
    ],
)  # fmt: skip
def test_the_library_for_the_cuda_of_torch(
    checkpoints: Path, version: str, build: str, env: dict[str, str], extensions: dict[str, bool], fits: bool
) -> None:
    """By the wheel's list or by the files; releases whose wheels were not looked into are left alone (read, not run)."""
    packages = {"torch": "2.8.0", "transformers": "4.57.1", "accelerate": "1.10.1", "bitsandbytes": version, "triton": "3.1.0"}
    sections = {"torch": {"cuda_build": build, "hip_build": False}, "env": env, "extensions": extensions}
    facts = machine("a100", "today", packages=packages, **sections)
    call = {"quantization_config": bnb(FOUR), "device_map": {"": 0}}
    codes = [finding.code for finding in qvl_preflight.check(str(checkpoints / PLAIN), facts=facts, **call).findings]
    assert codes == ([] if fits else ["QVL335"])
