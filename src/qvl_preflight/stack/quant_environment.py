"""The tables: what each quantisation method asks of the environment, release by release. GPTQ, AWQ and bitsandbytes have their own.

Source: transformers 4.38 to 5.23 quantizers/quantizer_*.py validate_environment, utils/quantization_config.py. What is marked as seen was met
on 4.41.2, 4.45.2, 4.51.3, 4.57.1 or 5.23.0 without a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from qvl_preflight.plan import Quantization, Stage, WillRaise
from qvl_preflight.stack.quant_checks import NO_GPU, Check, a_gpu, a_map, accelerate, capability, first_refusal, no_offload, package
from qvl_preflight.unknown import need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

_Checks = ByRelease[tuple[Check, ...]]
_OFFLOAD = "You are attempting to {} with a device_map that contains a CPU or disk device."


def _rows(*rows: tuple[str, str | None, tuple[Check, ...]], file: str) -> _Checks:
    source = f"transformers, quantizers/quantizer_{file}.py"
    return ByRelease("transformers", *(Row(since, until, checks, Evidence.SOURCE, source) for since, until, checks in rows))


_AQLM = (
    accelerate("Using `aqlm` quantization requires Accelerate: `pip install accelerate`"),
    package("Using `aqlm` quantization requires AQLM: `pip install aqlm[gpu,cpu]`", "aqlm").seen(),
)
_EETQ_REST = (
    accelerate("Loading an EETQ quantized model requires accelerate (`pip install accelerate`)"),
    a_gpu(NO_GPU),
)
_EETQ_MAP = _OFFLOAD.format("load an EETQ model")
_FBGEMM = ("fbgemm-gpu", "fbgemm-gpu-genai", "fbgemm-gpu-nightly", "fbgemm-gpu-cpu")
_FBGEMM_9 = capability((9, 0), "FP8 quantized models is only supported on GPUs with compute capability >= 9.0 (e.g H100)")
_FBGEMM_MAP = no_offload(
    "You are attempting to load an FP8 model with a device_map that contains a CPU or disk device.", when="fly"
)
_FP8_ACCELERATE = accelerate("Loading an FP8 quantized model requires accelerate (`pip install accelerate`)")
_FP8_89 = capability(
    (8, 9), "FP8 quantized models is only supported on GPUs with compute capability >= 8.9 (e.g 4090/H100), actual = "
)
_FP8_MAP = "You are attempting to load an FP8 model with a device_map that contains a cpu/disk device."
_FP8_NO_GPU = "No GPU or XPU found. A GPU or XPU is needed for FP8 quantization."
_FP8_5 = (_FP8_ACCELERATE, a_gpu(_FP8_NO_GPU, only="fly").seen(), no_offload(_FP8_MAP, when="fly-some"))
_HQQ = package("A valid HQQ version (>=0.2.1) is not available.", "hqq", minimum="0.2.1").seen()
_HQQ_MAP = no_offload(_OFFLOAD.format("use an HQQ model"))
_HIGGS = (
    a_gpu("HIGGS quantization is only supported on GPU. Please use a different quantizer.", "NotImplementedError").seen(),
    accelerate("Using `higgs` quantization requires Accelerate: `pip install accelerate`"),
    package("Using `higgs` quantization requires FLUTE: `pip install flute-kernel>=0.3.0`", "flute-kernel"),
    package("Using `higgs` quantization requires fast_hadamard_transform: `pip install fast_hadamard_transform`", "fast-hadamard-transform"),
    a_map("You are attempting to load a HIGGS model without setting device_map. Please set device_map comprised of 'cuda' devices."),
    no_offload(_OFFLOAD.format("load a HIGGS model")),
)  # fmt: skip
# 4.39 to 4.45 look for the module quanto; whether an optimum-quanto brings one was not looked up for every release.
_QUANTO = package(
    "Loading a quanto quantized model requires quanto library (`pip install quanto`)", "quanto", "optimum-quanto"
).seen()
_OPTIMUM_QUANTO = "Loading an optimum-quanto quantized model requires optimum-quanto library (`pip install optimum-quanto`)"
_VPTQ = (
    accelerate("Using `vptq` quantization requires Accelerate: `pip install accelerate`"),
    package("Using `vptq` quantization requires VPTQ>=0.0.4: `pip install -U vptq`", "vptq", minimum="0.0.4").seen(),
)
_TORCHAO = "Loading an torchao quantized model requires torchao library (`pip install torchao`)"
_CT = "{} is required for compressed-tensors quantization."
_BITNET = accelerate("Loading a BitNet quantized model requires accelerate (`pip install accelerate`)")


def _comes_quantized(situation: Situation, quantization: Quantization) -> str | None:
    return (
        "transformers quantises to NVFP4 while it loads, and reads no checkpoint of it yet" if quantization.pre_quantized else None
    )


_NVFP4 = Check(
    _comes_quantized, "ValueError", "Loading pre-quantized NVFP4 checkpoints is not supported yet.", "QVL322", "not-ported"
).seen()

CHECKS: Mapping[str, _Checks] = {
    "aqlm": _rows(("4.38", None, _AQLM), file="aqlm"),
    "auto-round": _rows(("4.52", None, (package("Loading an AutoRound quantized model requires auto-round library (`pip install 'auto-round>=0.5'`)", "auto-round", minimum="0.5").seen(),)), file="auto_round"),
    "bitnet": _rows(("4.46", None, (_BITNET,)), file="bitnet"),
    "compressed-tensors": _rows(
        ("4.45", "4.50", (package("No module named 'compressed_tensors'", "compressed-tensors", type_="ModuleNotFoundError").seen(),)),
        ("4.50", "5.11", (package(_CT.format("compressed_tensors is not installed and"), "compressed-tensors").seen(),)),
        ("5.17", None, (package(_CT.format("compressed-tensors>=0.15.0"), "compressed-tensors", minimum="0.15.0").seen(),)),
        file="compressed_tensors",
    ),
    "eetq": _rows(
        ("4.41", "5.0", (package("Using `eetq` 8-bit quantization requires eetq.", "eetq").seen(), *_EETQ_REST, no_offload(_EETQ_MAP))),
        ("5.0", None, (package("Loading an EETQ quantized model requires kernels (`pip install kernels`)", "kernels").seen(), *_EETQ_REST, no_offload(_EETQ_MAP, when="some"))),
        file="eetq",
    ),
    "fbgemm_fp8": _rows(
        ("4.43", "5.0", (
            package("Using fbgemm fp8 quantization requires fbgemm-gpu library", *_FBGEMM).seen(),
            accelerate("Loading an FP8 quantized model requires accelerate > 0.32.1 (`pip install --upgrade accelerate`)", "0.32.2"),
            a_gpu("Using FP8 quantized models with fbgemm kernels requires a GPU"), _FBGEMM_9, _FBGEMM_MAP,
        )),
        ("5.0", None, (
            a_gpu("Using fbgemm fp8 quantization requires a GPU or XPU", "ImportError").seen(),
            package("Loading an FP8 fbgemm quantized model on CUDA requires fbgemm-gpu library", *_FBGEMM),
            accelerate("Loading an FP8 quantized model requires accelerate (`pip install --upgrade accelerate`)"), _FBGEMM_9, _FBGEMM_MAP,
        )),
        file="fbgemm_fp8",
    ),
    "fp8": _rows(
        ("4.49", "4.51", (_FP8_ACCELERATE, a_gpu("No GPU found. A GPU is needed for FP8 quantization.").seen(), _FBGEMM_9, no_offload(_FP8_MAP, when="fly"))),
        ("4.51", "4.52", (_FP8_ACCELERATE, a_gpu("No GPU found. A GPU is needed for FP8 quantization.").seen(), _FP8_89, no_offload(_FP8_MAP, when="fly"))),
        ("4.52", "5.0", (_FP8_ACCELERATE, a_gpu(_FP8_NO_GPU).seen(), _FP8_89, no_offload(_FP8_MAP, when="fly"))),
        ("5.0", None, _FP8_5),
        file="finegrained_fp8",
    ),
    "mxfp8": _rows(("5.17", None, _FP8_5), file="finegrained_fp8"),
    "fouroversix": _rows(("5.5", None, (package("Using `fouroversix` requires fouroversix: `pip install fouroversix --no-build-isolation`", "fouroversix").seen(),)), file="fouroversix"),
    "fp_quant": _rows(
        ("4.54", "5.0", (a_gpu("FPQuant quantization is only supported on GPU. Please use a different quantizer.", "NotImplementedError").seen(),)),
        ("5.0", None, (a_gpu("FPQuant quantization is only supported on GPU or Intel XPU. Please use a different quantizer.", "NotImplementedError").seen(),)),
        file="fp_quant",
    ),
    "higgs": _rows(("4.48", None, _HIGGS), file="higgs"),
    "hqq": _rows(
        # The configuration names a class that it never imported.
        ("4.41", "4.49", (package("", "hqq", type_="UnboundLocalError").seen(), a_gpu(NO_GPU), _HQQ_MAP)),
        ("4.49", "4.54", (_HQQ, a_gpu(NO_GPU), _HQQ_MAP)),
        ("4.54", "4.57", (_HQQ, _HQQ_MAP)),
        ("4.57", "5.0", (_HQQ,)),  # the map is looked at in the constructor, which never gets it: layers on the CPU load (run)
        ("5.0", None, (_HQQ, _HQQ_MAP.seen())),
        file="hqq",
    ),
    "mxfp4": _rows(
        ("4.55", "5.5", (a_gpu("Quantizing a model using MXFP4 requires a GPU", only="fly").seen(),)),
        ("5.5", None, ()),
        file="mxfp4",
    ),
    "nvfp4": _rows(("5.17", None, (_NVFP4,)), file="nvfp4"),
    "quanto": _rows(
        ("4.39", "4.46", (_QUANTO, accelerate("Loading a quanto quantized model requires accelerate library"))),
        ("4.46", "4.47", (package(_OPTIMUM_QUANTO, "optimum-quanto", "quanto"),)),
        ("4.47", "5.0", (package(_OPTIMUM_QUANTO, "optimum-quanto").seen(),)),
        ("5.0", None, (package(_OPTIMUM_QUANTO, "optimum-quanto").seen(), no_offload("You are attempting to load an model with a device_map that contains a CPU or disk device.", when="some"))),
        file="quanto",
    ),
    "quark": _rows(
        ("4.50", "4.52", (package("", "amd-quark", "quark", type_="UnboundLocalError").seen(),)),
        ("4.52", "5.11", (package("Quark is not installed.", "amd-quark", "quark").seen(),)),
        ("5.17", None, (package("Please install the latest version of Quark (>=0.12)", "amd-quark", "quark", minimum="0.12").seen(),)),
        file="quark",
    ),
    "sinq": _rows(("5.17", None, (package("No module named 'sinq'", "sinq", type_="ModuleNotFoundError").seen(),)), file="sinq"),
    "spqr": _rows(("4.49", None, (
        a_gpu("GPU is required to run SpQR quantized model.").seen(),
        accelerate("Using `spqr` quantization requires Accelerate: `pip install accelerate`"),
        package("Using `spqr` quantization requires SpQR: `pip install spqr_quant[gpu]`", "spqr-quant"),
    )), file="spqr"),
    "torchao": _rows(
        ("4.45", "5.11", (package(_TORCHAO, "torchao"),)),
        ("5.17", None, (package(_TORCHAO, "torchao", minimum="0.15.0"),)),
        file="torchao",
    ),
    "vptq": _rows(("4.48", "5.0", _VPTQ), ("5.0", None, (*_VPTQ, a_gpu("GPU is required to run VTPQ quantized model."))), file="vptq"),
}  # fmt: skip

# Their quantizers take no plain model (requires_calibration).
CALIBRATED = ("aqlm", "auto-round", "awq", "bitnet", "compressed-tensors", "quark", "spqr", "vptq")


def environment(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ENVIRONMENT: what the quantizer of this method refuses."""
    quantization = need(draft.quantization)
    if quantization is None or quantization.method not in CHECKS:
        return
    if quantization.config.get("dequantize") is True:
        return  # a plain load, and the checks above are skipped
    yield from first_refusal(CHECKS[quantization.method].value(situation.packages), situation, quantization)


