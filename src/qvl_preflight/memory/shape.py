"""The sizes of a decoder that its activations follow from, out of config.json. Families whose modeling files were read; others are undecided.

transformers 5.17 and 5.23, models/NAME/modeling_NAME.py: RMSNorms, gated MLPs, rotary positions. What sets them apart is in the fields of Shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qvl_preflight.unknown import Undecided

FAMILIES = (
    "llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen2_moe", "qwen3_moe", "phi3", "gemma", "gemma2", "gemma3_text", "qwen2_vl", "qwen2_vl_text",
    "qwen2_5_vl", "qwen2_5_vl_text", "qwen3_vl", "qwen3_vl_text", "llava", "gemma3",
)  # fmt: skip
_HEAD_NORMS = ("qwen3", "qwen3_moe", "gemma3_text", "qwen3_vl", "qwen3_vl_text", "gemma3")
_ONE_PLUS = ("gemma", "gemma2", "gemma3_text", "gemma3")
_DEFAULT_HEAD = {"qwen3": 128, "qwen3_vl_text": 128, "gemma": 256, "gemma2": 256, "gemma3_text": 256}
_TIED = ("gemma", "gemma2", "gemma3_text", "gemma3")


@dataclass(frozen=True)
class Shape:
    """A decoder. ``queries`` and ``keys``: values of one token in all heads of that kind. ``fused``: one layer for queries, keys and values, one for gate and
    up. ``one_plus``: norms multiply by 1 + w, in float32. ``post_norms``: after attention and MLP too. ``experts``: how many, of which ``chosen`` are run."""

    family: str
    layers: int
    hidden: int
    inner: int
    heads: int
    queries: int
    keys: int
    vocabulary: int
    head_norms: bool = False
    window: int | None = None  # tokens that a layer looks back, where it is limited
    windowed: tuple[bool, ...] = ()  # the layers that it holds for; () for all
    fused: bool = False
    one_plus: bool = False
    post_norms: bool = False
    scaled: bool = False  # embeddings times a number
    attention_cap: bool = False
    logit_cap: bool = False
    tied: bool = False
    experts: int = 0
    chosen: int = 0
    shared_inner: int = 0
    wide_router: bool = False
    wrapped: bool = False  # adapters on all linear layers are on the experts too

    @property
    def head_size(self) -> int:
        """Values of one head."""
        return self.queries // self.heads

    def windowed_layer(self, index: int) -> bool:
        """Does this layer look back a limited way?"""
        return self.window is not None and (not self.windowed or self.windowed[index])

    def masked(self, index: int, length: int) -> bool:
        """Does this layer need a mask of its own: more tokens than it looks back?"""
        return self.windowed_layer(index) and length > (self.window or length)


def shape_of(config: Mapping[str, Any]) -> Shape:
    """The sizes that config.json states. Raises Undecided for another family, and for what is missing or no size."""
    kind = config.get("model_type")
    if kind not in FAMILIES:
        raise Undecided(f"how a step of {kind or 'this model'} uses memory; known are {', '.join(FAMILIES)}")
    text = config.get("text_config")
    if isinstance(text, Mapping):
        family = str(text.get("model_type") or {"llava": "llama", "gemma3": "gemma3_text"}.get(kind, f"{kind}_text"))
        if family not in FAMILIES:
            raise Undecided(f"how a step of {family} uses memory")
        tied = config.get("tie_word_embeddings", text.get("tie_word_embeddings", kind in _TIED))
        return _shape(family, text, tied is True)
    return _shape(kind, config, config.get("tie_word_embeddings", kind in _TIED) is True)


def _shape(kind: str, config: Mapping[str, Any], tied: bool) -> Shape:
    heads, hidden = _size(config, "num_attention_heads"), _size(config, "hidden_size")
    groups = _size(config, "num_key_value_heads", heads)
    head = _size(config, "head_dim", _DEFAULT_HEAD.get(kind, hidden // heads))
    layers = _size(config, "num_hidden_layers")
    window, windowed = _window(kind, config, layers)
    sparse = kind in ("mixtral", "qwen2_moe", "qwen3_moe")
    if sparse and (config.get("mlp_only_layers") or config.get("decoder_sparse_step", 1) != 1):
        raise Undecided("which layers of this model have experts")
    inner = "moe_intermediate_size" if sparse and kind != "mixtral" else "intermediate_size"
    key = "num_experts" if "num_experts" in config else "num_local_experts"  # transformers 5 writes the latter
    experts = _size(config, key) if sparse else 0
    return Shape(
        kind, layers, hidden, _size(config, inner), heads, heads * head, groups * head, _size(config, "vocab_size"), kind in _HEAD_NORMS, window, windowed,
        kind == "phi3", kind in _ONE_PLUS, kind in ("gemma2", "gemma3_text"), kind in _ONE_PLUS,
        bool(config.get("attn_logit_softcapping", 50.0 if kind == "gemma2" else None)),
        bool(config.get("final_logit_softcapping", 30.0 if kind == "gemma2" else None)), tied, experts,
        _size(config, "num_experts_per_tok", None) if sparse else 0,
        _size(config, "shared_expert_intermediate_size") if kind == "qwen2_moe" else 0, kind == "mixtral",
        kind in ("mixtral", "qwen3_moe"),
    )  # fmt: skip


def _window(kind: str, config: Mapping[str, Any], layers: int) -> tuple[int | None, tuple[bool, ...]]:
    """How far layers look back, and which of them."""
    if kind in ("mistral", "mixtral", "phi3"):
        return _size(config, "sliding_window", 0) or None, ()
    if kind in ("gemma2", "gemma3_text"):
        window = _size(config, "sliding_window", 4096)
        types = config.get("layer_types")
        if isinstance(types, list) and len(types) == layers:
            return window, tuple(one == "sliding_attention" for one in types)
        every = 2 if kind == "gemma2" else _size(config, "sliding_window_pattern", 6)
        return window, tuple(bool((place + 1) % every) for place in range(layers))
    if config.get("use_sliding_window") is True:
        raise Undecided("which layers of this model look back a limited way")
    return None, ()


def _size(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = config.get(key)
    if (value is None or value == default) and default is not None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**32:
        raise Undecided(f"{key} of config.json")
    return value
