"""gptqmodel's kernels for AWQ, by the packing of the checkpoint, and how one is chosen (transformers 5).

Source: gptqmodel 7.7.0 nn_modules/qlinear/*_awq.py, utils/importer.py hf_select_quant_linear_v2; 5.8.0 likewise. Run on a CPU: 7.7.0 with transformers
5.23.0, every name of a backend and every packing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qvl_preflight.stack.gptqmodel import Layer, Unsupported, first_that_fits, requested
from qvl_preflight.stack.gptqmodel_kernels import GROUPS_OF_16, SMALL_GROUPS, Spec, at_least
from qvl_preflight.unknown import Undecided
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Situation

_Packings = Mapping[str, tuple[Spec, ...]]  # format → kernels in the order in which "auto" tries them
_INFERENCE_ONLY = "TorchCpuAvx512AwqLinear is an inference-only CPU kernel. Use BACKEND.AWQ_TORCH_ATEN for trainable AWQ layers."

# Which device a kernel is for is asked before anything else. Machete is tried while a kernel is chosen, and without its sources the next one is taken
# (recorded); Marlin is built when the weights are there, as for GPTQ.
_SEVEN: _Packings = {
    "gemm": (
        Spec("torch_cpu_avx512_awq", "TorchCpuAvx512AwqLinear", (), (4,), (16, 32, 64, 128, 256, 512), ("cpu",), builds="selection", compiler="c++", cpu_flag="avx512_bf16", refuses_training=_INFERENCE_ONLY),
        Spec("torch_aten_kernel_awq", "TorchAtenAwqLinear", (), (4,), (32, 64, 128, 256), ("cpu",), trainable=True),
        Spec("swordfish", "AwqSwordfishLinear", (), (4,), SMALL_GROUPS, ("cuda",), act_order=False, capability=((10, 0), (11, 0)), builds="selection", compiler="nvcc"),
        Spec("machete_awq", "AwqMacheteLinear", ("machete",), (4, 8), SMALL_GROUPS, ("cuda",), act_order=False, capability=((9, 0), (9, 0)), builds="selection", compiler="nvcc", downloads=True),
        Spec("marlin_awq", "AwqMarlinLinear", ("marlin",), (4, 8), SMALL_GROUPS, ("cuda",), capability=at_least(8, 0), builds="load", compiler="nvcc"),
        Spec("exllamav2_awq", "AwqExllamaV2Linear", ("exllama_v2",), (4,), SMALL_GROUPS, ("cuda",), builds="selection", compiler="nvcc"),
        Spec("gemm_awq", "AwqGEMMLinear", ("gemm",), (4,), GROUPS_OF_16, ("cuda",), trainable=True, builds="selection", compiler="nvcc"),
        Spec("gemm_awq_triton", "AwqGEMMTritonLinear", ("gemm_triton",), (4,), SMALL_GROUPS, ("cuda",), trainable=True, package="triton"),
        Spec("torch_fused_awq", "TorchFusedAwqLinear", ("torch_fused_awq",), (4,), GROUPS_OF_16, ("cpu",), trainable=True),
        Spec("torch_awq", "AwqTorchLinear", ("torch_awq",), (2, 3, 4, 5, 6, 7, 8), GROUPS_OF_16, ("cuda", "cpu"), trainable=True),
    ),
    "gemv": (Spec("gemv_awq", "AwqGEMVLinear", ("gemv",), (4,), (-1, 64, 128), ("cuda",), trainable=True),),
    "gemv_fast": (Spec("gemv_fast_awq", "AwqGEMVFastLinear", ("gemv_fast",), (4,), GROUPS_OF_16, ("cuda",), trainable=True),),
    "llm-awq": (Spec("gemv_fast_awq", "LLMAwqLinear", ("gemv_fast",), (4,), GROUPS_OF_16, ("cuda",), trainable=True),),
}  # fmt: skip
# The compiled modules come with the package; GEMM and GEMV say that they take any device.
_ANY = ("cuda", "cpu")
_FIVE: _Packings = {
    "gemm": (
        Spec("machete_awq", "AwqMacheteQuantLinear", ("machete",), (4, 8), SMALL_GROUPS, ("cuda",), act_order=False, capability=at_least(9, 0), extension="gptqmodel_machete_kernels"),
        Spec("marlin_awq", "AwqMarlinQuantLinear", ("marlin",), (4, 8), SMALL_GROUPS, ("cuda",), symmetric_only=True, capability=at_least(8, 0), needs_gpu=False, extension="gptqmodel_marlin_kernels"),
        Spec("exllamav2_awq", "AwqExllamaV2QuantLinear", ("exllama_v2",), (4,), SMALL_GROUPS, ("cuda",), extension="gptqmodel_exllamav2_awq_kernels"),
        Spec("gemm_awq", "AwqGEMMQuantLinear", ("gemm",), (4,), GROUPS_OF_16, _ANY, trainable=True, extension="gptqmodel_awq_kernels"),
        Spec("gemm_awq_triton", "AwqGEMMTritonQuantLinear", ("gemm_triton",), (4,), GROUPS_OF_16, ("cuda",), trainable=True, package="triton"),
        Spec("torch_fused_awq", "TorchFusedAwqQuantLinear", ("torch_fused_awq",), (4,), GROUPS_OF_16, ("cpu",), trainable=True),
        Spec("torch_awq", "AwqTorchQuantLinear", ("torch_awq",), (4,), GROUPS_OF_16, _ANY, trainable=True),
    ),
    "gemv": (Spec("gemv_awq", "AwqGEMVQuantLinear", ("gemv",), (4,), GROUPS_OF_16, _ANY, trainable=True),),
    "gemv_fast": (Spec("gemv_fast_awq", "AwqGEMVFastQuantLinear", ("gemv_fast",), (4,), GROUPS_OF_16, _ANY, trainable=True),),
    "llm-awq": (Spec("gemv_fast_awq", "LLMAwqQuantLinear", ("gemv_fast",), (4,), GROUPS_OF_16, _ANY, trainable=True),),
}  # fmt: skip
AWQ_KERNELS: ByRelease[_Packings] = ByRelease(
    "gptqmodel",
    Row("5.6", "6.0", _FIVE, Evidence.SOURCE, "gptqmodel 5.8.0 nn_modules/qlinear/*_awq.py"),
    Row("7.0", None, _SEVEN, Evidence.RECORDED, "gptqmodel 7.7.0 nn_modules/qlinear/*_awq.py, utils/importer.py:780"),
)
# quantization_config.py AwqFormat, AwqBackend of transformers 5. autoawq counts as auto; llm-awq is a packing of its own.
FORMATS = ("gemm", "gemv", "gemv_fast", "llm-awq")
BACKENDS = (
    "autoawq", "auto", "auto_trainable", "machete", "marlin", "exllama_v2", "exllama_v1", "gemm", "gemm_triton", "gemv", "gemv_fast", "torch_awq",
    "torch_fused_awq",
)  # fmt: skip


def packing_of(config: Mapping[str, Any]) -> str:
    """The format of the checkpoint: ``version``, as autoawq calls it."""
    if config.get("backend") == "llm-awq":
        return "llm-awq"
    return str(config.get("version") or config.get("format") or "gemm").lower()


def backend_of(config: Mapping[str, Any]) -> str:
    """The kernel that is asked for."""
    named = str(config.get("backend") or "auto")
    return "auto" if named in ("autoawq", "llm-awq") else named


def choose(situation: Situation, config: Mapping[str, Any], device: str) -> Spec:
    """The kernel for a checkpoint on ``device`` (``cuda`` or ``cpu``). Raises Unsupported or Undecided."""
    packing, backend = packing_of(config), backend_of(config)
    specs = AWQ_KERNELS.value(situation.packages)[packing]
    bits, group = config.get("bits", config.get("w_bit", 4)), config.get("group_size", config.get("q_group_size", 128))
    if not isinstance(bits, int) or not isinstance(group, int):
        raise Undecided("bits and group_size are no numbers")
    layer = Layer(bits, group, False, not config.get("zero_point", True))
    if backend in ("auto", "auto_trainable"):
        if device == "cpu" and not situation.packages.at_least("gptqmodel", 7) and situation.packages.has("kernels"):
            raise Undecided("whether gptqmodel's hf_kernel_awq can be fetched was not tried")
        return first_that_fits(situation, specs, device, layer, backend == "auto_trainable")
    for spec in specs:
        if backend in spec.backends:
            return requested(situation, spec, device, layer)
    if backend == "exllama_v1":
        raise Unsupported("'exllama_v1' is not a valid BACKEND")
    named = f"AWQ_{backend.upper()}" if situation.packages.at_least("gptqmodel", 7) else backend.upper()
    named = named.removesuffix("_AWQ")
    format_name = packing.upper().replace("-", "_")
    raise Unsupported(f"Unsupported backend: `BACKEND.{named}` for `METHOD.AWQ` with format `FORMAT.{format_name}`")
