"""The tables: what each quantisation method asks of the environment, release by release. GPTQ, AWQ and bitsandbytes have their own.

Source: transformers 4.38 to 5.23 quantizers/quantizer_*.py validate_environment, utils/quantization_config.py. What is marked as seen was met
on 4.41.2, 4.45.2, 4.51.3, 4.57.1 or 5.23.0 without a GPU. A map is read as it is passed: "auto" is worked out later, and a bare "cpu" equals no string.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from qvl_preflight.plan import Quantization
from qvl_preflight.stack import cuda
from qvl_preflight.stack.quant_checks import (
    NO_GPU,
    Check,
    a_gpu,
    a_map,
    accelerate,
    an_apple_gpu,
    capability,
    current_capability,
    no_offload,
    package,
)
from qvl_preflight.unknown import need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Situation

_Checks = ByRelease[tuple[Check, ...]]
_CPU_ALONE, _ONE_PLACE = ("cpu",), ("cpu", "disk")  # what a map with one entry may name
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
    "You are attempting to load an FP8 model with a device_map that contains a CPU or disk device.", only="fly"
)
_FP8_ACCELERATE = accelerate("Loading an FP8 quantized model requires accelerate (`pip install accelerate`)")
_FP8_89 = capability(
    (8, 9), "FP8 quantized models is only supported on GPUs with compute capability >= 8.9 (e.g 4090/H100), actual = "
)
_FP8_MAP = "You are attempting to load an FP8 model with a device_map that contains a cpu/disk device."
_FP8_NO_GPU = "No GPU or XPU found. A GPU or XPU is needed for FP8 quantization."
_HQQ = package("A valid HQQ version (>=0.2.1) is not available.", "hqq", minimum="0.2.1").seen()
_HQQ_MAP = no_offload(_OFFLOAD.format("use an HQQ model"))
_HIGGS = (
    a_gpu("HIGGS quantization is only supported on GPU. Please use a different quantizer.", "NotImplementedError").seen(),
    accelerate("Using `higgs` quantization requires Accelerate: `pip install accelerate`"),
    package("Using `higgs` quantization requires FLUTE: `pip install flute-kernel>=0.3.0`", "flute-kernel").seen(),
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


def _where(holds: Callable[[Situation, Quantization], bool], check: Check) -> Check:
    """A check of a branch that the release takes only where this holds."""
    return replace(
        check, ask=lambda situation, quantization: check.ask(situation, quantization) if holds(situation, quantization) else None
    )


def _for_real(situation: Situation, quantization: Quantization) -> bool:
    return not quantization.config.get("pseudoquantization")


def _has_cuda(situation: Situation, quantization: Quantization) -> bool:
    return cuda.available(situation)


def _on_the_fly(situation: Situation, quantization: Quantization) -> bool:
    return not quantization.pre_quantized


def _runs_fp8(situation: Situation, quantization: Quantization) -> bool:
    """Below it, and without CUDA, the release falls back to bfloat16 and looks no further."""
    found = current_capability(situation)
    return found is not None and found >= (8, 9)


_FP8_FLY = (_FP8_ACCELERATE, a_gpu(_FP8_NO_GPU, only="fly").seen())
_BITNET_MAP = _OFFLOAD.format("load a BitNet model")
_AO_OLD = no_offload("You are attempting to perform cpu/disk offload with a pre-quantized torchao model", only="stored")
_AO_DISK = no_offload(
    "You are attempting to perform disk offload with a pre-quantized torchao model",
    only="stored",
    minds=("disk",),
    alone=_ONE_PLACE,
)
_FPQUANT_MAP = "You are attempting to load a FPQuant model with a device_map that contains a CPU or disk device."
_FPQUANT_PACKAGES = (
    _where(
        _for_real, package("Using `fp_quant` with real quantization requires a **Blackwell GPU** and qutlass", "qutlass").seen()
    ),
    package("Using `fp_quant` quantization requires fp_quant: `pip install fp_quant`", "fp-quant"),
)
_FPQUANT_NO_MAP = a_map("You are attempting to load a FPQuant model without setting device_map.")
_MXFP4_GPU = a_gpu("Quantizing a model using MXFP4 requires a GPU", only="fly").seen()
_MXFP4_ACCELERATE = accelerate("Using mxfp4 requires Accelerate: `pip install accelerate`")
_MXFP4_75 = _where(_on_the_fly, capability((7, 5), "MXFP4 quantization is only supported on GPUs with compute capability >= 7.5"))


def _cuda_of_no_use(situation: Situation, quantization: Quantization) -> bool:
    """A torch that is built for CUDA takes that for its device, whether it can be used or not."""
    return _on_the_fly(situation, quantization) and bool(need(need(situation.facts.torch).cuda_build))


_MXFP4_NO_CUDA = _where(
    _cuda_of_no_use, a_gpu("MXFP4 quantization is only supported on GPUs with compute capability >= 7.5", "ValueError").seen()
)
_MXFP4_MAP = no_offload("You are attempting to load an FP4 model with a device_map that contains a CPU or disk device.", only="fly")


def _mxfp4_kernels(text: str, *names: str) -> tuple[Check, ...]:
    """triton, and the package that fetches the kernels, where the load itself quantises."""
    return tuple(
        _where(_on_the_fly, package(text, name, minimum="3.4" if name == "triton" else "0", type_="ValueError")) for name in names
    )


_MXFP4_BOTH = "MXFP4 quantization requires Triton and kernels installed: CUDA requires Triton >= 3.4.0"

CHECKS: Mapping[str, _Checks] = {
    "aqlm": _rows(("4.38", None, _AQLM), file="aqlm"),
    "auto-round": _rows(("4.52", None, (package("Loading an AutoRound quantized model requires auto-round library (`pip install 'auto-round>=0.5'`)", "auto-round", minimum="0.5").seen(),)), file="auto_round"),
    "bitnet": _rows(
        ("4.46", "5.0", (_BITNET, _where(_has_cuda, no_offload(_BITNET_MAP)))), ("5.0", None, (_BITNET, _where(_has_cuda, no_offload(_BITNET_MAP, alone=_CPU_ALONE)))), file="bitnet",
    ),
    "compressed-tensors": _rows(
        ("4.45", "4.50", (package("No module named 'compressed_tensors'", "compressed-tensors", type_="ModuleNotFoundError").seen(),)),
        ("4.50", "5.11", (package(_CT.format("compressed_tensors is not installed and"), "compressed-tensors").seen(),)),
        ("5.17", None, (package(_CT.format("compressed-tensors>=0.15.0"), "compressed-tensors", minimum="0.15.0").seen(),)),
        file="compressed_tensors",
    ),
    "eetq": _rows(
        ("4.41", "5.0", (package("Using `eetq` 8-bit quantization requires eetq.", "eetq").seen(), *_EETQ_REST, no_offload(_EETQ_MAP))),
        ("5.0", None, (package("Loading an EETQ quantized model requires kernels (`pip install kernels`)", "kernels").seen(), *_EETQ_REST, no_offload(_EETQ_MAP, alone=_CPU_ALONE))),
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
            package("Loading an FP8 fbgemm quantized model on CUDA requires fbgemm-gpu library", *_FBGEMM).seen(),
            accelerate("Loading an FP8 quantized model requires accelerate (`pip install --upgrade accelerate`)"), _FBGEMM_9, _FBGEMM_MAP,
        )),
        file="fbgemm_fp8",
    ),
    "fp8": _rows(
        ("4.49", "4.51", (_FP8_ACCELERATE, a_gpu("No GPU found. A GPU is needed for FP8 quantization.").seen(), _FBGEMM_9, no_offload(_FP8_MAP, only="fly"))),
        ("4.51", "4.52", (_FP8_ACCELERATE, a_gpu("No GPU found. A GPU is needed for FP8 quantization.").seen(), _FP8_89, no_offload(_FP8_MAP, only="fly"))),
        ("4.52", "5.0", (_FP8_ACCELERATE, a_gpu(_FP8_NO_GPU).seen(), _FP8_89, no_offload(_FP8_MAP, only="fly"))),
        # `and` binds closer than `or`: the disk is refused to checkpoints that come quantised, too.
        ("5.0", "5.11", (*_FP8_FLY, _where(_runs_fp8, no_offload(_FP8_MAP, minds=("disk",))), _where(_runs_fp8, no_offload(_FP8_MAP, only="fly", alone=_CPU_ALONE)))),
        ("5.17", None, (*_FP8_FLY, _where(_runs_fp8, no_offload(_FP8_MAP, only="fly", alone=_ONE_PLACE).seen()))),
        file="finegrained_fp8",
    ),
    "mxfp8": _rows(("5.17", None, (*_FP8_FLY, _where(_runs_fp8, no_offload(_FP8_MAP, only="fly", alone=_ONE_PLACE)))), file="finegrained_fp8"),
    "fouroversix": _rows(("5.5", None, (package("Using `fouroversix` requires fouroversix: `pip install fouroversix --no-build-isolation`", "fouroversix").seen(),)), file="fouroversix"),
    "fp_quant": _rows(
        ("4.54", "4.57", (a_gpu("FPQuant quantization is only supported on GPU. Please use a different quantizer.", "NotImplementedError").seen(), *_FPQUANT_PACKAGES, _FPQUANT_NO_MAP, no_offload(_FPQUANT_MAP))),
        ("4.57", "5.0", (a_gpu("FPQuant quantization is only supported on GPU. Please use a different quantizer.", "NotImplementedError").seen(), *_FPQUANT_PACKAGES, _where(_for_real, _FPQUANT_NO_MAP), _where(_for_real, no_offload(_FPQUANT_MAP)))),
        ("5.0", None, (a_gpu("FPQuant quantization is only supported on GPU or Intel XPU. Please use a different quantizer.", "NotImplementedError").seen(), *_FPQUANT_PACKAGES, _where(_for_real, _FPQUANT_NO_MAP), no_offload(_FPQUANT_MAP, minds=("disk",)), _where(_for_real, no_offload(_FPQUANT_MAP, alone=_CPU_ALONE)))),
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
        ("4.55", "4.56", (_MXFP4_GPU, _where(_has_cuda, _MXFP4_ACCELERATE), _MXFP4_75, *_mxfp4_kernels("MXFP4 quantization requires triton >= 3.4.0 and triton_kernels installed", "triton", "kernels"), _MXFP4_MAP)),
        ("4.56", "4.57", (_MXFP4_GPU, _where(_has_cuda, _MXFP4_ACCELERATE), _MXFP4_75, *_mxfp4_kernels("MXFP4 quantization requires triton >= 3.4.0 and kernels installed", "triton", "kernels"), _MXFP4_MAP)),
        ("4.57", "5.5", (_MXFP4_GPU, _where(_has_cuda, _MXFP4_ACCELERATE), _MXFP4_75, *_mxfp4_kernels(_MXFP4_BOTH, "triton", "kernels"), _MXFP4_MAP)),
        ("5.5", None, (
            _MXFP4_ACCELERATE, _MXFP4_NO_CUDA, _MXFP4_75, *_mxfp4_kernels("MXFP4 quantization requires Triton: CUDA requires Triton >= 3.4.0", "triton"),
            *(check.seen() for check in _mxfp4_kernels("MXFP4 quantization requires the `kernels` package", "kernels")), _MXFP4_MAP,
        )),
        file="mxfp4",
    ),
    "nvfp4": _rows(("5.17", None, (
        _NVFP4, package("NVFP4 quantization requires the `kernels` package.", "kernels"), a_gpu("NVFP4 quantization requires a CUDA GPU."),
        a_map("NVFP4 quantization requires a CUDA `device_map`."), no_offload("NVFP4 quantization does not support CPU or disk offload."),
        capability((10, 0), "NVFP4 requires Blackwell (sm100+) block-scaled tensor cores", "RuntimeError"),
    )), file="nvfp4"),
    "quanto": _rows(
        ("4.39", "4.46", (_QUANTO, accelerate("Loading a quanto quantized model requires accelerate library"))),
        ("4.46", "4.47", (package(_OPTIMUM_QUANTO, "optimum-quanto", "quanto"),)),
        ("4.47", "5.0", (package(_OPTIMUM_QUANTO, "optimum-quanto").seen(),)),
        ("5.0", None, (package(_OPTIMUM_QUANTO, "optimum-quanto").seen(), no_offload("You are attempting to load an model with a device_map that contains a CPU or disk device.", alone=_CPU_ALONE))),
        file="quanto",
    ),
    "quark": _rows(
        ("4.50", "4.52", (package("", "amd-quark", "quark", type_="UnboundLocalError").seen(),)),
        ("4.52", "5.11", (package("Quark is not installed.", "amd-quark", "quark").seen(),)),
        ("5.17", None, (package("Please install the latest version of Quark (>=0.12)", "amd-quark", "quark", minimum="0.12").seen(),)),
        file="quark",
    ),
    "metal": _rows(
        ("5.17", None, (an_apple_gpu("Metal quantization requires an Apple Silicon GPU (MPS). No MPS device found.").seen(),)), file="metal"
    ),
    "sinq": _rows(("5.17", None, (package("No module named 'sinq'", "sinq", type_="ModuleNotFoundError").seen(),)), file="sinq"),
    "spqr": _rows(("4.49", None, (
        a_gpu("GPU is required to run SpQR quantized model.").seen(),
        accelerate("Using `spqr` quantization requires Accelerate: `pip install accelerate`"),
        package("Using `spqr` quantization requires SpQR: `pip install spqr_quant[gpu]`", "spqr-quant"),
    )), file="spqr"),
    "torchao": _rows(
        ("4.45", "4.56", (package(_TORCHAO, "torchao"), _AO_OLD)),
        ("4.56", "5.11", (package(_TORCHAO, "torchao"), _AO_DISK)),
        ("5.17", None, (package(_TORCHAO, "torchao", minimum="0.15.0"), _AO_DISK)),
        file="torchao",
    ),
    "vptq": _rows(("4.48", "5.0", _VPTQ), ("5.0", None, (*_VPTQ, a_gpu("GPU is required to run VTPQ quantized model."))), file="vptq"),
}  # fmt: skip

# Their quantizers take no plain model (requires_calibration).
CALIBRATED = ("aqlm", "auto-round", "awq", "bitnet", "compressed-tensors", "quark", "spqr", "vptq")