def calibrated(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: a method that needs a quantised checkpoint, and a plain one."""
    quantization = need(draft.quantization)
    if quantization is None or quantization.pre_quantized or quantization.method not in CALIBRATED:
        return
    if not situation.packages.at_least("transformers", 4, 38):
        return  # stack/awq.py
    if quantization.method in ("compressed-tensors", "quark") and list(environment(situation, draft)):
        return  # their configuration asks for the package first
    why = f"{quantization.method} needs a checkpoint that was quantised with it, and this one is plain"
    yield WillRaise("QVL321", Stage.CONFIG, "ValueError", "The quantization method ", "calibration", why, evidence=Evidence.RUN)


# transformers 5 quantises through get_quantize_ops, which these methods do not have (yet).
_NOT_PORTED = {"hqq": Evidence.RUN, "higgs": Evidence.SOURCE}


def not_ported(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: a method whose quantising transformers 5 announces and does not have."""
    quantization = need(draft.quantization)
    if quantization is None or quantization.pre_quantized or quantization.method not in _NOT_PORTED:
        return
    if situation.packages.at_least("transformers", 5):
        why = (
            f"transformers 5 loads {quantization.method} checkpoints, and cannot quantise with {quantization.method} while it loads"
        )
        evidence = _NOT_PORTED[quantization.method]
        yield WillRaise("QVL322", Stage.MATERIALISE, "NotImplementedError", "", "not-ported", why, evidence=evidence, at=_SOON)


_SOON = "is not available yet and will be supported soon."
