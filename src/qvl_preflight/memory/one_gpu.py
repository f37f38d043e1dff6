"""The memory of one call on one GPU: weights as they will lie there, and the worst moment of the step that follows. Nothing is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qvl_preflight.memory import simulate
from qvl_preflight.memory.allocator import rounded, whole
from qvl_preflight.memory.bounds import bounds
from qvl_preflight.memory.decoder import Step
from qvl_preflight.memory.layers import Layers
from qvl_preflight.memory.loader import NEWEST, Loader
from qvl_preflight.memory.loading import allocated
from qvl_preflight.memory.parts import SEES, parts
from qvl_preflight.memory.result import MemoryEstimate
from qvl_preflight.memory.shape import Shape, shape_of
from qvl_preflight.memory.sharded import Rank, computed_in, rank_of
from qvl_preflight.memory.vision import Tower, tower_of
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

    @property
    def sees(self) -> bool:
        """Is the tower that images go through here, or a piece of it?"""
        return any(SEES.search(one.name) for one in self.stored)

    def shape(self, config: Mapping[str, Any]) -> Shape:
        """The sizes of that part. What flows through a GPU without a layer is no more than what a layer takes."""
        shape = shape_of(config)
        return replace(shape, layers=max(1, self.layers), vocabulary=shape.vocabulary if self.head else 0)


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
        how = _layers(asked, need(dtype), quantization)
        sees = asked.images and (part is None or part.sees)
        run = _step(asked, attention, tower_of(checkpoint.config) if sees else None, loader.transformers)
        if asked.method is None:
            return _inference(result, shape, how, run, asked, workspace)
        return _training(result, shape, how, run, stored, asked, 2 * workspace, sharing)  # autograd's thread has one of its own
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
            peak_range=None
            if sharing is not None or part is not None
            else bounds(checkpoint.config, weights, stored, WIDTHS[need(dtype)], quantization, asked, workspace),
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


_FUSED = ("marlin", "exllama", "exllamav2", "exllama_v1", "exllama_v2", "machete")


def _layers(asked: Asked, dtype: str, quantization: Quantization | Unknown | None) -> Layers:
    """How linear layers are kept and multiplied."""
    lora = asked.method == "lora"
    own = WIDTHS[dtype]
    rank = asked.rank if lora else 0
    if quantization is None:
        return Layers(own, "plain", own, rank, asked.targets, asked.method == "full")
    known = need(quantization)
    if asked.method == "full":
        raise Undecided("quantised weights cannot be trained in full")
    if known.method == "bitsandbytes":
        kernel = "bnb8" if known.bits == 8 else "bnb4"
        return Layers(own, kernel, _FLOAT if lora else own, rank, asked.targets)
    if known.method not in ("gptq", "awq"):
        raise Undecided(f"what a step of weights in {known.method} takes beside them")
    backend = str(known.config.get("backend") or "")
    kernel = "fused" if known.method == "awq" or backend in _FUSED else "unpacked" if lora else "dequantised"
    return Layers(own, kernel, own, rank, asked.targets)


def _step(asked: Asked, attention: str | None, tower: Tower | None, release: tuple[int, ...]) -> Step:
    """transformers 4.37 to 5.23, models/llama/modeling_llama.py, loss/loss_utils.py, integrations/sdpa_attention.py."""
    if attention not in (None, "sdpa", "eager", "flash_attention_2", "flash_attention_3"):
        raise Undecided(f"what attention by {attention} keeps")
    return Step(
        asked.batch, asked.length, attention == "eager", asked.cache, asked.new_tokens > 0 and release >= (4, 45), asked.checkpointing,
        wide_logits=release < (4, 46), shifted=release < (4, 49),
        repeats=release < (4, 54) and not str(attention).startswith("flash"), tower=tower, images=asked.images, image_size=asked.image_size,
    )  # fmt: skip


def _inference(result: MemoryEstimate, shape: Shape, how: Layers, run: Step, asked: Asked, workspace: int) -> MemoryEstimate:
    seen = simulate.forward(shape, how, run)
    cache = simulate.cache_bytes(shape, how, run, asked.new_tokens)
    tokens = whole(run.tokens * 8)
    peak = result.weights_bytes + max(seen.peak, cache) + tokens + workspace
    return replace(
        result,
        kv_cache_bytes=cache,
        activation_bytes=max(0, seen.peak - cache) + tokens,
        workspace_bytes=workspace,
        peak_bytes=peak,
    )


def _training(
    result: MemoryEstimate, shape: Shape, how: Layers, run: Step, stored: Sequence[Stored], asked: Asked, workspace: int, sharing: Sharing | None
) -> MemoryEstimate:  # fmt: skip
    apart = sharing is not None and (sharing.fsdp or sharing.stage > 0)  # no rank keeps all gradients
    seen = simulate.training(shape, how, run, 2 if asked.amp else 0, reentrant=asked.reentrant, keeps=not apart)
    held = parts(stored, asked, seen.adapters, prepares=how.kernel.startswith("bnb"))
    rank = Rank(result.weights_bytes, held)
    if sharing is not None:
        rank = rank_of(stored, result.weights_bytes, held, asked, sharing, shape.hidden)
        held = rank.parts
    passing = rank.gathered + rank.buckets
    most = seen.peak + (held.gradients if apart else 0) + passing
    most = max(most, held.gradients + held.scratch + (passing if rank.kept_buckets else 0))
    tokens = whole(run.tokens * 8)
    peak = rank.weights + held.adapters + held.prepared + held.states + most + tokens + workspace
    return replace(
        result, weights_bytes=rank.weights, activation_bytes=seen.activations + tokens, gradient_bytes=held.gradients,
        optimizer_bytes=held.states, adapter_bytes=held.adapters, prepared_bytes=held.prepared, workspace_bytes=workspace,
        gathered_bytes=rank.gathered, bucket_bytes=rank.buckets, ram_bytes=rank.ram, peak_bytes=peak,
    )  # fmt: skip
