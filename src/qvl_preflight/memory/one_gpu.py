"""The memory of one call on one GPU: weights as they will lie there, and the worst moment of the step that follows. Nothing is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qvl_preflight.memory import step
from qvl_preflight.memory.allocator import rounded, whole
from qvl_preflight.memory.loader import NEWEST, Loader
from qvl_preflight.memory.loading import allocated
from qvl_preflight.memory.parts import parts
from qvl_preflight.memory.result import MemoryEstimate
from qvl_preflight.memory.shape import Shape, shape_of
from qvl_preflight.memory.sharded import Rank, computed_in, rank_of
from qvl_preflight.memory.step import Run
from qvl_preflight.memory.weights import WIDTHS, Stored, in_memory
from qvl_preflight.unknown import Undecided, Unknown, attempt, need

if TYPE_CHECKING:
    from qvl_preflight.checkpoint import Checkpoint
    from qvl_preflight.memory.asked import Asked
    from qvl_preflight.memory.ranks import Sharing
    from qvl_preflight.plan import Quantization

_FLOAT = 4
_SMALL_WORKSPACE = 4096 * 1024 * 2 + 16 * 1024 * 8
_WIDE_WORKSPACE = 4096 * 1024 * 8  # since Hopper (torch aten/src/ATen/cuda/CublasHandlePool.cpp parseChosenWorkspaceSize)


@dataclass(frozen=True)
class Part:
    """What one of several devices has of a model: its tensors, the layers that it runs, and whether the output layer is among them."""

    stored: tuple[Stored, ...]
    layers: int
    head: bool

    def shape(self, config: Mapping[str, Any]) -> Shape:
        """The sizes of that part."""
        shape = shape_of(config)
        return replace(shape, layers=self.layers, vocabulary=shape.vocabulary if self.head else 0)


def estimate(
    checkpoint: Checkpoint, dtype: str | Unknown, quantization: Quantization | Unknown | None, attention: str | None, asked: Asked | None,
    capability: tuple[int, int] | None, *, release5: bool, loader: Loader = NEWEST, sharing: Sharing | None = None, part: Part | None = None,
) -> MemoryEstimate:  # fmt: skip
    """The figures of one call; of one rank where ``sharing`` says that there are several, of one device where ``part`` says what lies there. Raises
    Undecided where not even the weights are known."""
    if sharing is not None and asked is not None and asked.method is not None and isinstance(dtype, str):
        dtype = computed_in(dtype, sharing, amp=asked.amp)
    stored = in_memory(checkpoint, dtype, quantization, loader) if part is None else part.stored
    found = attempt(lambda: shape_of(checkpoint.config) if part is None else part.shape(checkpoint.config))
    buffers, notes = _buffers(found, loader, WIDTHS[need(dtype)])
    weights = allocated(stored, sum(map(rounded, buffers)), WIDTHS[need(dtype)], release5=release5)
    exact = sum(tensor.total_bytes for tensor in stored) + sum(buffers)
    result = MemoryEstimate(weights, peak_bytes=weights, tensor_bytes=exact, modules=by_module(stored), notes=notes)
    if asked is None:
        return result
    workspace = _WIDE_WORKSPACE if capability is None or capability[0] >= 9 else _SMALL_WORKSPACE
    try:
        shape = need(found)
        bits = 16 if quantization is None else _bits(quantization)
        run = _run(asked, need(dtype), bits, attention)
        if asked.method is None:
            return _inference(result, shape, run, workspace)
        return _training(result, shape, run, stored, asked, bits, 2 * workspace, sharing)  # autograd's thread has one of its own
    except Undecided as undecided:
        why = Unknown(undecided.reason)
        return replace(
            result,
            kv_cache_bytes=why,
            activation_bytes=why,
            gradient_bytes=why,
            optimizer_bytes=why,
            adapter_bytes=why,
            peak_bytes=why,
        )


def _buffers(shape: Shape | Unknown, loader: Loader, width: int) -> tuple[list[int], tuple[str, ...]]:
    """The bytes of each tensor that the class makes for itself, and what is not known of them."""
    if loader.buffers is not None:
        return [buffer.total_bytes(width) for buffer in loader.buffers], loader.notes
    if isinstance(shape, Unknown):
        return [], ("tables of positions that are not stored are not counted",)
    return 2 * [shape.head_size // 2 * _FLOAT], ()  # rotary inv_freq, and the original of it


def by_module(stored: Sequence[Stored]) -> dict[str, int]:
    """Bytes of each module, of a layer as a whole: ``model.layers.0``."""
    found: dict[str, int] = {}
    for tensor in stored:
        names = tensor.name.split(".")
        end = next((place + 1 for place, name in enumerate(names) if name.isdecimal()), max(1, len(names) - 1))
        key = ".".join(names[:end])
        found[key] = found.get(key, 0) + tensor.total_bytes
    return found


def _bits(quantization: Quantization | Unknown) -> int:
    known = need(quantization)
    if known.method != "bitsandbytes" or known.pre_quantized:
        raise Undecided(f"what a step of weights in {known.method} takes beside them")
    return known.bits


def _run(asked: Asked, dtype: str, bits: int, attention: str | None) -> Run:
    if attention not in (None, "sdpa", "eager", "flash_attention_2", "flash_attention_3"):
        raise Undecided(f"what attention by {attention} keeps")
    own = WIDTHS[dtype]
    lora = asked.method == "lora"
    stream = _FLOAT if lora and bits < 16 else own
    return Run(
        asked.batch, asked.length, 2 if asked.amp else own, stream, attention == "eager", bits, asked.new_tokens, asked.checkpointing, asked.reentrant, lora,
        asked.amp, asked.cache,
    )  # fmt: skip


def _inference(result: MemoryEstimate, shape: Shape, run: Run, workspace: int) -> MemoryEstimate:
    cache, most = step.cache_bytes(shape, run), step.inference(shape, run)
    tokens = whole(run.tokens * 8)
    peak = result.weights_bytes + cache + most + tokens + workspace
    return replace(result, kv_cache_bytes=cache, activation_bytes=most + tokens, workspace_bytes=workspace, peak_bytes=peak)


def _training(
    result: MemoryEstimate,
    shape: Shape,
    run: Run,
    stored: Sequence[Stored],
    asked: Asked,
    bits: int,
    workspace: int,
    sharing: Sharing | None,
) -> MemoryEstimate:
    held = parts(shape, stored, asked, bits, run.stream if bits == 16 else run.width)
    rank = Rank(result.weights_bytes, held)
    if sharing is not None:
        rank = rank_of(stored, result.weights_bytes, held, asked, sharing, shape.hidden)
        held = rank.parts
    moments = [(size + held.casts, all_there) for size, all_there in step.training(shape, run)]
    passing = rank.gathered + rank.buckets
    most = max(size + (held.gradients if all_there or rank.gathered else 0) for size, all_there in moments) + passing
    most = max(most, held.gradients + held.scratch + (passing if rank.kept_buckets else 0))
    tokens = whole(run.tokens * 8)
    peak = rank.weights + held.adapters + held.prepared + held.states + most + tokens + workspace
    return replace(
        result, weights_bytes=rank.weights, activation_bytes=max(size for size, _ in moments) + tokens, gradient_bytes=held.gradients,
        optimizer_bytes=held.states, adapter_bytes=held.adapters, prepared_bytes=held.prepared, workspace_bytes=workspace,
        gathered_bytes=rank.gathered, bucket_bytes=rank.buckets, ram_bytes=rank.ram, peak_bytes=peak,
    )  # fmt: skip
