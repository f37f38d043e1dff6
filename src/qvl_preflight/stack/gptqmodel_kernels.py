"""gptqmodel's kernels for GPTQ: what each takes, where it runs, and what it must build first.

Source: gptqmodel 7.7.0 nn_modules/qlinear/*.py (the SUPPORTS_ blocks), utils/importer.py (the order); 5.8.0, 4.2.5 and 2.2.0 likewise.
What was recorded or run agrees with every row used there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from qvl_preflight.plan import Kernel
from qvl_preflight.versions import ByRelease, Evidence, Row

_ALL_GROUPS = (-1, 16, 32, 64, 128, 256, 512, 1024)
SMALL_GROUPS = (-1, 32, 64, 128)
GROUPS_OF_16 = (-1, 16, 32, 64, 128)


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
    needs_gpu: bool = True  # with a capability: is a machine without a GPU refused?
    builds: Literal["selection", "load"] | None = None  # when it compiles; a failing build at selection means the next kernel
    compiler: Literal["nvcc", "c++"] | None = None
    downloads: bool = False  # sources, at load
    package: str | None = None
    cpu_flag: str | None = None
    auto: bool = True
    refuses_training: str | None = None
    extension: str | None = None  # a compiled module that came with the package; without it the kernel is passed over

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


def at_least(major: int, minor: int) -> tuple[tuple[int, int], tuple[int, int]]:
    return (major, minor), (99, 9)


# In the order in which "auto" tries them.
_SEVEN = (
    Spec("torch_cpu_avx512", "TorchCpuAvx512Linear", ("gptq_torch_cpu_avx512",), (4,), (16, 32, 64, 128, 256, 512), ("cpu",), builds="selection", compiler="c++", cpu_flag="avx512_bf16",
         refuses_training="TorchCpuAvx512Linear is an inference-only CPU kernel. Use BACKEND.GPTQ_TORCH_ATEN for trainable GPTQ layers."),
    Spec("torch_aten_kernel", "TorchAtenLinear", ("gptq_torch_aten",), (4,), (32, 64, 128, 256), ("cpu",), trainable=True),
    Spec("swordfish", "SwordfishLinear", ("gptq_swordfish", "swordfish"), (4, 8), SMALL_GROUPS, ("cuda",), capability=((10, 0), (11, 0)), builds="selection", compiler="nvcc"),
    Spec("machete", "MacheteLinear", ("gptq_machete", "machete"), (4, 8), (-1, 64, 128), ("cuda",), capability=((9, 0), (9, 0)), builds="load", compiler="nvcc", downloads=True),
    Spec("marlin", "MarlinLinear", ("gptq_marlin", "marlin"), (4, 8), SMALL_GROUPS, ("cuda",), symmetric_only=True, capability=at_least(7, 5), builds="load", compiler="nvcc"),
    Spec("exllamav2", "ExllamaV2Linear", ("gptq_exllama_v2", "exllama_v2"), (4,), SMALL_GROUPS, ("cuda",), builds="selection", compiler="nvcc"),
    Spec("torch_fused", "TorchFusedLinear", ("gptq_torch_fused", "torch_fused"), (4,), (-1, 16, 32, 64, 128), ("cpu",), trainable=True),
    Spec("tritonv2", "TritonV2Linear", ("gptq_triton", "triton"), (2, 4, 8), _ALL_GROUPS, ("cuda",), trainable=True),
    Spec("bitblas", "BitblasLinear", ("gptq_bitblas", "bitblas"), (2, 4, 8), SMALL_GROUPS, ("cuda",), act_order=False, package="bitblas"),
    Spec("torch", "TorchLinear", ("gptq_torch", "torch"), (2, 3, 4, 8), _ALL_GROUPS, ("cuda", "cpu"), trainable=True),
    Spec("torch_int8", "TorchInt8Linear", ("gptq_torch_int8", "torch_int8"), (8,), (-1, 16, 32, 64, 128), ("cpu",), auto=False),
)  # fmt: skip
_FIVE = (
    Spec("machete", "MacheteQuantLinear", ("machete",), (4, 8), (-1, 64, 128), ("cuda",), symmetric_only=True, capability=at_least(9, 0), extension="gptqmodel_machete_kernels"),
    Spec("marlin", "MarlinQuantLinear", ("marlin", "marlin_fp16"), (4, 8), SMALL_GROUPS, ("cuda",), symmetric_only=True, capability=at_least(8, 0), extension="gptqmodel_marlin_kernels"),
    Spec("exllamav2", "ExllamaV2QuantLinear", ("exllama_v2",), (4,), SMALL_GROUPS, ("cuda",), extension="gptqmodel_exllamav2_kernels"),
    Spec("torch_fused", "TorchFusedQuantLinear", ("torch_fused",), (4,), GROUPS_OF_16, ("cpu",), trainable=True),
    Spec("tritonv2", "TritonV2QuantLinear", ("triton",), (2, 4, 8), _ALL_GROUPS, ("cuda",), trainable=True),
    Spec("torch", "TorchQuantLinear", ("torch",), (2, 3, 4, 8), _ALL_GROUPS, ("cuda", "cpu"), trainable=True),
)  # fmt: skip


def _first_generation(exllama_v2_groups: tuple[int, ...]) -> tuple[Spec, ...]:
    """2.x to 4.x: compiled modules come with the package, and Marlin asks no capability of a machine without a GPU."""
    return (
        Spec("marlin", "MarlinQuantLinear", ("marlin", "marlin_fp16"), (4, 8), SMALL_GROUPS, ("cuda",), symmetric_only=True, capability=at_least(8, 0), needs_gpu=False, extension="gptqmodel_marlin_kernels"),
        Spec("exllamav2", "ExllamaV2QuantLinear", ("exllama_v2",), (4,), exllama_v2_groups, ("cuda",), extension="gptqmodel_exllamav2_kernels"),
        Spec("exllama", "ExllamaQuantLinear", ("exllama_v1",), (4,), GROUPS_OF_16, ("cuda",), extension="gptqmodel_exllama_kernels"),
        Spec("tritonv2", "TritonV2QuantLinear", ("triton",), (2, 4, 8), GROUPS_OF_16, ("cuda",), trainable=True, package="triton"),
        Spec("ipex", "IPEXQuantLinear", ("ipex",), (4,), GROUPS_OF_16[1:], ("cpu",), trainable=True, package="intel-extension-for-pytorch"),
        Spec("torch", "TorchQuantLinear", ("torch",), (2, 3, 4, 8), GROUPS_OF_16, ("cuda", "cpu"), trainable=True),
    )  # fmt: skip


KERNELS: ByRelease[tuple[Spec, ...]] = ByRelease(
    "gptqmodel",
    Row("2.0", "4.0", _first_generation(GROUPS_OF_16), Evidence.SOURCE, "gptqmodel 2.2.0 utils/importer.py:44, nn_modules/qlinear/"),
    Row("4.0", "5.0", _first_generation(SMALL_GROUPS), Evidence.RUN, "gptqmodel 4.2.5 utils/importer.py:45, nn_modules/qlinear/; with transformers 4.57.1 on a CPU"),
    Row("5.0", "7.0", _FIVE, Evidence.SOURCE, "gptqmodel 5.8.0 utils/importer.py"),
    Row("7.0", None, _SEVEN, Evidence.RECORDED, "gptqmodel 7.7.0 nn_modules/qlinear/, utils/importer.py:479-1040"),
)  # fmt: skip
