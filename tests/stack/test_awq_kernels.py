"""Which layer holds an AWQ checkpoint, release by release, and what adapters make of it. "run": on a stack without a GPU; the rest was read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.plan import LoadPlan
from qvl_preflight.report import Report
from qvl_preflight.testing import STACKS, machine
from qvl_preflight.testing.checkpoints import write_checkpoint
from qvl_preflight.testing.quantized import awq, write_quantized

LORA = {"r": 8, "target_modules": ["q_proj"]}
OLD = {"transformers": "4.45.2", "peft": "0.13.2", "autoawq": "0.2.7"}


def report(folder: Path, version: str, hardware: str = "a100", packages: dict[str, Any] | None = None, **call: Any) -> Report:
    settings = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": version}
    write_quantized(str(folder), 0, settings=settings, linear=awq, torch_dtype="float16")
    today = packages is None or "transformers" not in packages
    stack = "today" if today else "middle-awq"
    installed = {**STACKS[stack]["packages"], **(packages or {})}
    facts = machine(hardware, stack, packages=installed)
    peft = LORA if call.get("purpose") == "qlora" else None
    return qvl_preflight.check(str(folder), facts=facts, **{"device_map": {"": 0}, "peft": peft, **call})


def planned(*arguments: Any, **call: Any) -> LoadPlan:
    plan = report(*arguments, **call).plan
    assert plan is not None
    return plan


def config(**fields: Any) -> dict[str, Any]:
    return {"__class__": "AwqConfig", **fields}


@pytest.mark.parametrize(
    ("version", "hardware", "asked", "kernel"),
    [
        ("gemm", "h100", {}, "machete_awq"),
        ("gemm", "a100", {}, "marlin_awq"),
        ("gemm", "a100", {"backend": "autoawq"}, "marlin_awq"),
        ("gemm", "a100", {"backend": "gemm_triton"}, "gemm_awq_triton"),
        ("gemm", "a100", {"backend": "torch_awq"}, "torch_awq"),
        ("gemv", "a100", {}, "gemv_awq"),
        ("gemv_fast", "a100", {}, "gemv_fast_awq"),
        ("llm-awq", "a100", {}, "gemv_fast_awq"),
    ],
)
def test_transformers_5_takes_a_kernel_of_gptqmodel(
    tmp_path: Path, version: str, hardware: str, asked: dict[str, Any], kernel: str
) -> None:
    """By the packing and the GPU, or by name."""
    call = {"quantization_config": config(**asked)} if asked else {}
    assert planned(tmp_path, version, hardware, **call).to_dict()["kernel"] == kernel


@pytest.mark.parametrize(
    ("release", "version", "asked", "class_name", "trains"),
    [
        ("4.37.2", "gemm", {}, "WQLinear_GEMM", True),
        ("4.45.2", "gemm", {}, "WQLinear_GEMM", True),
        ("4.45.2", "gemv", {}, "WQLinear_GEMV", False),
        ("4.45.2", "gemm", {"version": "exllama"}, "WQLinear_ExllamaV2", False),
        ("4.45.2", "gemm", {"version": "exllama", "exllama_config": {"version": 1}}, "WQLinear_Exllama", False),
        ("4.38.2", "gemm", {"version": "exllama"}, "WQLinear_GEMM", True),  # version is no loading attribute yet
    ],
)
def test_older_releases_take_the_layer_of_autoawq_that_version_names(
    tmp_path: Path, release: str, version: str, asked: dict[str, Any], class_name: str, trains: bool
) -> None:
    """The checkpoint's version, or from 4.39 on that of the AwqConfig that is passed."""
    call = {"quantization_config": config(**asked)} if asked else {}
    kernel = planned(tmp_path, version, packages={**OLD, "transformers": release}, **call).kernel
    assert (kernel.class_name, kernel.trainable) == (class_name, trains)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("release", "version", "asked", "text"),
    [
        ("5.23.0", "exllama", {}, "Invalid format 'exllama'. Must be one of: "),
        ("5.23.0", "gemm", {"backend": "triton"}, "Invalid backend 'triton'. Must be one of: "),
        ("4.45.2", "gemv_fast", {}, "Unknown AWQLinearVersion gemv_fast"),
    ],
)
def test_a_packing_or_kernel_that_the_release_does_not_know(
    tmp_path: Path, release: str, version: str, asked: dict[str, Any], text: str
) -> None:
    """AwqConfig refuses it, whichever of checkpoint and call says it."""
    packages = None if release == "5.23.0" else {**OLD, "transformers": release}
    call = {"quantization_config": config(**asked)} if asked else {}
    raised = planned(tmp_path, version, packages=packages, **call).raised("QVL305")
    assert [(each.type, each.text) for each in raised] == [("ValueError", text)]


