"""Vision towers and what joins them to the decoder: the sizes out of config.json, and the operations of their modeling files.

transformers 5.17 models/{qwen2_vl,qwen2_5_vl,qwen3_vl,clip,llava}: the blocks of Qwen's towers go over the patches of all images at once, image by image (or
window by window) where attention is; CLIP's over each image, and all its hidden states are kept, since LLaVA takes the last but one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from qvl_preflight.memory import ops
from qvl_preflight.memory.checkpointing import checkpoint
from qvl_preflight.memory.layers import Layers, linear
from qvl_preflight.memory.tape import FLOAT, Storage, Tape, Value
from qvl_preflight.unknown import Undecided


@dataclass(frozen=True)
class Tower:
    """``gated``: an MLP with a gate and RMSNorm, else two layers and LayerNorm. ``out``: values of a token that the decoder gets. ``deep``: how many blocks
    hand their values to the decoder as well. ``clip``: CLIP's way."""

    layers: int
    hidden: int
    inner: int
    heads: int
    patch: int
    merge: int
    pixels: int  # values of a patch
    out: int
    gated: bool = False
    deep: int = 0
    clip: bool = False
    side: int = 0  # of an image that is always of one size


def tower_of(config: Mapping[str, Any]) -> Tower | None:
    """The tower of a model; None where it has none. Raises Undecided for one that was not read."""
    vision, text, kind = config.get("vision_config"), config.get("text_config"), config.get("model_type")
    if not isinstance(vision, Mapping):
        return None
    hidden = text.get("hidden_size") if isinstance(text, Mapping) else config.get("hidden_size")
    get = partial(_number, vision)
    if kind == "llava" and vision.get("model_type") == "clip_vision_model":
        size, patch = get("image_size", 224), get("patch_size", 32)
        layers = get("num_hidden_layers", 12)
        return Tower(
            layers, get("hidden_size", 768), get("intermediate_size", 3072), get("num_attention_heads", 12), patch, 1, 3 * patch**2, _known(hidden), clip=True, side=size
        )  # fmt: skip
    if kind not in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl"):
        raise Undecided(f"how the vision tower of {kind} uses memory")
    patch, merge, frames = (
        get("patch_size", 16 if kind == "qwen3_vl" else 14),
        get("spatial_merge_size", 2),
        get("temporal_patch_size", 2),
    )
    if kind == "qwen2_vl":
        wide = get("embed_dim", 1280)
        ratio = vision.get("mlp_ratio", 4)
        return Tower(
            get("depth", 32),
            wide,
            int(wide * ratio),
            get("num_heads", 16),
            patch,
            merge,
            3 * frames * patch**2,
            get("hidden_size", 3584),
        )
    out = get("out_hidden_size", 3584)
    if kind == "qwen2_5_vl":
        inner = get("intermediate_size", 3420)
        return Tower(
            get("depth", 32),
            get("hidden_size", 3584),
            inner,
            get("num_heads", 16),
            patch,
            merge,
            3 * frames * patch**2,
            out,
            gated=True,
        )
    deep = vision.get("deepstack_visual_indexes", (8, 16, 24))
    return Tower(
        get("depth", 27), get("hidden_size", 1152), get("intermediate_size", 4304), get("num_heads", 16), patch, merge, 3 * frames * patch**2, out, deep=len(deep)
    )  # fmt: skip


def _number(config: Mapping[str, Any], key: str, default: int) -> int:
    value = config.get(key, default)
    return _known(value)


