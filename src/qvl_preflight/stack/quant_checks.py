"""What the quantizers of transformers ask before they load: a package, a GPU of some age, a map without the CPU. The parts of their tables.

A check is one question of a quantizer's validate_environment (or of its configuration's constructor), with the exception that follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qvl_preflight.plan import Quantization, Stage, WillRaise
from qvl_preflight.stack import cuda
from qvl_preflight.unknown import Undecided, Unknown, need
from qvl_preflight.versions import Evidence, parse

if TYPE_CHECKING:
    from qvl_preflight.plan import Situation

# What more than one quantizer says.
NO_GPU = "No GPU found. A GPU is needed for quantization."
BNB_AND_ACCELERATE = (
    "Using `load_in_8bit=True` requires Accelerate: `pip install accelerate` and the latest version of bitsandbytes"
)

Question = Callable[["Situation", Quantization], str | None]  # why it fails, None where it does not; raises Undecided


@dataclass(frozen=True)
class Check:
    """One question, in the order in which the release asks."""

    ask: Question
    type: str
    text: str
    code: str
    cause: str
    evidence: Evidence = Evidence.SOURCE

    def seen(self) -> Check:
        """The same, as it was met on a stack without a GPU."""
        return replace(self, evidence=Evidence.RUN)


def first_refusal(checks: Iterable[Check], situation: Situation, quantization: Quantization) -> Iterator[WillRaise]:
    """The first check that fails. One that cannot be decided ends the row: what comes after it may not be reached. Raises Undecided."""
    for check in checks:
        why = check.ask(situation, quantization)
        if why is not None:
            yield WillRaise(check.code, Stage.ENVIRONMENT, check.type, check.text, check.cause, why, evidence=check.evidence)
            return


def package(text: str, *names: str, minimum: str = "0", type_: str = "ImportError") -> Check:
    """One of these distributions must be installed, in this release or a later one."""

    def ask(situation: Situation, quantization: Quantization) -> str | None:
        found = [release for name in names if (release := situation.packages.release(name)) is not None]
        if any(release >= (parse(minimum) or ()) for release in found):
            return None
        lack = f"is older than {minimum}" if found else "is not installed"
        return f"this transformers loads {quantization.method} through {names[0]}, which {lack}"

    return Check(ask, type_, text, "QVL301", "quant-packages")


def accelerate(text: str, minimum: str = "0") -> Check:
    """accelerate must be there."""

    def ask(situation: Situation, quantization: Quantization) -> str | None:
        release = situation.packages.release("accelerate")
        if release is not None and release >= (parse(minimum) or ()):
            return None
        lack = "is not installed" if release is None else f"is older than {minimum}"
        return f"{quantization.method} layers need accelerate, which {lack}"

    return Check(ask, "ImportError", text, "QVL601", "accelerate")


def a_gpu(text: str, type_: str = "RuntimeError", code: str = "QVL314", *, only: str = "any") -> Check:
    """CUDA must be available. ``only``: "fly" where only weights that the load itself quantises need it."""

    def ask(situation: Situation, quantization: Quantization) -> str | None:
        if only == "fly" and quantization.pre_quantized:
            return None
        refusal = cuda.refusal(situation)
        if refusal is None or _has_xpu(situation):
            return None
        if refusal.condition is not None:
            raise Undecided(f"{refusal.why}; CUDA can be used unless {refusal.condition}")
        return f"{quantization.method} needs a GPU in this release, and {refusal.why}"

    return Check(ask, type_, text, code, "no-cuda")


def an_apple_gpu(text: str) -> Check:
    """Metal alone, for weights that the load itself quantises."""

    def ask(situation: Situation, quantization: Quantization) -> str | None:
        if quantization.pre_quantized or cuda.on_a_mac(situation.facts):
            return None
        return f"{quantization.method} quantises on the GPU of an Apple machine, and this is none"

    return Check(ask, "RuntimeError", text, "QVL314", "no-cuda")


def capability(lowest: tuple[int, int], text: str, type_: str = "ValueError") -> Check:
    """The current GPU must be new enough."""

    def ask(situation: Situation, quantization: Quantization) -> str | None:
        found = current_capability(situation)
        if found is None or found >= lowest:
            return None
        return f"{quantization.method} needs a GPU of compute capability {lowest[0]}.{lowest[1]}, and the first one has {found[0]}.{found[1]}"

    return Check(ask, type_, text, "QVL315", "capability")


def current_capability(situation: Situation) -> tuple[int, int] | None:
    """torch.cuda.get_device_capability() of this process; None without CUDA. Raises Undecided."""
    if not cuda.available(situation):
        return None
    visible = need(situation.devices).visible
    torch = situation.facts.torch
    current = 0 if isinstance(torch, Unknown) or isinstance(torch.current_device, Unknown) else torch.current_device or 0
    if not visible:
        raise Undecided("which GPU is the current one")
    capabilities = {need(gpu.capability) for gpu in visible}
    if len(capabilities) == 1:
        return capabilities.pop()
    if not need(situation.devices).order_known or not 0 <= current < len(visible):
        raise Undecided("which of the different GPUs comes first")
    return need(visible[current].capability)


def no_offload(
    text: str, *, only: str = "any", minds: tuple[str, ...] = ("cpu", "disk"), alone: tuple[str, ...] = (), code: str = "QVL318"
) -> Check:
    """A dict may not name what the method ``minds``; ``alone``: what a map of one entry may name all the same.

    A bare "cpu" has become a torch.device by then, which equals no string. ``only``: "fly" minds weights that the load itself quantises, "stored"
    those that come quantised.
    """

    def ask(situation: Situation, quantization: Quantization) -> str | None:
        given = situation.request.device_map
        if not isinstance(given, Mapping) or only == ("fly" if quantization.pre_quantized else "stored"):
            return None
        away = {value for value in given.values() if value in minds} - (set(alone) if len(given) == 1 else set())
        if not away:
            return None
        return f"the device_map puts part of the model on {' and '.join(sorted(map(str, away)))}, which {quantization.method} layers do not take"

    return Check(ask, "ValueError", text, code, "offload")


def a_map(text: str) -> Check:
    """A device_map must be given."""

    def ask(situation: Situation, quantization: Quantization) -> str | None:
        missing = situation.request.device_map is None
        return f"{quantization.method} is loaded onto a GPU only, and no device_map is given" if missing else None

    return Check(ask, "ValueError", text, "QVL318", "offload")


def _has_xpu(situation: Situation) -> bool:
    """An Intel GPU may serve instead; whether torch can use it was not asked. Raises Undecided."""
    host = situation.facts.host
    others = () if isinstance(host, Unknown) or isinstance(host.other_gpus, Unknown) else host.other_gpus
    if "intel" in others:
        raise Undecided("whether torch can use the Intel GPU")
    return False
