"""gptqmodel: how one of its kernels is chosen.

Source: gptqmodel 7.7.0 utils/importer.py (selection), utils/backend.py (names); 5.8.0, 4.2.5 and 2.2.0 likewise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvl_preflight.stack.gptqmodel_device import NONE_FITS, NOT_FETCHED
from qvl_preflight.stack.gptqmodel_kernels import KERNELS, Spec
from qvl_preflight.unknown import Undecided, Unknown, need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.facts import Build, Gpu
    from qvl_preflight.plan import Situation

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
        return first_that_fits(situation, specs, device, layer, backend == "auto_trainable")
    for spec in specs:
        if backend in spec.backends:
            return requested(situation, spec, device, layer)
    if backend in _OTHER_BACKENDS.value(situation.packages):
        raise Unsupported(f"Unsupported backend: `BACKEND.{backend.upper()}` for `METHOD.GPTQ`")
    if (backend in _UNCHARTED and not situation.packages.at_least("gptqmodel", 7)) or backend in (
        "gptq_w4afp8",
        "gptq_w4a_nvfp4",
    ):
        raise Undecided(f"the kernel {backend} of this gptqmodel is not in the tables")
    raise Unsupported(f"'{backend}' is not a valid BACKEND")


def first_that_fits(situation: Situation, specs: tuple[Spec, ...], device: str, layer: Layer, trainable: bool) -> Spec:
    """What "auto" takes: the first that is usable; its words for the last that is not. Raises Unsupported or Undecided."""
    open_to_it = [spec for spec in specs if spec.auto and device in spec.devices]
    for spec in open_to_it:
        if (spec.trainable or not trainable) and _refused(spec, layer) is None and _usable(situation, spec, device):
            return spec
    refusal = _refused(open_to_it[-1], layer) if open_to_it else None
    raise Unsupported(refusal or NONE_FITS, "NotImplementedError" if refusal else "ValueError")


def requested(situation: Situation, spec: Spec, device: str, layer: Layer) -> Spec:
    """A kernel that is asked for by name. Raises Unsupported or Undecided."""
    from qvl_preflight.stack.cuda import available

    if _lacks_extension(situation, spec):
        raise Unsupported(f"No module named '{spec.extension}'")
    if spec.package == "triton" and not situation.packages.has("triton"):
        raise Unsupported(_NO_TRITON)
    if spec.package == "bitblas" and not situation.packages.has("bitblas"):
        raise Unsupported(_NO_BITBLAS)
    if spec.name == "ipex" and spec.package is not None and not situation.packages.has(spec.package):
        raise Unsupported(_NO_IPEX)
    if spec.name in _WITHOUT_CUDA and situation.packages.at_least("gptqmodel", 7) and not available(situation):
        raise Unsupported(_WITHOUT_CUDA[spec.name])
    if spec.name == "swordfish" and not _capable(situation, spec, device):
        raise Unsupported(_WITHOUT_CUDA[spec.name])  # it asks for its own GPUs first, too
    if spec.builds == "selection" and spec.downloads and not _has_sources(situation):
        raise Unsupported(NOT_FETCHED)
    if device not in spec.devices or not _capable(situation, spec, device):
        raise Unsupported(f"<class '{spec.path}'> does not support device: {device if device == 'cpu' else 'cuda:0'}")
    if refusal := _refused(spec, layer):
        raise Unsupported(refusal)
    return spec


# gptqmodel 2.2.0, 4.2.5 nn_modules/qlinear/tritonv2.py
_NO_TRITON = (
    "Trying to use the triton backend, but it could not be imported. Please install triton by 'pip install gptqmodel[triton]"
)
_NO_IPEX = "{'Packing' if pack else ''} Kernel: IPEX is not installed."  # gptqmodel 4.2.5 utils/importer.py:242
# gptqmodel 5.8.0, 7.7.0 nn_modules/qlinear/bitblas.py validate_once
_NO_BITBLAS = "bitblas is not installed or the version is incompatible. Please install via `pip install bitblas>=0.1.0.post1`."
# These ask for CUDA before they look at the device (gptqmodel 7.7.0, measured without a GPU).
_WITHOUT_CUDA = {
    "marlin": "Marlin kernel requires CUDA.",
    "exllamav2": "ExLlamaV2 GPTQ: CUDA is not available.",
    "machete_awq": "Machete runtime unavailable.",
    "marlin_awq": "Marlin kernel requires CUDA.",
    "exllamav2_awq": "ExLlamaV2 AWQ: CUDA is not available.",
    "gemm_awq": "AWQ: CUDA is not available.",
    "swordfish": "Swordfish runtime unavailable.",
}


def _refused(spec: Spec, layer: Layer) -> str | None:
    """The words in which a kernel refuses a layer (nn_modules/qlinear/__init__.py:522, 714, 718, 722)."""
    name = f"<class '{spec.path}'>"
    if layer.bits not in spec.bits and spec.module == "torch_int8":
        return "Torch INT8 requires 8-bit source weights; expanding lower-bit weights to persistent INT8 is disabled."
    if layer.bits not in spec.bits:
        return f"{name} only supports `{list(spec.bits)}` bits: actual bits = `{layer.bits}`"
    if layer.group_size not in spec.groups and spec.class_name == "AwqGEMVLinear":
        return f"AwqGEMVLinear native GEMV supports normalized group_size [64, 128]: actual group_size={layer.group_size}"
    if layer.group_size not in spec.groups:
        return f"{name} only supports `{list(spec.groups)}` group_size: actual group_size = `{layer.group_size}`"
    if spec.symmetric_only and not layer.sym:
        return f"{name} only supports symmetric `[True]` quantization: actual sym = `False`"
    if not spec.act_order and layer.desc_act:
        return f"{name} only supports `[False]` bits: actual desc_act = `True`"
    return None


def _usable(situation: Situation, spec: Spec, device: str) -> bool:
    if _lacks_extension(situation, spec) or (spec.package is not None and not situation.packages.has(spec.package)):
        return False
    if spec.cpu_flag is not None and spec.cpu_flag not in need(need(situation.facts.host).cpu_flags):
        return False
    if not _capable(situation, spec, device):
        return False
    if spec.builds != "selection":
        return True
    return (not spec.downloads or _has_sources(situation)) and can_build(situation, spec)


def sources_at_hand(situation: Situation) -> bool:
    """gptqmodel 7.7.0 utils/machete.py:330: named by a variable, or in its cache."""
    env = situation.facts.variables
    cached = need(situation.facts.build).cutlass
    return bool({"GPTQMODEL_CUTLASS_DIR", "GPTQMODEL_MACHETE_PRECOMPILED_LIBRARY"} & env.keys()) or (
        not isinstance(cached, Unknown) and cached
    )


def _has_sources(situation: Situation) -> bool:
    """At hand, or to be fetched. Raises Undecided."""
    return sources_at_hand(situation) or bool(need(need(situation.facts.build).network))


def _lacks_extension(situation: Situation, spec: Spec) -> bool:
    """Was the package built without this kernel? Where nobody looked, it counts as whole, as the wheels are."""
    return spec.extension is not None and situation.facts.extension(spec.extension) is False


def _capable(situation: Situation, spec: Spec, device: str) -> bool:
    """Without a visible GPU a kernel with a capability range validates nowhere (7.7.0: Triton does, it asks for none)."""
    if device != "cuda" or spec.capability is None:
        return True
    low, high = spec.capability
    chosen = targets(situation)
    return (bool(chosen) or not spec.needs_gpu) and all(low <= need(gpu.capability) <= high for gpu in chosen)


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
