"""The bytes of a model's weights in memory: every tensor of the checkpoint, in the layout that the call gives it.

Layouts: bitsandbytes 0.41 to 0.50 functional.py quantize_4bit, nn/modules.py Linear8bitLt; transformers 4.30 to 5.23 integrations/bitsandbytes.py
(get_keys_to_not_convert). Held against what torch.cuda.memory_allocated showed on an H100 (tests/memory).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qvl_preflight.unknown import Undecided, Unknown

if TYPE_CHECKING:
    from qvl_preflight.checkpoint import Checkpoint
    from qvl_preflight.plan import Quantization
    from qvl_preflight.safetensors import Tensor

WIDTHS = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}
FLOATS = ("F64", "F32", "F16", "BF16")
_BLOCK = 64  # weights that share one scale: bitsandbytes' default, which transformers leaves alone
_NESTED = 256  # scales that share one, with double quantisation
_CODES = {4: 16 * 4, 8: 256 * 4}  # the tables of values, float32, one for each layer (and one for its scales)
_EMBEDDINGS = re.compile(r"(^|\.)(wte|wpe|shared|[a-z_]*embed[a-z_]*)(\.|$)")
_HEADS = ("lm_head", "embed_out", "output")
# Methods whose weights lie in memory as they lie in the file, once a float is converted. Others are worked out, or not known.
_AS_STORED = ("gptq", "awq", "fp8", "compressed-tensors", "mxfp4", "fbgemm_fp8", "aqlm", "spqr", "vptq", "bitnet")


@dataclass(frozen=True)
class Stored:
    """One tensor as it will lie in memory. ``extra_bytes``: scales and tables that its quantisation adds."""

    name: str
    count: int  # values
    dtype: str
    weight_bytes: int
    extra_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """With what belongs to it."""
        return self.weight_bytes + self.extra_bytes


def in_memory(checkpoint: Checkpoint, dtype: str | Unknown, quantization: Quantization | Unknown | None) -> tuple[Stored, ...]:
    """Every tensor of the checkpoint as the call loads it. Raises Undecided where tensors, dtype or layout are not known."""
    weights = checkpoint.weights
    for value in (weights, dtype, quantization):
        if isinstance(value, Unknown):
            raise Undecided(value.reason)
    assert not isinstance(weights, Unknown)
    assert isinstance(dtype, str)
    assert not isinstance(quantization, Unknown)
    return tuple(_stored(tensor, dtype, quantization) for tensor in once(checkpoint.config, weights.tensors))


def once(config: Mapping[str, Any], tensors: tuple[Tensor, ...]) -> Iterator[Tensor]:
    """The tensors without an output layer that is tied to the input embedding: it is written by some, and is no memory of its own."""
    tied = _tied(config)
    embeds = any(_EMBEDDINGS.search(tensor.name) for tensor in tensors)
    for tensor in tensors:
        if not (tied and embeds and tensor.name.rpartition(".")[0].rpartition(".")[2] in _HEADS):
            yield tensor


def _tied(config: Mapping[str, Any]) -> bool:
    """Nested configurations of a model with several towers say it each for itself; the default is that they are tied."""
    text = config.get("text_config")
    said = config.get("tie_word_embeddings", text.get("tie_word_embeddings") if isinstance(text, Mapping) else None)
    return said is True


def _stored(tensor: Tensor, dtype: str, quantization: Quantization | None) -> Stored:
    count = tensor.count
    if quantization is not None and not quantization.pre_quantized:
        if quantization.method != "bitsandbytes":
            raise Undecided(f"the layout that {quantization.method} gives the weights")
        if is_linear(tensor) and not _left_alone(tensor.name, quantization.config):
            return _bitsandbytes(tensor, count, quantization)
    elif quantization is not None and quantization.method not in (*_AS_STORED, "bitsandbytes"):
        raise Undecided(f"the layout that {quantization.method} gives the weights")
    if tensor.dtype not in FLOATS or (quantization is not None and quantization.pre_quantized and _keeps(tensor, quantization)):
        return Stored(tensor.name, count, tensor.dtype, tensor.total_bytes)
    return Stored(tensor.name, count, dtype, count * WIDTHS.get(dtype, 2))


def _keeps(tensor: Tensor, quantization: Quantization) -> bool:
    """Scales that stay float32 whatever the dtype."""
    return quantization.method in ("bitsandbytes", "fp8", "fbgemm_fp8") and tensor.dtype == "F32"


def is_linear(tensor: Tensor) -> bool:
    """Is it the weight of a linear layer, by its name and shape? Convolutions have more dimensions, norms one."""
    return (
        tensor.name.endswith(".weight")
        and len(tensor.shape) == 2
        and tensor.dtype in FLOATS
        and not _EMBEDDINGS.search(tensor.name)
    )


def _left_alone(name: str, config: Mapping[str, Any]) -> bool:
    """The layers that stay as they are: the output layer, and those that llm_int8_skip_modules names instead of it or beside it."""
    named = config.get("llm_int8_skip_modules")
    kept = (*_HEADS, *map(str, named)) if isinstance(named, list) else _HEADS
    parts = name.split(".")[:-1]
    return any(key in parts or f".{'.'.join(parts)}.".find(f".{key}.") >= 0 for key in kept)


def _bitsandbytes(tensor: Tensor, count: int, quantization: Quantization) -> Stored:
    if quantization.bits == 8:
        return Stored(tensor.name, count, "int8", count, tensor.shape[0] * 4)  # one scale a row
    blocks = -(-count // _BLOCK)
    if not quantization.config.get("bnb_4bit_use_double_quant"):
        return Stored(tensor.name, count, "4bit", -(-count // 2), blocks * 4 + _CODES[4])
    nested = -(-blocks // _NESTED) * 4 + 4
    return Stored(tensor.name, count, "4bit", -(-count // 2), blocks + nested + _CODES[4] + _CODES[8])
