"""Which tensors of a checkpoint come to lie in memory: not all that is in the files is loaded, and tied ones lie there once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qvl_preflight.memory.bitsandbytes import HEADS, is_description

if TYPE_CHECKING:
    from qvl_preflight.memory.loader import Loader
    from qvl_preflight.plan import Quantization
    from qvl_preflight.safetensors import Tensor

EMBEDDINGS = re.compile(r"(^|\.)(wte|wpe|shared|relative_attention_bias|[a-z_]*embed[a-z_]*)(\.|$)")
_QUERIES = ("q_proj", "k_proj", "v_proj")
# Families whose linear layers have no bias but these, unless a setting asks for one. AutoGPTQ writes one of zeros for each layer all the same.
_BIASES: dict[str, tuple[str, ...]] = {
    "llama": (), "mistral": (), "mixtral": (), "qwen2": _QUERIES, "qwen2_moe": _QUERIES, "qwen3": (), "qwen3_moe": (), "gemma": (), "gemma2": (), "phi3": (),
}  # fmt: skip


def loaded(
    config: Mapping[str, Any], tensors: tuple[Tensor, ...], quantization: Quantization | None, loader: Loader
) -> Iterator[Tensor]:
    """The tensors that are memory of their own."""
    layers = {tensor.name.removesuffix(".qweight") for tensor in tensors if tensor.name.endswith(".qweight")}
    stored = quantization is not None and quantization.pre_quantized
    for tensor in once(config, tensors, tied=loader.tied):
        module, _, last = tensor.name.rpartition(".")
        if loader.strays and re.sub(r"\.\d+\.", ".*.", tensor.name) in loader.strays:
            continue
        if last == "bias" and module in layers and not loader.always_biased and _without_bias(config, module):
            continue
        if stored and is_description(tensor.name):
            continue
        yield tensor


def once(config: Mapping[str, Any], tensors: tuple[Tensor, ...], *, tied: bool = False) -> Iterator[Tensor]:
    """The tensors without an output layer that is tied to the input embedding: it is written by some, and is no memory of its own."""
    tied = _tied(config, tied)
    embeds = any(EMBEDDINGS.search(tensor.name) for tensor in tensors)
    for tensor in tensors:
        if not (tied and embeds and tensor.name.rpartition(".")[0].rpartition(".")[2] in HEADS):
            yield tensor


def biases_made(tensors: tuple[Tensor, ...], loader: Loader) -> dict[str, int]:
    """Layer → values of a bias that it has in memory, and not in the files."""
    if not loader.always_biased:
        return {}
    have = {tensor.name for tensor in tensors}
    return {
        tensor.name.removesuffix(".qweight"): tensor.shape[1]
        for tensor in tensors
        if tensor.name.endswith(".qweight") and len(tensor.shape) == 2 and tensor.name.replace(".qweight", ".bias") not in have
    }


def _tied(config: Mapping[str, Any], by_default: bool) -> bool:
    """Nested configurations of a model with several towers say it each for itself; where none does, it is as the class has it."""
    text = config.get("text_config")
    said = config.get("tie_word_embeddings", text.get("tie_word_embeddings") if isinstance(text, Mapping) else None)
    return by_default if said is None else said is True


def _without_bias(config: Mapping[str, Any], module: str) -> bool:
    """Is it known that the class gives this layer none?"""
    named = _BIASES.get(str(config.get("model_type")))
    if named is None or config.get("attention_bias") or config.get("mlp_bias"):
        return False
    return module.rpartition(".")[2] not in named
