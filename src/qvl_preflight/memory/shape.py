"""The sizes of a decoder that its activations follow from, out of config.json. Families whose modeling files were read; others are undecided.

transformers 5.17 models/{llama,mistral,qwen2,qwen3}: two RMSNorms a layer, a gated MLP, rotary positions; Qwen3 has norms of its own for queries and keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qvl_preflight.unknown import Undecided

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True)
class Shape:
    """A dense decoder. ``queries`` and ``keys``: values of one token in all heads of that kind."""

    layers: int
    hidden: int
    inner: int
    heads: int
    queries: int
    keys: int
    vocabulary: int
    head_norms: bool
    window: int | None  # tokens that a layer looks back, where it is limited

    @property
    def head_size(self) -> int:
        """Values of one head."""
        return self.queries // self.heads


def shape_of(config: Mapping[str, Any]) -> Shape:
    """The sizes that config.json states. Raises Undecided for another family, and for what is missing or no size."""
    kind = config.get("model_type")
    if kind not in FAMILIES:
        raise Undecided(f"how a step of {kind or 'this model'} uses memory; known are {', '.join(FAMILIES)}")
    heads, hidden = _size(config, "num_attention_heads"), _size(config, "hidden_size")
    groups = _size(config, "num_key_value_heads", heads)
    head = _size(config, "head_dim", 128 if kind == "qwen3" else hidden // heads)
    window = _size(config, "sliding_window", 0) if kind == "mistral" else 0
    if config.get("use_sliding_window") is True:
        raise Undecided("which layers of this model look back a limited way")
    return Shape(
        _size(config, "num_hidden_layers"), hidden, _size(config, "intermediate_size"), heads, heads * head, groups * head,
        _size(config, "vocab_size"), kind == "qwen3", window or None,
    )  # fmt: skip


def _size(config: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = config.get(key)
    if (value is None or value == default) and default is not None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**32:
        raise Undecided(f"{key} of config.json")
    return value