def _known(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**32:
        raise Undecided("a size in vision_config of config.json")
    return value


class Vision:
    """One tower on a tape. ``patches`` of all images together."""

    def __init__(self, tape: Tape, tower: Tower, how: Layers, images: int, size: tuple[int, int] | None, eager: bool) -> None:
        self.tape, self.tower, self.how, self.images, self.eager = tape, tower, how, images, eager
        high, wide = (tower.side, tower.side) if tower.side else size or (448, 448)
        unit = tower.patch * tower.merge
        self.each = max(1, round(high / unit)) * max(1, round(wide / unit)) * tower.merge**2
        self.patches = images * self.each

    @property
    def tokens(self) -> int:
        """Of the decoder, for all images."""
        return self.patches // self.tower.merge**2

    def norm(self, one: Value, size: int) -> Value:
        """RMSNorm, or LayerNorm, which autocast has in float32."""
        tape, rows, weight = self.tape, one.count // size, self.how.norm_weight(size)
        if self.tower.gated:
            return ops.rms_norm(tape, one, weight, rows)
        if tape.amp:
            one = ops.cast(tape, one, FLOAT)
        return ops.layer_norm(tape, one, weight, rows)

    def block(self, hidden: Value) -> Value:
        """Attention and MLP, each beside its residual."""
        tape, tower, how = self.tape, self.tower, self.how
        hidden = ops.add(tape, hidden, self.attention(self.norm(hidden, tower.hidden)))
        normed = self.norm(hidden, tower.hidden)
        if tower.gated:
            gate = ops.activation(tape, linear(tape, how, normed, "gate_proj", tower.hidden, tower.inner))
            product = ops.multiply(tape, gate, linear(tape, how, normed, "up_proj", tower.hidden, tower.inner))
            return ops.add(tape, hidden, linear(tape, how, product, "down_proj", tower.inner, tower.hidden))
        first, second = ("fc1", "fc2") if not tower.deep else ("linear_fc1", "linear_fc2")
        inner = linear(tape, how, normed, first, tower.hidden, tower.inner)
        inner = (
            ops.activation(tape, inner)
            if not tower.clip
            else ops.multiply(tape, inner, ops.activation(tape, ops.scale(tape, inner)))
        )
        return ops.add(tape, hidden, linear(tape, how, inner, second, tower.inner, tower.hidden))

    def attention(self, hidden: Value) -> Value:
        """Over an image, or a window, at a time; put together again."""
        tape, tower, how = self.tape, self.tower, self.how
        size = hidden.count
        if tower.clip:
            queries, keys, values = (
                linear(tape, how, hidden, name, tower.hidden, tower.hidden) for name in ("q_proj", "k_proj", "v_proj")
            )
        else:
            joint = linear(tape, how, hidden, "qkv", tower.hidden, 3 * tower.hidden)
            queries, keys, values = ops.split(tape, joint, [size] * 3)
            del joint
            queries, keys = self._turned(queries, keys)
        rows = size // tower.hidden
        out = self._scores(queries, keys, values) if self.eager else ops.attention(tape, queries, keys, values, rows, tower.heads)
        if not tower.clip:
            out = ops.made(tape, [out], out.count, out.width)
        del queries, keys, values
        return linear(tape, how, out, "out_proj" if tower.clip else "proj", tower.hidden, tower.hidden)

    def _turned(self, queries: Value, keys: Value) -> tuple[Value, Value]:
        """Rotary positions, in float32."""
        tape, width = self.tape, queries.width
        queries, keys = ops.cast(tape, queries, FLOAT), ops.cast(tape, keys, FLOAT)
        queries, keys = ops.rotary(tape, queries), ops.rotary(tape, keys)
        queries = ops.cast(tape, queries, width)
        return queries, ops.cast(tape, keys, width)

    def _scores(self, queries: Value, keys: Value, values: Value) -> Value:
        """Qwen's towers go image by image, and let go of one's scores before the next where nothing is kept for the way back."""
        at_once = self.patches if self.tower.clip or self.tape.grad else self.each
        return ops.scores(self.tape, queries, keys, values, self.tower.heads * at_once * self.each)

    def run(self, checkpointing: bool) -> tuple[Value, list[Value]]:
        """What the decoder gets: one value for each of its places, and those of the blocks between."""
        tape, tower, how = self.tape, self.tower, self.how
        tape.given.append(tape.new(self.patches * tower.pixels, how.width).storage)
        rows = self.patches + (self.images if tower.clip else 0)
        hidden = ops.made(tape, [how.norm_weight(tower.pixels * tower.hidden)], self.patches * tower.hidden, tape.amp or how.width)
        if rows != self.patches:
            hidden = ops.made(tape, [hidden], rows * tower.hidden, hidden.width)
        if tower.clip:
            hidden = self.norm(ops.scale(tape, hidden), tower.hidden)
        if tower.deep:
            hidden = ops.scale(tape, hidden)
        every, states = max(1, tower.layers // max(1, tower.deep)), [hidden] if tower.clip else []
        deep: list[Value] = []
        for index in range(tower.layers):
            hidden = checkpoint(tape, hidden, self.block) if checkpointing and tape.grad else self.block(hidden)
            if tower.clip:
                states.append(hidden)
            if tower.deep and len(deep) < tower.deep and (index + 1) % every == 0:
                deep.append(self.merged(hidden, before=False))
        if tower.clip:
            hidden = states[-2]
        return self.merged(hidden, before=True), deep

    def merged(self, hidden: Value, *, before: bool) -> Value:
        """The projector: four patches are one place of the decoder; or, of LLaVA, one is one."""
        tape, tower, how = self.tape, self.tower, self.how
        if tower.clip:
            hidden = ops.made(tape, [hidden], self.patches * tower.hidden, hidden.width)
            inner = ops.activation(tape, linear(tape, how, hidden, "linear_1", tower.hidden, tower.out))
            return linear(tape, how, inner, "linear_2", tower.out, tower.out)
        wide = tower.hidden * tower.merge**2
        names = ("linear_fc1", "linear_fc2") if tower.deep else ("0", "2")
        normed = self.norm(hidden, tower.hidden if before else wide)
        inner = ops.activation(tape, linear(tape, how, normed, names[0], wide, wide))
        return linear(tape, how, inner, names[1], wide, tower.out)


def join(tape: Tape, embedded: Value, seen: Value) -> Value:
    """masked_scatter: a new tensor; on a GPU the places are counted in int64, one for each value (aten native/cuda/IndexKernel.cpp)."""
    seen = ops.cast(tape, ops.made(tape, [seen], seen.count, seen.width), embedded.width)
    mask = Storage(tape, embedded.count)
    with tape.scratch(embedded.count * 8):
        out = ops.made(tape, [embedded, seen], embedded.count, embedded.width)
    del mask
    return out
