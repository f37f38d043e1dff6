"""The first product of FP8 layers: the package kernels brings it, and without one that fits, the forward stops.

Sources: transformers 5.10 to 5.23 integrations/finegrained_fp8.py, utils/import_utils.py is_kernels_available. Recorded on an H100 with 5.17.0 and 5.23.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack.quant_checks import current_capability
from qvl_preflight.stack.quant_training import dequantized
from qvl_preflight.unknown import need
from qvl_preflight.versions import ByRelease, Evidence, Row, parse

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

_UNAVAILABLE = "finegrained-fp8 kernel unavailable: `kernels` is either not installed or uses an incompatible version."
# The words, and the releases of kernels that are taken: from the first up to the second.
KERNELS: ByRelease[tuple[str, str, str]] = ByRelease(
    "transformers",
    Row("5.10", "5.11", ("finegrained-fp8 kernel requires the `kernels` package.", "0.12.0", "0.13.0"), Evidence.SOURCE, "transformers 5.10.0"),
    Row("5.17", "5.18", (_UNAVAILABLE, "0.16.0", "0.17.0"), Evidence.RECORDED, "transformers 5.17.0 on an H100"),
    Row("5.23", None, (_UNAVAILABLE, "0.18.2", "0.19.0"), Evidence.RECORDED, "transformers 5.23.0 on an H100"),
)  # fmt: skip


def fp8_forward(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """FORWARD: FP8 layers without the package of their product."""
    if not situation.request.trains:
        yield from _without(situation, draft, Stage.FORWARD)


def fp8_step(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """STEP: the same, where the first forward is that of a training step."""
    if situation.request.trains:
        yield from _without(situation, draft, Stage.STEP)


def _without(situation: Situation, draft: Draft, stage: Stage) -> Iterator[WillRaise]:
    quantization = need(draft.quantization)
    if quantization is None or quantization.method != "fp8" or quantization.config.get("dequantize") is True:
        return
    if not situation.packages.at_least("transformers", 5, 10) or dequantized(situation, draft) or draft.failed("no-cuda"):
        return
    if (current_capability(situation) or (0, 0)) < (8, 9):
        return
    row = KERNELS.row(situation.packages)
    words, first, until = row.value
    found = situation.packages.release("kernels")
    if found is not None and (parse(first) or ()) <= found < (parse(until) or ()):
        return
    state = "is not installed" if found is None else f"is {situation.packages.version('kernels')}"
    why = f"the product of FP8 layers comes with the package kernels from {first} up to {until}, and it {state}"
    yield WillRaise("QVL338", stage, "ImportError", words, "fp8-kernel", why, evidence=row.evidence)
