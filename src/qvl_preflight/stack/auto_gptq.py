"""auto-gptq as optimum drives it: which linear layer holds the weights, what it does on the CPU, whether it passes gradients.

Sources: auto-gptq 0.4.2, 0.5.1, 0.7.1 auto_gptq/utils/import_utils.py; optimum 1.12 to 2.0 optimum/gptq/quantizer.py. Recorded:
0.7.1 with optimum 1.13.2 and 1.16.2 on an H100.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvl_preflight.plan import Kernel
from qvl_preflight.unknown import Undecided, Unknown
from qvl_preflight.versions import ByRelease, Evidence, Row, parse

if TYPE_CHECKING:
    from qvl_preflight.plan import Situation

_PATH = "auto_gptq.nn_modules.qlinear.qlinear_"


def _kernel(name: str, devices: tuple[str, ...], trainable: bool) -> Kernel:
    return Kernel(name, "QuantLinear", "auto-gptq", devices, trainable, _PATH + name)


# exllama v1 and v2 write into a fresh tensor outside autograd: the base model passes no gradient (recorded: norm 0).
EXLLAMA = _kernel("exllama", ("cuda",), trainable=False)
EXLLAMA_V2 = _kernel("exllamav2", ("cuda",), trainable=False)
CUDA_OLD = _kernel("cuda_old", ("cuda", "cpu"), trainable=True)
CUDA = _kernel("cuda", ("cuda", "cpu"), trainable=True)


@dataclass(frozen=True)
class Flags:
    """What optimum hands to auto-gptq: bits, grouping, and the exllama switches as it understood them."""

    bits: int
    group_size: int
    desc_act: bool
    disable_exllama: bool
    exllama_version: int | None  # None: the release's own default


@dataclass(frozen=True)
class Chosen:
    """A kernel, and what the choice takes for granted (None: nothing)."""

    kernel: Kernel
    condition: str | None = None


# optimum before 1.14 knows no exllama v2 and cannot switch it off; the first release that can is 1.14.0.
KNOWS_V2 = ByRelease(
    "optimum",
    Row("1.12", "1.14", False, Evidence.RECORDED, "optimum 1.13.2 gptq/quantizer.py:202"),
    Row("1.14", "2.3", True, Evidence.RECORDED, "optimum 1.16.2 gptq/quantizer.py:256"),
)


def choose(situation: Situation, flags: Flags) -> Chosen:
    """The linear layer of the loaded model. Raises Undecided."""
    if flags.bits != 4:
        return Chosen(_without_exllama(flags))
    return pick(situation, flags, *_switched_on(situation, flags))


def pick(situation: Situation, flags: Flags, v1: bool, v2: bool) -> Chosen:
    """auto-gptq's own choice (dynamically_import_QuantLinear) where exllama v1 and v2 are or are not switched on."""
    has_v2 = situation.packages.at_least("auto-gptq", 0, 5)
    for wanted, module, kernel in ((v2 and has_v2, "exllamav2_kernels", EXLLAMA_V2), (v1, "exllama_kernels", EXLLAMA)):
        if not wanted or flags.bits != 4:
            continue
        loads = situation.facts.extension(module)
        if isinstance(loads, Unknown):
            return Chosen(kernel, f"the compiled module {module} can be imported, which is not known")
        if loads:
            return Chosen(kernel)
    return Chosen(_without_exllama(flags))


def _without_exllama(flags: Flags) -> Kernel:
    return CUDA_OLD if not flags.desc_act or flags.group_size == -1 else CUDA


def _switched_on(situation: Situation, flags: Flags) -> tuple[bool, bool]:
    """Which of exllama v1 and v2 auto-gptq would try; v2 is tried first."""
    if not KNOWS_V2.value(situation.packages):
        return not flags.disable_exllama, True
    version = flags.exllama_version or 2  # optimum's own default, GPTQQuantizer.__init__
    return not flags.disable_exllama and version == 1, not flags.disable_exllama and version == 2


@dataclass(frozen=True)
class Trouble:
    """What a kernel raises where it is put on the CPU."""

    type: str
    text: str
    evidence: Evidence
    at: str = ""


# modeling/_utils.py:439 (v1: prepare_buffers), qlinear_exllamav2.py:170 (v2: post_init)
ON_CPU = {
    "exllama": Trouble("RuntimeError", "no device index", Evidence.RUN),
    "exllamav2": Trouble("AssertionError", "", Evidence.RECORDED, 'assert self.qweight.device.type == "cuda"'),
}

# optimum's own guard, in post_init_model: it looks at the first parameter alone, and never at whether a kernel was built.
GUARD: ByRelease[str | None] = ByRelease(
    "optimum",
    Row(
        "1.12", "1.14",
        "Found modules on cpu/disk. Using Exllama backend requires all the modules to be on GPU.You can deactivate exllama backend by "
        "setting `disable_exllama=True` in the quantization config object",
        Evidence.RECORDED, "optimum 1.13.2 gptq/quantizer.py:482",
    ),
    Row(
        "1.14", "1.23",
        "Found modules on cpu/disk. Using Exllama or Exllamav2 backend requires all the modules to be on GPU.You can deactivate exllama backend by "
        "setting `disable_exllama=True` in the quantization config object",
        Evidence.RECORDED, "optimum 1.16.2 gptq/quantizer.py:583",
    ),
    Row("1.23", "2.3", None, Evidence.RUN, "optimum 1.23.3, 2.0.0 gptq/quantizer.py: warns, after the layers were built"),
)  # fmt: skip


@dataclass(frozen=True)
class Minimum:
    """The oldest auto-gptq that an optimum release takes, and its words."""

    release: str
    text: str


MINIMUM: ByRelease[Minimum | None] = ByRelease(
    "optimum",
    Row("1.12", "1.13", None, Evidence.SOURCE, "optimum 1.12.0 utils/import_utils.py:104"),
    Row(
        "1.13",
        "1.14",
        Minimum("0.4.2", "but only 0.4.2 and above are supported"),
        Evidence.SOURCE,
        "optimum 1.13.2 utils/import_utils.py:117",
    ),
    Row(
        "1.14",
        "1.24",
        Minimum("0.5.0", "but only version above 0.4.99 are supported"),
        Evidence.SOURCE,
        "optimum 1.16.2 utils/import_utils.py:122",
    ),
    Row(
        "1.24",
        "2.3",
        Minimum("0.5.0", "but only version >= 0.4.99 are supported"),
        Evidence.SOURCE,
        "optimum 2.0.0 utils/import_utils.py",
    ),
)


def too_old(situation: Situation) -> str | None:
    """optimum's words where the installed auto-gptq is older than it takes; None where it fits. Raises Undecided."""
    version, minimum = situation.packages.version("auto-gptq"), MINIMUM.value(situation.packages)
    if version is None or minimum is None:
        return None
    release, oldest = parse(version), parse(minimum.release)
    if release is None or oldest is None:
        raise Undecided(f"auto-gptq has the version {version!r}")
    return None if release >= oldest else f"Found an incompatible version of auto-gptq. Found version {version}, {minimum.text}"
