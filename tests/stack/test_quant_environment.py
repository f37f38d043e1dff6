"""What the quantizers ask of the environment. Rows marked "run" were met on a stack without a GPU; the rest was read in the sources."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.plan import LoadPlan
from qvl_preflight.report import Severity
from qvl_preflight.stack.quant_methods import SINCE
from qvl_preflight.stack.quant_tables import CALIBRATED, CHECKS
from qvl_preflight.testing import STACKS, machine
from qvl_preflight.testing.quantized import plain, write_quantized

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}
GPU_OR_IPEX = "GPU is required to run AWQ quantized model. You can use IPEX"


def report_of(
    folder: Path, release: str, settings: Any, hardware: str = "no-gpu", packages: dict[str, Any] | None = None, **call: Any
) -> qvl_preflight.Report:
    stored = {} if settings is None else {"quantization_config": settings}
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"], **stored}))
    installed = {"torch": "2.8.0", "transformers": release, "accelerate": "1.15.0", "peft": "0.18.0", **(packages or {})}
    trainer = call.pop("trainer", None)
    purpose = call.pop("purpose", None)
    return qvl_preflight.check(
        str(folder), facts=machine(hardware, "today", packages=installed), purpose=purpose, trainer=trainer, **call
    )


def plan_of(*arguments: Any, **call: Any) -> LoadPlan:
    plan = report_of(*arguments, **call).plan
    assert plan is not None
    return plan


@pytest.mark.parametrize(
    ("release", "settings", "expected"),
    [
        pytest.param("4.41.2", "hqq", ("UnboundLocalError", ""), id="4.41, hqq: its configuration names what it never imported (run)"),
        pytest.param("4.57.1", "hqq", ("ImportError", "A valid HQQ version"), id="4.57, hqq (run)"),
        pytest.param("4.45.2", "compressed-tensors", ("ModuleNotFoundError", "No module named 'compressed_tensors'"), id="4.45, compressed-tensors (run)"),
        pytest.param("4.51.3", "compressed-tensors", ("ImportError", "compressed_tensors is not installed"), id="4.51, compressed-tensors (run)"),
        pytest.param("5.23.0", "compressed-tensors", ("ImportError", "compressed-tensors>=0.15.0 is required"), id="5.23, compressed-tensors (run)"),
        pytest.param("4.57.1", "fp8", ("RuntimeError", "No GPU or XPU found."), id="4.57, fp8 (run)"),
        pytest.param("4.51.3", "fp8", ("RuntimeError", "No GPU found. A GPU is needed for FP8"), id="4.51, fp8 (run)"),
        pytest.param("5.23.0", "fp8", None, id="5.23, fp8: dequantised (run)"),
        pytest.param("4.57.1", "mxfp4", None, id="4.57, mxfp4: dequantised (run)"),
        pytest.param("4.57.1", "eetq", ("ImportError", "Using `eetq` 8-bit quantization requires eetq."), id="4.57, eetq (run)"),
        pytest.param("5.23.0", "eetq", ("ImportError", "Loading an EETQ quantized model requires kernels"), id="5.23, eetq (run)"),
        pytest.param("4.57.1", "fbgemm_fp8", ("ImportError", "Using fbgemm fp8 quantization requires fbgemm-gpu"), id="4.57, fbgemm: the package first (run)"),
        pytest.param("5.23.0", "fbgemm_fp8", ("ImportError", "Using fbgemm fp8 quantization requires a GPU or XPU"), id="5.23, fbgemm: the GPU first (run)"),
        pytest.param("5.23.0", "higgs", ("NotImplementedError", "HIGGS quantization is only supported on GPU."), id="5.23, higgs (run)"),
        pytest.param("5.23.0", "spqr", ("RuntimeError", "GPU is required to run SpQR"), id="5.23, spqr (run)"),
        pytest.param("4.45.2", "quanto", ("ImportError", "Loading a quanto quantized model requires quanto"), id="4.45, quanto (run)"),
        pytest.param("4.57.1", "quanto", ("ImportError", "Loading an optimum-quanto quantized model"), id="4.57, quanto (run)"),
        pytest.param("4.51.3", "quark", ("UnboundLocalError", ""), id="4.51, quark (run)"),
        pytest.param("4.57.1", "quark", ("ImportError", "Quark is not installed."), id="4.57, quark (run)"),
        pytest.param("5.23.0", "auto-round", ("ImportError", "Loading an AutoRound quantized model requires"), id="5.23, auto-round (run)"),
        pytest.param("4.37.2", "awq", ("RuntimeError", "GPU is required to run AWQ quantized model."), id="4.37, awq (run)"),
        pytest.param("4.45.2", "awq", ("ValueError", "AWQ is only available on GPU"), id="4.45, awq: its configuration asks first (run)"),
        pytest.param("4.57.1", "awq", ("ImportError", "Loading an AWQ quantized model requires auto-awq"), id="4.57, awq: the package first (run)"),
    ],
)  # fmt: skip
def test_a_machine_without_gpu_and_without_the_package(
    tmp_path: Path, release: str, settings: str, expected: tuple[str, str] | None
) -> None:
    """The first thing that the release asks for, in its words."""
    stored = AWQ if settings == "awq" else {"quant_method": settings}
    raises = plan_of(tmp_path, release, stored).raises
    if expected is None:
        assert not [found for found in raises if found.stage.reported in ("import", "load")]
    else:
        assert (raises[0].type, raises[0].text[: len(expected[1])]) == expected
        assert raises[0].certain


@pytest.mark.parametrize(
    ("release", "call", "expected"),
    [
        ("4.46.3", {}, ("RuntimeError", GPU_OR_IPEX)),
        ("4.46.3", {"device_map": "cpu"}, ("RuntimeError", GPU_OR_IPEX)),
        ("4.48.3", {"device_map": "cpu"}, ("AssertionError", "Please install IPEX package")),
        ("4.51.3", {}, ("AssertionError", "Please install IPEX package")),
        ("4.57.1", {"device_map": {"model": "cpu", "lm_head": "disk"}}, ("ValueError", "You are attempting to load an IPEX version AWQ model")),
    ],
)  # fmt: skip
def test_awq_without_a_gpu_where_autoawq_is_installed(
    tmp_path: Path, release: str, call: dict[str, Any], expected: tuple[str, str]
) -> None:
    """Up to 4.47 refused; 4.48 to 4.57 turn to IPEX (run)."""
    found = plan_of(tmp_path, release, AWQ, packages={"autoawq": "0.2.9"}, **call).raises[0]
    assert (found.type, found.text[: len(expected[1])]) == expected


@pytest.mark.parametrize(("release", "peft", "breaks"), [("4.57.1", "0.17.1", True), ("4.57.1", "0.13.2", True), ("4.56.2", "0.17.1", False), ("5.23.0", "0.21.2", False)])  # fmt: skip
def test_autoawq_reaches_other_models(tmp_path: Path, release: str, peft: str, breaks: bool) -> None:
    """peft up to 0.18 imports autoawq wherever it is installed; only 4.57 lacks what autoawq imports (run)."""
    plan = plan_of(tmp_path, release, None, "a100", {"peft": peft, "autoawq": "0.2.9"}, purpose="lora", device_map={"": 0})
    assert bool(plan.raised("QVL320")) is breaks
    assert not plan_of(tmp_path, release, None, "a100", {"peft": peft}, purpose="lora", device_map={"": 0}).raised("QVL320")


@pytest.mark.parametrize(
    ("release", "hardware", "code"),
    [("4.50.3", "h100", None), ("4.57.1", "h100", None), ("4.57.1", "a100", "QVL315"), ("5.23.0", "a100", "QVL316"), ("5.23.0", "h100", "QVL338")],
)  # fmt: skip
def test_fp8_by_capability(tmp_path: Path, release: str, hardware: str, code: str | None) -> None:
    """4.x refuses a GPU below 8.9, 5.x makes bfloat16 of the weights."""
    report = report_of(tmp_path, release, {"quant_method": "fp8"}, hardware, device_map="cuda")
    assert [finding.code for finding in report.findings] == ([code] if code else [])


def test_fp8_that_is_dequantised_on_purpose(tmp_path: Path) -> None:
    """Nothing to say where the settings ask for it."""
    stored = {"quant_method": "fp8", "dequantize": True}
    assert not report_of(tmp_path, "5.23.0", stored, "a100", device_map="cuda").findings


@pytest.mark.parametrize(("kernels", "triton", "quiet"), [("0.18.2", "3.8.0", True), (None, "3.8.0", False), ("0.9.0", "3.8.0", False), ("0.18.2", "3.1.0", False)])  # fmt: skip
def test_mxfp4_needs_triton_and_kernels(tmp_path: Path, kernels: str | None, triton: str, quiet: bool) -> None:
    """5.23 takes kernels from 0.18.2 up to 0.19."""
    packages = {"triton": triton, **({"kernels": kernels} if kernels else {})}
    codes = [
        finding.code
        for finding in report_of(tmp_path, "5.23.0", {"quant_method": "mxfp4"}, "h100", packages, device_map="cuda").findings
    ]
    assert codes == ([] if quiet else ["QVL316"])


@pytest.mark.parametrize(
    ("settings", "given", "refused"),
    [
        ("hqq", {"": "cpu"}, True), ("hqq", {"model": 0, "lm_head": "disk"}, True), ("hqq", "cpu", False), ("hqq", {"": 0}, False),
        ("fp8", {"model": 0, "lm_head": "cpu"}, False), ("quanto", {"": "cpu"}, False), ("quanto", {"model": 0, "lm_head": "cpu"}, True),
    ],
)  # fmt: skip
def test_maps_with_the_cpu(tmp_path: Path, settings: str, given: Any, refused: bool) -> None:
    """A bare "cpu" is a torch.device by the time that it is looked at, and passes; so does what comes quantised in FP8."""
    packages = {"hqq": "0.2.8", "optimum-quanto": "0.2.7"}
    plan = plan_of(tmp_path, "5.23.0", {"quant_method": settings}, "h100", packages, device_map=given)
    assert bool(plan.raised("QVL318")) is refused


def test_hqq_on_the_cpu_in_457(tmp_path: Path) -> None:
    """Its constructor looks for the map, which it never gets: the layers load on the CPU (run)."""
    plan = plan_of(tmp_path, "4.57.1", {"quant_method": "hqq"}, "h100", {"hqq": "0.2.8"}, device_map={"": "cpu"})
    assert not plan.raises


@pytest.mark.parametrize(("release", "raises"), [("4.57.1", False), ("5.23.0", True)])
def test_hqq_while_loading(tmp_path: Path, release: str, raises: bool) -> None:
    """transformers 5 has not ported it (run)."""
    config = {"__class__": "HqqConfig", "nbits": 4}
    plan = plan_of(tmp_path, release, None, "h100", {"hqq": "0.2.8"}, device_map="cpu", quantization_config=config)
    assert bool(plan.raised("QVL322")) is raises


@pytest.mark.parametrize("name", ["AwqConfig", "AqlmConfig", "VptqConfig", "SpQRConfig"])
@pytest.mark.parametrize("release", ["4.51.3", "4.57.1", "5.23.0"])
def test_methods_that_quantise_nothing_themselves(tmp_path: Path, name: str, release: str) -> None:
    """Their configuration on a plain model (run)."""
    report = report_of(tmp_path, release, None, "a100", device_map={"": 0}, quantization_config={"__class__": name})
    assert report.findings[0].code == "QVL321"
    assert report.findings[0].severity is Severity.ERROR


@pytest.mark.parametrize(
    ("release", "method", "refused"),
    [("4.57.1", "fp8", True), ("5.23.0", "fp8", False), ("4.57.1", "mxfp4", True), ("4.46.3", "compressed-tensors", True), ("4.57.1", "compressed-tensors", False), ("4.57.1", "aqlm", False)],
)  # fmt: skip
def test_adapters_by_method(tmp_path: Path, release: str, method: str, refused: bool) -> None:
    """A Trainer asks the quantizer; a person's own loop does not."""
    packages = {"compressed-tensors": "0.15.0", "aqlm": "1.1.7", "triton": "3.8.0", "kernels": "0.18.2"}
    for trainer in ({}, None):
        plan = plan_of(
            tmp_path, release, {"quant_method": method}, "h100", packages, device_map={"": 0}, purpose="lora", trainer=trainer
        )
        assert bool(plan.raised("QVL319")) is (refused and trainer is not None)