@pytest.mark.parametrize(
    ("version", "packages", "expected"),
    [
        pytest.param("gemm", OLD, [], id="GEMM: adapters train"),
        pytest.param("gemv", OLD, ["QVL803"], id="GEMV: peft knows no such layer"),
        pytest.param("gemm", {**OLD, "peft": "0.8.2"}, ["QVL803"], id="peft before 0.9 knows no AWQ"),
        pytest.param("gemm", {**OLD, "autoawq": "0.1.8"}, ["QVL803"], id="autoawq before 0.2"),
        pytest.param("gemm", None, ["QVL801"], id="5.x: Marlin refuses to train"),
        pytest.param("gemv", None, [], id="5.x: GEMV trains"),
    ],
)
def test_adapters_on_awq(tmp_path: Path, version: str, packages: dict[str, str] | None, expected: list[str]) -> None:
    """What is said of a qlora training, and nothing is left open."""
    found = report(tmp_path, version, packages=packages, purpose="qlora")
    assert [finding.code for finding in found.findings] == expected
    assert not [skipped for skipped in found.skipped if "kernel" in skipped.reason or "trains" in skipped.reason]


def test_the_remedy_asks_with_the_class_and_the_names_of_awq(tmp_path: Path) -> None:
    """A GPTQConfig would be refused on an AWQ checkpoint."""
    found = report(tmp_path, "gemm", purpose="qlora").findings[0]
    assert found.fix is not None
    asked = found.fix.edits[0].after
    assert (asked.class_name, dict(asked.fields)) == ("AwqConfig", {"bits": 4, "backend": "auto_trainable"})
    without_network = report(tmp_path, "gemm", "h100")
    assert "GPTQConfig" not in str([finding.fix for finding in without_network.findings])


@pytest.mark.parametrize(
    ("peft", "raised"),
    [
        ({"use_dora": True}, ("QVL814", "ValueError", "AwqLoraLinear does not support DoRA yet, please set it to False")),
        ({"init_lora_weights": "pissa"}, ("QVL814", "AttributeError", "")),
        ({"target_modules": "all-linear"}, ("QVL813", "NoMatchingPeftModuleError", "No `target_modules` passed but also")),
    ],
)
def test_settings_of_adapters_that_awq_layers_do_not_take(
    tmp_path: Path, peft: dict[str, Any], raised: tuple[str, str, str]
) -> None:
    """Run with peft 0.20.0 and 0.21.2 over gptqmodel 7.7.0."""
    call = {"purpose": "qlora", "peft": {**LORA, **peft}, "quantization_config": config(backend="auto_trainable")}
    found = planned(tmp_path, "gemm", **call).raises[0]
    assert (found.code, found.type) == raised[:2]
    assert found.text.startswith(raised[2])


def test_a_merge_afterwards(tmp_path: Path) -> None:
    """A bare NotImplementedError (run: peft 0.20.0, 0.21.2)."""
    call = {"purpose": "qlora", "trainer": {"merge_lora": True}, "quantization_config": config(backend="auto_trainable")}
    assert [(r.code, r.type) for r in planned(tmp_path, "gemm", **call).raises] == [("QVL819", "NotImplementedError")]


def test_gemv_has_no_kernel_for_the_cpu(tmp_path: Path) -> None:
    """Run: gptqmodel 7.7.0. No other kernel is offered, for there is none."""
    found = report(tmp_path, "gemv", "no-gpu", device_map="cpu").findings[0]
    assert (found.code, found.raises.text if found.raises else "") == ("QVL306", "No valid quant linear")
    assert found.fix is None


def test_a_dequantised_checkpoint_is_asked_for_by_the_call(tmp_path: Path) -> None:
    """FineGrainedFP8Config(dequantize=True) is a loading attribute from 5.0 on."""
    write_checkpoint(str(tmp_path), {"model_type": "llama", "quantization_config": {"quant_method": "fp8"}}, [{}])
    asked = {"__class__": "FineGrainedFP8Config", "dequantize": True}
    call = {"facts": machine("h100", "today"), "purpose": "qlora", "trainer": {}, "device_map": {"": 0}}
    plan = qvl_preflight.check(str(tmp_path), quantization_config=asked, **call).plan
    assert plan is not None
    assert plan.quantization.config.get("dequantize") is True  # type: ignore[union-attr]
