"""gptqmodel: its table of GPTQ kernels and how one is chosen.

Source: gptqmodel 7.7.0 nn_modules/qlinear/*.py (the SUPPORTS_ blocks), utils/importer.py (selection), utils/backend.py (names);
5.8.0, 4.2.5 and 2.2.0 likewise. What was recorded or run agrees with every row used there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from qvl_preflight.plan import Kernel
from qvl_preflight.unknown import Undecided, Unknown, need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.facts import Build, Gpu
    from qvl_preflight.plan import Situation

_ALL_GROUPS = (-1, 16, 32, 64, 128, 256, 512, 1024)
_SMALL_GROUPS = (-1, 32, 64, 128)


@dataclass(frozen=True)
class Spec:
    """One kernel: what it takes, where it runs, what it must build first."""

    module: str
    class_name: str
    backends: tuple[str, ...]
    bits: tuple[int, ...]
    groups: tuple[int, ...]
    devices: tuple[str, ...]
    trainable: bool = False
    symmetric_only: bool = False
    act_order: bool = True  # desc_act=True
    capability: tuple[tuple[int, int], tuple[int, int]] | None = None  # both ends included
    builds: Literal["selection", "load"] | None = None  # when it compiles; a failing build at selection means the next kernel
    compiler: Literal["nvcc", "c++"] | None = None
    downloads: bool = False  # sources, at load
    package: str | None = None
    cpu_flag: str | None = None
    auto: bool = True
    refuses_training: str | None = None

    @property
    def name(self) -> str:
        """The kernel as plan.kernel shows it."""
        return self.module.removesuffix("_kernel")

    @property
    def path(self) -> str:
        """The class as messages print it."""
        return f"gptqmodel.nn_modules.qlinear.{self.module}.{self.class_name}"

    @property
    def kernel(self) -> Kernel:
        """The kernel of the plan."""
        return Kernel(self.name, self.class_name, "gptqmodel", self.devices, self.trainable, self.path)


def _at_least(major: int, minor: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (major, minor), (99, 9)


# In the order in which "auto" tries them.
_SEVEN = (
    Spec("torch_cpu_avx512", "TorchCpuAvx512Linear", ("gptq_torch_cpu_avx512",), (4,), (16, 32, 64, 128, 256, 512), ("cpu",), builds="selection", compiler="c++", cpu_flag="avx512_bf16",
         refuses_training="TorchCpuAvx512Linear is an inference-only CPU kernel. Use BACKEND.GPTQ_TORCH_ATEN for trainable GPTQ layers."),
    Spec("torch_aten_kernel", "TorchAtenLinear", ("gptq_torch_aten",), (4,), (32, 64, 128, 256), ("cpu",), trainable=True),
    Spec("swordfish", "SwordfishLinear", ("gptq_swordfish", "swordfish"), (4, 8), _SMALL_GROUPS, ("cuda",), capability=((10, 0), (11, 0)), builds="selection", compiler="nvcc"),
    Spec("machete", "MacheteLinear", ("gptq_machete", "machete"), (4, 8), (-1, 64, 128), ("cuda",), capability=((9, 0), (9, 0)), builds="load", compiler="nvcc", downloads=True),
    Spec("marlin", "MarlinLinear", ("gptq_marlin", "marlin"), (4, 8), _SMALL_GROUPS, ("cuda",), symmetric_only=True, capability=_at_least(7, 5), builds="load", compiler="nvcc"),
    Spec("exllamav2", "ExllamaV2Linear", ("gptq_exllama_v2", "exllama_v2"), (4,), _SMALL_GROUPS, ("cuda",), builds="selection", compiler="nvcc"),
    Spec("torch_fused", "TorchFusedLinear", ("gptq_torch_fused", "torch_fused"), (4,), (-1, 16, 32, 64, 128), ("cpu",), trainable=True),
    Spec("tritonv2", "TritonV2Linear", ("gptq_triton", "triton"), (2, 4, 8), _ALL_GROUPS, ("cuda",), trainable=True),
    Spec("bitblas", "BitblasLinear", ("gptq_bitblas", "bitblas"), (2, 4, 8), _SMALL_GROUPS, ("cuda",), act_order=False, package="bitblas"),
    Spec("torch", "TorchLinear", ("gptq_torch", "torch"), (2, 3, 4, 8), _ALL_GROUPS, ("cuda", "cpu"), trainable=True),
    Spec("torch_int8", "TorchInt8Linear", ("gptq_torch_int8", "torch_int8"), (8,), (-1, 16, 32, 64, 128), ("cpu",), auto=False),
)  # fmt: skip
_FIVE = (
    Spec("machete", "MacheteQuantLinear", ("machete",), (4, 8), (-1, 64, 128), ("cuda",), symmetric_only=True, capability=_at_least(9, 0)),
    Spec("marlin", "MarlinQuantLinear", ("marlin", "marlin_fp16"), (4, 8), _SMALL_GROUPS, ("cuda",), symmetric_only=True, capability=_at_least(8, 0)),
    Spec("exllamav2", "ExllamaV2QuantLinear", ("exllama_v2",), (4,), _SMALL_GROUPS, ("cuda",)),
    Spec("torch_fused", "TorchFusedQuantLinear", ("torch_fused",), (4,), (-1, 16, 32, 64, 128), ("cpu",), trainable=True),
    Spec("tritonv2", "TritonV2QuantLinear", ("triton",), (2, 4, 8), _ALL_GROUPS, ("cuda",), trainable=True),
    Spec("torch", "TorchQuantLinear", ("torch",), (2, 3, 4, 8), _ALL_GROUPS, ("cuda", "cpu"), trainable=True),
)  # fmt: skip
_TWO = (
    Spec("marlin", "MarlinQuantLinear", ("marlin", "marlin_fp16"), (4, 8), _SMALL_GROUPS, ("cuda",), symmetric_only=True, capability=_at_least(8, 0)),
    Spec("exllamav2", "ExllamaV2QuantLinear", ("exllama_v2",), (4,), _SMALL_GROUPS, ("cuda",)),
    Spec("exllama", "ExllamaQuantLinear", ("exllama_v1",), (4,), _SMALL_GROUPS, ("cuda",)),
    Spec("tritonv2", "TritonV2QuantLinear", ("triton",), (2, 4, 8), _ALL_GROUPS, ("cuda",), trainable=True),
    Spec("ipex", "IPEXQuantLinear", ("ipex",), (4,), _SMALL_GROUPS, ("cpu",), trainable=True, package="intel-extension-for-pytorch"),
    Spec("torch", "TorchQuantLinear", ("torch",), (2, 3, 4, 8), _ALL_GROUPS, ("cuda", "cpu"), trainable=True),
)  # fmt: skip
KERNELS: ByRelease[tuple[Spec, ...]] = ByRelease(
    "gptqmodel",
    Row("2.0", "5.0", _TWO, Evidence.SOURCE, "gptqmodel 4.2.5 utils/importer.py; on the CPU run with transformers 4.57.1"),
    Row("5.0", "7.0", _FIVE, Evidence.SOURCE, "gptqmodel 5.8.0 utils/importer.py"),
    Row("7.0", None, _SEVEN, Evidence.RECORDED, "gptqmodel 7.7.0 nn_modules/qlinear/, utils/importer.py:479-1040"),
)
# Names that a release's BACKEND takes for other methods. Up to 4.x they end in the plain kernel without a word; later they are refused.
_OTHER_BACKENDS: ByRelease[tuple[str, ...]] = ByRelease(
    "gptqmodel",
    Row("2.0", "5.0", (), Evidence.SOURCE, "gptqmodel 4.2.5 utils/importer.py"),
    Row("5.0", "7.0", ("vllm", "sglang", "mlx", "gemm", "gemv", "gemv_fast", "qqq"), Evidence.SOURCE, "gptqmodel 5.8.0 utils/importer.py:80"),
    Row("7.0", None, ("vllm", "sglang", "mlx", "gemm", "gemv", "gemv_fast", "qqq", "paroquant", "torch_awq"), Evidence.SOURCE, "gptqmodel 7.7.0 utils/importer.py:457"),
)  # fmt: skip
# Kernels that exist and are not in the tables above: nothing is said of them.
_UNCHARTED = (
    "bitblas",
    "torch_int8",
    "hf_kernel",
    "exllama_eora",
    "qqq",
    "ipex",
    "marlin_fp16",
    "vllm",
    "sglang",
    "mlx",
    "gptq_w4afp8",
    "gptq_w4a_nvfp4",
)


@dataclass(frozen=True)
class Layer:
    """What a checkpoint asks of a kernel."""

    bits: int
    group_size: int
    desc_act: bool
    sym: bool


class Unsupported(Exception):
    """The requested kernel cannot be had: the exception type and text that gptqmodel raises."""

    def __init__(self, text: str, type_: str = "ValueError") -> None:
        super().__init__(text)
        self.type = type_


def choose(situation: Situation, backend: str, device: str, layer: Layer) -> Spec:
    """The kernel for ``backend`` on ``device`` (``cuda`` or ``cpu``). Raises Unsupported or Undecided."""
    specs = KERNELS.value(situation.packages)
    if backend in ("auto", "auto_trainable"):
        return _first_that_fits(situation, specs, device, layer, backend == "auto_trainable")
    for spec in specs:
        if backend in spec.backends:
            return _requested(situation, spec, device, layer)
    if backend in _OTHER_BACKENDS.value(situation.packages):
        raise Unsupported(f"Unsupported backend: `BACKEND.{backend.upper()}` for `METHOD.GPTQ`")
    if (backend in _UNCHARTED and not situation.packages.at_least("gptqmodel", 7)) or backend in (
        "gptq_w4afp8",
        "gptq_w4a_nvfp4",
    ):
        raise Undecided(f"the kernel {backend} of this gptqmodel is not in the tables")
    raise Unsupported(f"'{backend}' is not a valid BACKEND")


def _first_that_fits(situation: Situation, specs: tuple[Spec, ...], device: str, layer: Layer, trainable: bool) -> Spec:
    for spec in specs:
        if (
            spec.auto
            and device in spec.devices
            and (spec.trainable or not trainable)
            and _refused(spec, layer) is None
            and _usable(situation, spec, device)
        ):
            return spec
    last = specs[-1] if specs[-1].auto else specs[-2]
    raise Unsupported(
        _refused(last, layer) or "No valid quant linear", "NotImplementedError" if _refused(last, layer) else "ValueError"
    )


def _requested(situation: Situation, spec: Spec, device: str, layer: Layer) -> Spec:
    from qvl_preflight.stack.cuda import available

    if spec.name in _WITHOUT_CUDA and not available(situation):
        raise Unsupported(_WITHOUT_CUDA[spec.name])
    if device not in spec.devices or not _capable(situation, spec, device):
        raise Unsupported(f"<class '{spec.path}'> does not support device: {device if device == 'cpu' else 'cuda:0'}")
    if refusal := _refused(spec, layer):
        raise Unsupported(refusal)
    return spec


# These ask for CUDA before they look at the device (gptqmodel 7.7.0, measured without a GPU).
_WITHOUT_CUDA = {
    "marlin": "Marlin kernel requires CUDA.",
    "exllamav2": "ExLlamaV2 GPTQ: CUDA is not available.",
    "swordfish": "Swordfish runtime unavailable.",
}


def _refused(spec: Spec, layer: Layer) -> str | None:
    """The words in which a kernel refuses a layer (nn_modules/qlinear/__init__.py:522, 714, 718, 722)."""
    name = f"<class '{spec.path}'>"
    if layer.bits not in spec.bits and spec.module == "torch_int8":
        return "Torch INT8 requires 8-bit source weights; expanding lower-bit weights to persistent INT8 is disabled."
    if layer.bits not in spec.bits:
        return f"{name} only supports `{list(spec.bits)}` bits: actual bits = `{layer.bits}`"
    if layer.group_size not in spec.groups:
        return f"{name} only supports `{list(spec.groups)}` group_size: actual group_size = `{layer.group_size}`"
    if spec.symmetric_only and not layer.sym:
        return f"{name} only supports symmetric `[True]` quantization: actual sym = `False`"
    if not spec.act_order and layer.desc_act:
        return f"{name} only supports `[False]` bits: actual desc_act = `True`"
    return None


def _usable(situation: Situation, spec: Spec, device: str) -> bool:
    if spec.package is not None and not situation.packages.has(spec.package):
        return False
    if spec.cpu_flag is not None and spec.cpu_flag not in need(need(situation.facts.host).cpu_flags):
        return False
    if not _capable(situation, spec, device):
        return False
    return spec.builds != "selection" or can_build(situation, spec)


def _capable(situation: Situation, spec: Spec, device: str) -> bool:
    """Without a visible GPU a kernel with a capability range validates nowhere (7.7.0: Triton does, it asks for none)."""
    if device != "cuda" or spec.capability is None:
        return True
    low, high = spec.capability
    chosen = targets(situation)
    return bool(chosen) and all(low <= need(gpu.capability) <= high for gpu in chosen)


def targets(situation: Situation) -> tuple[Gpu, ...]:
    """The GPUs for which a kernel is chosen: those that the device_map names, all visible ones for a strategy. Raises Undecided."""
    visible = need(situation.devices).visible
    ordinals = {
        int(name.partition(":")[2] or 0)
        for name in situation.request.named_devices
        if name is not None and name.startswith("cuda") and (name.partition(":")[2] or "0").isdecimal()
    }
    chosen = tuple(gpu for ordinal, gpu in enumerate(visible) if ordinal in ordinals)
    return chosen or visible


def can_build(situation: Situation, spec: Spec) -> bool:
    """Is the toolchain there that this kernel compiles with? Raises Undecided."""
    if spec.compiler is None:
        return True
    build: Build = need(situation.facts.build)
    compiler = build.cxx if spec.compiler == "c++" else build.nvcc
    # A CUDA kernel at selection also asks for a GPU first; the compilers are asked after.
    if spec.compiler == "nvcc" and not need(situation.devices).visible:
        return False
    if compiler is False or build.ninja is False:
        return False
    if isinstance(compiler, Unknown) and not isinstance(build.nvcc, str):
        need(compiler)
    return bool(need(build.ninja))
