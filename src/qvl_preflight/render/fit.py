"""The answer of ``qvl-preflight fit``, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from qvl_preflight.memory.fitting import Call, Change, Room, verdict
from qvl_preflight.memory.result import MemoryEstimate
from qvl_preflight.render.machine import bytes_text
from qvl_preflight.unknown import Unknown

_PARTS = (
    ("weights", "weights_bytes"), ("keys and values", "kv_cache_bytes"), ("activations", "activation_bytes"), ("gradients", "gradient_bytes"),
    ("optimizer", "optimizer_bytes"), ("adapters", "adapter_bytes"), ("made float32", "prepared_bytes"), ("cuBLAS", "workspace_bytes"),
)  # fmt: skip
_WORDS = {"fits": "fits", "narrowly": "fits, with less than 5 % to spare", "too large": "does not fit", "unknown": "not known"}


def fit_text(
    name: str, call: Call, found: MemoryEstimate, rooms: Sequence[Room], offers: Sequence[Change], most: int | None
) -> str:
    """All of it."""
    return "\n".join(_lines(name, call, found, rooms, offers, most))


def _lines(
    name: str, call: Call, found: MemoryEstimate, rooms: Sequence[Room], offers: Sequence[Change], most: int | None
) -> Iterator[str]:
    yield f"{name}: {described(call)}"
    for text, key in _PARTS:
        size = getattr(found, key)
        if isinstance(size, Unknown) or size:
            yield f"  {text:<16}{bytes_text(size):>11}"
    if isinstance(found.total_bytes, Unknown):
        yield f"needs at least {bytes_text(found.weights_bytes + found.context_bytes)}; what the step takes is not known: {found.total_bytes.reason}"
    else:
        yield f"needs {bytes_text(found.total_bytes)}: {bytes_text(found.peak_bytes)} at the worst moment, and about {bytes_text(found.context_bytes)} of CUDA context"
    for note in found.notes:
        yield f"note: {note}"
    for room in rooms:
        yield f"{room.name}: {bytes_text(room.free)} {'free' if room.measured else 'if it is empty'}: {_WORDS[verdict(found, room)]}"
    if not rooms:
        yield "no GPU is known here; name its memory with --gpu 24GiB"
    if most:
        yield f"longest sequence that fits: {most:,} tokens"
    for number, offer in enumerate(offers, 1):
        yield f"  {number}. {offer.text}: {bytes_text(offer.needs)}, {bytes_text(offer.saves)} less"


def described(call: Call) -> str:
    """The call in a line."""
    asked = call.asked
    how = call.quantization
    bits = "" if how is None or isinstance(how, Unknown) else f" in {how.bits} bits ({how.method})"
    what = {None: "generate" if asked.new_tokens else "forward pass", "lora": "LoRA", "full": "full fine-tuning"}[asked.method]
    size = f"{asked.batch} × {asked.length:,} tokens" + (f" and {asked.new_tokens:,} new ones" if asked.new_tokens else "")
    more = ", gradient checkpointing" if asked.checkpointing else ""
    return f"{what}, {size}, {call.dtype} weights{bits}{more}"


def fit_dict(
    name: str, call: Call, found: MemoryEstimate, rooms: Sequence[Room], offers: Sequence[Change], most: int | None
) -> dict[str, Any]:
    """As JSON."""
    return {
        "model": name,
        "call": described(call),
        "estimate": found.to_dict(),
        "gpus": [
            {"name": room.name, "free_bytes": room.free, "measured": room.measured, "verdict": verdict(found, room)}
            for room in rooms
        ],
        "longest_sequence": most,
        "would_fit": [{"change": offer.text, "total_bytes": offer.needs, "saved_bytes": offer.saves} for offer in offers],
    }