def test_adapters_on_what_was_dequantised(tmp_path: Path) -> None:
    """A plain model by then, which a Trainer takes (run)."""
    for release, method, hardware in (("5.23.0", "mxfp4", "no-gpu"), ("5.20.2", "fp8", "no-gpu"), ("5.20.2", "fp8", "a100")):
        plan = plan_of(tmp_path, release, {"quant_method": method}, hardware, purpose="lora", trainer={})
        assert not plan.raised("QVL319")


def test_unknown_packages_are_not_missing(tmp_path: Path) -> None:
    """A list that may be incomplete says nothing of hqq."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "quantization_config": {"quant_method": "hqq"}}))
    facts = machine("h100", "today", packages=STACKS["today"]["packages"], packages_complete=False)
    report = qvl_preflight.check(str(tmp_path), facts=facts, device_map={"": 0})
    assert not report.findings
    assert any("hqq" in item.reason for item in report.skipped)


def test_the_tables_name_known_methods() -> None:
    """A method that nobody knows would never be looked up."""
    assert set(CHECKS) | set(CALIBRATED) <= set(SINCE)


SPLIT = {"model": 0, "lm_head": "cpu"}
DISK = {"model": 0, "lm_head": "disk"}


@pytest.mark.parametrize(
    ("release", "settings", "hardware", "call", "text"),
    [
        ("4.51.3", "torchao", "a100", SPLIT, "You are attempting to perform cpu/disk offload with a pre-quantized torchao model"),
        ("4.57.1", "torchao", "a100", SPLIT, None),
        ("4.57.1", "torchao", "a100", DISK, "You are attempting to perform disk offload with a pre-quantized torchao model"),
        ("4.57.1", "torchao", "a100", {"": "disk"}, None),
        ("4.57.1", "bitnet", "a100", {"": "cpu"}, "You are attempting to load a BitNet model with a device_map"),
        ("4.57.1", "bitnet", "no-gpu", {"": "cpu"}, None),
        ("5.23.0", "bitnet", "a100", {"": "cpu"}, None),
        ("5.23.0", "bitnet", "a100", SPLIT, "You are attempting to load a BitNet model with a device_map"),
        ("5.5.0", "fp8", "h100", DISK, "You are attempting to load an FP8 model with a device_map"),
        ("5.5.0", "fp8", "h100", SPLIT, None),
        ("5.5.0", "fp8", "a100", DISK, None),
        ("5.23.0", "fp8", "h100", DISK, None),
    ],
)
def test_maps_of_checkpoints_that_come_quantised(
    tmp_path: Path, release: str, settings: str, hardware: str, call: dict[str, Any], text: str | None
) -> None:
    """Read: what validate_environment says of a dict. fp8 from 5.0 to 5.16 minds the disk for want of a bracket."""
    plan = plan_of(
        tmp_path, release, {"quant_method": settings}, hardware, {"torchao": "0.16.0", "kernels": "0.19.0"}, device_map=call
    )
    raised = plan.raised("QVL318")
    assert [each.text for each in raised] == ([raised[0].text] if text else [])
    assert not text or raised[0].text.startswith(text)


@pytest.mark.parametrize(
    ("release", "hardware", "packages", "raised"),
    [
        ("4.57.1", "h100", {"triton": "3.4.0", "kernels": False}, ("QVL301", "MXFP4 quantization requires Triton and kernels")),
        ("5.23.0", "h100", {"triton": False, "kernels": "0.18.2"}, ("QVL301", "MXFP4 quantization requires Triton: CUDA")),
        ("5.23.0", "h100", {"triton": "3.5.0", "kernels": False}, ("QVL301", "MXFP4 quantization requires the `kernels` package")),
        ("5.23.0", "h100", {"triton": "3.5.0", "kernels": "0.18.2"}, None),
    ],
)
def test_mxfp4_on_the_fly(
    tmp_path: Path, release: str, hardware: str, packages: dict[str, Any], raised: tuple[str, str] | None
) -> None:
    """A checkpoint that comes in MXFP4 is dequantised instead; one that the load quantises is refused (read)."""
    asked = {"__class__": "Mxfp4Config"}
    plan = plan_of(tmp_path, release, None, hardware, packages, device_map={"": 0}, quantization_config=asked)
    found = [(each.code, each.text) for each in plan.raises if each.code in ("QVL301", "QVL315")]
    assert (found[0][0], found[0][1][: len(raised[1])]) == raised if raised else not found


@pytest.mark.parametrize(
    ("release", "settings", "packages", "takes"),
    [
        ("4.57.1", {"quant_method": "torchao", "quant_type": "int8_weight_only"}, {}, True),
        ("4.57.1", {"quant_method": "torchao", "quant_type": "int4_weight_only"}, {}, False),
        ("5.23.0", {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int8WeightOnlyConfig"}}}, {}, True),
        ("5.23.0", {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int4WeightOnlyConfig"}}}, {}, False),
        ("4.57.1", {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "online"}, {}, True),
        ("4.57.1", {"quant_method": "aqlm"}, {"aqlm": "1.0.1"}, False),
        ("4.57.1", {"quant_method": "aqlm"}, {"aqlm": "1.1.6"}, True),
        ("4.45.2", AWQ, {"autoawq": "0.2.7"}, True),
    ],
)
def test_methods_that_ask_their_settings_whether_they_train(
    tmp_path: Path, release: str, settings: dict[str, Any], packages: dict[str, str], takes: bool
) -> None:
    """is_trainable, read."""
    installed = {"torchao": "0.16.0", **packages}
    plan = plan_of(tmp_path, release, settings, "a100", installed, purpose="qlora", trainer={}, device_map={"": 0})
    assert bool(plan.raised("QVL319")) is not takes


@pytest.mark.parametrize(
    ("method", "packages", "verdict"),
    [
        ("quanto", {"optimum-quanto": "0.2.7"}, "ok"),
        ("eetq", {"kernels": "0.18.2"}, "incomplete"),
        ("hqq", {"hqq": "0.2.8"}, "ok"),
        ("bitnet", {}, "fails"),
    ],
)
def test_adapters_on_other_methods_are_tried_or_left_open(
    tmp_path: Path, method: str, packages: dict[str, str], verdict: str
) -> None:
    """quanto, HQQ and BitNet were run; a verdict never says more than that."""
    write_quantized(str(tmp_path), 0, settings={"quant_method": method}, linear=plain)
    installed = {
        "torch": "2.11.0",
        "transformers": "5.23.0",
        "accelerate": "1.15.0",
        "peft": "0.21.2",
        "torchao": False,
        **packages,
    }
    facts = machine("h100", "today", packages=installed)
    call = {"purpose": "qlora", "peft": {"target_modules": ["q_proj"]}, "device_map": {"": 0}}
    assert qvl_preflight.check(str(tmp_path), facts=facts, **call).verdict == verdict
