"""accelerate that moves a bitsandbytes model after the load, and transformers that refuses it.

Since 1.2 accelerate's dispatch_model calls ``model.to(device)`` for a map of one device, where it used to attach hooks; it spares what
transformers has marked as loaded in 8 bits, or in 4 bits with a bitsandbytes before 0.43.2 (accelerate 1.2.1 big_modeling.py:405 to 498, 1.10.1).
transformers refuses any ``to`` of such a model up to 4.44, and one with an old bitsandbytes from 4.45 to 4.57 (modeling_utils.py ``to``); from 4.38 on it
sets the mark after the call. Run without a GPU: transformers 4.37.2, 4.40.2, 4.44.2, 4.45.2 with accelerate 1.1.1 and 1.2.1, bitsandbytes 0.50.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack.transformers import zero3
from qvl_preflight.unknown import Unknown, need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Quantization, Situation

_ANY = "`.to` is not supported for `4-bit` or `8-bit` bitsandbytes models. Please use the model as it is"
_OLDER = "`.to` is not supported for `4-bit` or `8-bit` models. Please use the model as it is"
_WITH_THIS = "Calling `to()` is not supported for `4-bit` quantized models with the installed version of bitsandbytes."
_REFUSAL: ByRelease[str | None] = ByRelease(
    "transformers",
    Row("4.30", "4.32", _OLDER, Evidence.SOURCE, "transformers 4.30.2 modeling_utils.py, 4.31.0"),
    Row("4.32", "4.45", _ANY, Evidence.RUN, "transformers 4.37.2, 4.40.2, 4.44.2"),
    Row("4.45", "5.0", _WITH_THIS, Evidence.SOURCE, "transformers 4.45.2 modeling_utils.py:2900, 4.57.1"),
    Row("5.0", None, None, Evidence.SOURCE, "transformers 5.0.0: has a dispatch of its own"),
)
_MARKS_AFTERWARDS, _REFUSES_OLD_ALONE = (4, 38), (4, 45)
_CAN_MOVE = (0, 43, 2)  # 4-bit weights (bitsandbytes)


def moved_again(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: dispatch_model ends in ``model.to``, and that in a ValueError."""
    quantization = need(draft.quantization)
    if quantization is None or quantization.method != "bitsandbytes" or not situation.packages.at_least("accelerate", 1, 2):
        return
    row = _REFUSAL.row(situation.packages)
    if row.value is None or not _refused(situation, quantization) or _sharded(situation):
        return
    homes = draft.device_map
    if isinstance(homes, Unknown):
        condition: str | None = "the model fits on one GPU"
    elif len(set(homes.values())) == 1 and "disk" not in homes.values():
        condition = None
    else:
        return
    why = "this accelerate moves a model that lies on one device once more, which this transformers refuses for bitsandbytes models"
    yield WillRaise("QVL336", Stage.MATERIALISE, "ValueError", row.value, "bnb-moved", why, condition, row.evidence)


def _refused(situation: Situation, quantization: Quantization) -> bool:
    """Does accelerate call ``to``, and does transformers refuse it?"""
    release = situation.packages.release("transformers") or (0,)
    movable = situation.packages.at_least("bitsandbytes", *_CAN_MOVE)
    if release >= _REFUSES_OLD_ALONE:
        return not movable
    return release >= _MARKS_AFTERWARDS or (quantization.bits == 4 and movable)


def _sharded(situation: Situation) -> bool:
    """ZeRO-3 and FSDP are dispatched by nobody (from 4.41 on; before, the map itself is refused). Unknown counts as no."""
    launch, trainer = situation.facts.launch, situation.request.trainer or {}
    return zero3(situation) or bool(trainer.get("fsdp")) or (not isinstance(launch, Unknown) and launch.fsdp is True)
