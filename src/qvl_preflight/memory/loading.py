"""What is allocated after a load: the tensors, and what the allocator leaves unsplit between them. Held against an H100, byte for byte.

transformers 5 (modeling_utils.py caching_allocator_warmup, core_model_loading.py dot_natural_key) takes one block as large as the model first and gives it back,
then loads in the natural order of the names; with bitsandbytes each weight comes in its own dtype and is quantised before the next one is read
(bitsandbytes 0.50 nn/modules.py _quantize, backends/cuda/ops.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from qvl_preflight.memory.allocator import Allocator, rounded
from qvl_preflight.memory.weights import Stored

_MOST = 20_000  # tensors; more would take long, and matter less
_BLOCK, _NESTED, _UNIT = 64, 256, 512


def allocated(stored: Sequence[Stored], buffers: int, width: int, *, release5: bool) -> int:
    """torch.cuda.memory_allocated after the load. ``width``: bytes of a weight before it is quantised."""
    plain = sum(rounded(one.weight_bytes) + (rounded(one.extra_bytes) if one.extra_bytes else 0) for one in stored) + buffers
    quantised = any(one.dtype in ("4bit", "int8") and one.extra_bytes for one in stored)
    if not quantised or not release5 or len(stored) > _MOST:
        return plain
    gpu = Allocator()
    gpu.give(gpu.take(_UNIT))  # what made the context
    first = int(sum(one.count * 0.5 if one.dtype == "4bit" else one.weight_bytes for one in stored)) + buffers // 4
    gpu.give(gpu.take(max(first - gpu.reserved, 1)))
    for one in sorted(stored, key=lambda one: natural(one.name)):
        if one.dtype not in ("4bit", "int8") or not one.extra_bytes:
            gpu.take(one.weight_bytes)
        else:
            _quantised(gpu, one, width)
    gpu.take(buffers)
    return gpu.allocated


def natural(name: str) -> list[tuple[int, int, str, int]]:
    """The order in which transformers 5 loads: numbers by their value, before words; numbers at the end of a word by their value."""
    return [_part(part) for part in name.split(".")]


def _part(part: str) -> tuple[int, int, str, int]:
    if part.isdecimal():
        return 0, int(part), "", 0
    word = part.rstrip("0123456789")
    return 1, 0, word, int(part[len(word) :] or 0)


def _quantised(gpu: Allocator, one: Stored, width: int) -> None:
    weight = gpu.take(one.count * width)
    if one.dtype == "int8":  # it went to the CPU and comes back as float16
        half = gpu.take(one.count * 2)
        gpu.take(one.extra_bytes)
        gpu.take(one.count)
        gpu.give(half)
    else:
        blocks = -(-one.count // _BLOCK)
        scales = gpu.take(blocks * 4)
        gpu.take(one.weight_bytes)
        gpu.take(16 * 4)
        if one.extra_bytes < blocks * 4:  # double quantisation: the scales less their mean, in 8 bits
            gpu.take(4)
            centred = gpu.take(blocks * 4)
            gpu.take(256 * 4)
            gpu.take(-(-blocks // _NESTED) * 4)
            gpu.take(blocks)
            gpu.give(centred)
            gpu.give(scales)
    gpu.give(weight)
