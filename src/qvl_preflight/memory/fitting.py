"""Does it fit, and what would: an estimate against the GPUs, and the same call with one thing changed after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qvl_preflight.memory.loader import NEWEST, Loader
from qvl_preflight.memory.one_gpu import estimate
from qvl_preflight.memory.result import MemoryEstimate
from qvl_preflight.plan import Quantization
from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from qvl_preflight.checkpoint import Checkpoint
    from qvl_preflight.memory.asked import Asked

FOUR_BITS = Quantization("bitsandbytes", {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, pre_quantized=False)
_MARGIN = 0.05  # the estimate's own error, and what the allocator cannot use
_LONGEST = 2**20


@dataclass(frozen=True)
class Call:
    """A load and the step after it."""

    checkpoint: Checkpoint
    dtype: str
    quantization: Quantization | Unknown | None
    attention: str | None
    asked: Asked
    capability: tuple[int, int] | None = None
    release5: bool = True
    loader: Loader = NEWEST

    def estimate(self) -> MemoryEstimate:
        """Raises Undecided where the weights are not known."""
        return estimate(
            self.checkpoint,
            self.dtype,
            self.quantization,
            self.attention,
            self.asked,
            self.capability,
            release5=self.release5,
            loader=self.loader,
        )


@dataclass(frozen=True)
class Room:
    """A GPU, or one that is only thought of. ``free`` is what it has left now; where nobody knows, all of it."""

    name: str
    free: int
    measured: bool


@dataclass(frozen=True)
class Change:
    """The call with something changed. ``needs``: with the context."""

    text: str
    call: Call
    needs: int
    saves: int


def verdict(found: MemoryEstimate, room: Room) -> str:
    """fits, narrowly, too large, or unknown where the step is not known and the weights alone fit."""
    if isinstance(found.total_bytes, Unknown):
        return "too large" if found.weights_bytes + found.context_bytes > room.free else "unknown"
    if found.total_bytes > room.free:
        return "too large"
    return "fits" if found.total_bytes * (1 + _MARGIN) <= room.free else "narrowly"


def changes(call: Call, free: int) -> tuple[Change, ...]:
    """What would make it fit: each alone, those first that leave the result as it is; where none is enough, one on top of the other."""
    before = call.estimate().total_bytes
    if isinstance(before, Unknown):
        return ()
    alone = [found for text, change in _offers(call) if (found := _tried(text, change(call), before))]
    enough = tuple(found for found in alone if found.needs <= free)
    if enough:
        return enough
    texts: list[str] = []
    now = call
    for text, change in _offers(call):
        changed = change(now)
        if _tried(text, changed, before):
            now, texts = changed, [*texts, text]
        total = now.estimate().total_bytes
        if not isinstance(total, Unknown) and total <= free:
            return (Change(", ".join(texts), now, total, before - total),)
    return ()


def longest(call: Call, free: int) -> int | None:
    """The most tokens a sequence may have, to a step of 64 and as far as the model's positions go; None where not even 64 fit, or nobody knows."""
    positions = call.checkpoint.config.get("max_position_embeddings")
    low, high = 0, (min(positions, _LONGEST) if isinstance(positions, int) and positions >= 64 else _LONGEST) // 64
    while low < high:
        middle = (low + high + 1) // 2
        total = replace(call, asked=replace(call.asked, length=middle * 64)).estimate().total_bytes
        if isinstance(total, Unknown):
            return None
        low, high = (middle, high) if total <= free else (low, middle - 1)
    return low * 64 or None


def _tried(text: str, call: Call, before: int) -> Change | None:
    total = call.estimate().total_bytes
    return None if isinstance(total, Unknown) or total >= before else Change(text, call, total, before - total)


def _offers(call: Call) -> Iterator[tuple[str, Callable[[Call], Call]]]:
    """In the order in which they are worth it."""
    asked = call.asked
    if asked.method is not None and not asked.checkpointing:
        yield "gradient checkpointing", _step(checkpointing=True)
    if call.attention == "eager":
        yield "attention by sdpa", lambda one: replace(one, attention="sdpa")
    if asked.batch > 1:
        yield f"batch size 1{', with gradient accumulation' if asked.method else ''}", _step(batch=1)
    if asked.method == "full" and asked.optimizer.startswith("adamw"):
        yield "optimizer paged_adamw_8bit", _step(optimizer="paged_adamw_8bit")
    if call.quantization is None and asked.method != "full":
        yield "4-bit weights (nf4)", lambda one: replace(one, quantization=FOUR_BITS)
    for length in (asked.length // 2, asked.length // 4):
        if length >= 128:
            yield f"sequences of {length:,} tokens", _step(length=length)
    if asked.method == "full" and call.quantization is None:
        adapters = _step(method="lora", amp=True)
        yield "LoRA over 4-bit weights instead (qlora)", lambda one: replace(adapters(one), quantization=FOUR_BITS)


def _step(**changed: Any) -> Callable[[Call], Call]:
    return lambda one: replace(one, asked=replace(one.asked, **changed))
