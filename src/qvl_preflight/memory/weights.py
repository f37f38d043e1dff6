"""The bytes of a model's weights in memory: every tensor of the checkpoint, in the layout that the call gives it.

Held against real loads on a CPU, to the byte (tests/reality/test_weights.py), and against torch.cuda.memory_allocated on an H100 (tests/memory).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvl_preflight.memory import bitsandbytes
from qvl_preflight.memory.loaded import EMBEDDINGS, biases_made, loaded
from qvl_preflight.memory.loader import NEWEST, Loader
from qvl_preflight.unknown import Undecided, Unknown

if TYPE_CHECKING:
    from qvl_preflight.checkpoint import Checkpoint
    from qvl_preflight.plan import Quantization
    from qvl_preflight.safetensors import Tensor

WIDTHS = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}
FLOATS = ("F64", "F32", "F16", "BF16")
_EIGHT_BITS = ("F8_E4M3", "F8_E5M2")
_SCALES = ("weight_scale", "weight_scale_inv", "input_scale", "activation_scale")
_CONV1D = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")
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


def in_memory(
    checkpoint: Checkpoint, dtype: str | Unknown, quantization: Quantization | Unknown | None, loader: Loader = NEWEST
) -> tuple[Stored, ...]:
    """Every tensor of the checkpoint as the call loads it. Raises Undecided where tensors, dtype or layout are not known."""
    weights = checkpoint.weights
    for value in (weights, dtype, quantization):
        if isinstance(value, Unknown):
            raise Undecided(value.reason)
    assert not isinstance(weights, Unknown)
    assert isinstance(dtype, str)
    assert not isinstance(quantization, Unknown)
    return tuple(_all(checkpoint.config, weights.tensors, dtype, quantization, loader))


def _all(
    config: Mapping[str, object], tensors: tuple[Tensor, ...], dtype: str, quantization: Quantization | None, loader: Loader
) -> Iterator[Stored]:
    layout = _Layout(config, {tensor.name for tensor in tensors}, dtype, quantization, loader)
    for tensor in loaded(config, tensors, quantization, loader):
        if not layout.is_dropped(tensor):
            yield layout.stored(tensor)
    width = WIDTHS.get(dtype, 2)
    for module, count in biases_made(tensors, loader).items():
        yield Stored(f"{module}.bias", count, dtype, count * width)


@dataclass(frozen=True)
class _Layout:
    """What a call makes of each tensor."""

    config: Mapping[str, object]
    names: set[str]
    dtype: str
    quantization: Quantization | None
    loader: Loader

    def is_dropped(self, tensor: Tensor) -> bool:
        """The scales of fp8 weights that are turned back, or taken for plain ones by a release that knows no fp8."""
        return (self._turned_back or self.quantization is None) and tensor.name.rpartition(".")[2] in _SCALES

    def stored(self, tensor: Tensor) -> Stored:
        """Raises Undecided for a method whose layout is not known."""
        how = self.quantization
        if how is not None and not how.pre_quantized:
            if how.method != "bitsandbytes":
                raise Undecided(f"the layout that {how.method} gives the weights")
            if is_linear(tensor) and not self._stays(tensor, how):
                return _bitsandbytes(tensor, how, self.config.get("model_type"))
        elif how is not None and how.method not in (*_AS_STORED, "bitsandbytes"):
            raise Undecided(f"the layout that {how.method} gives the weights")
        tables = self.loader.table_bytes if tensor.name.endswith(".qweight") else 0
        floating = tensor.dtype in FLOATS or (tensor.dtype in _EIGHT_BITS and (how is None or self._turned_back))
        if not floating or (how is not None and how.pre_quantized and self._keeps(tensor, how)):
            offset = bitsandbytes.OFFSET if tensor.name.endswith(".weight.nested_absmax") else 0
            return Stored(tensor.name, tensor.count, tensor.dtype, tensor.total_bytes, tables + offset)
        dtype = "float16" if self._has_half_scales(tensor, how) else "float32" if self._is_kept(tensor, how) else self.dtype
        return Stored(tensor.name, tensor.count, dtype, tensor.count * WIDTHS.get(dtype, 2))

    @property
    def _turned_back(self) -> bool:
        return self.loader.dequantises and self.quantization is not None and self.quantization.method == "fp8"

    def _has_half_scales(self, tensor: Tensor, how: Quantization | None) -> bool:
        """gptqmodel's layers have them in float16 (nn_modules/qlinear/__init__.py); transformers 4 casts them, 5 takes the layer's dtype."""
        of_kernel = how is not None and how.method in ("gptq", "awq") and tensor.name.endswith(".scales")
        return of_kernel and self.loader.transformers >= (5,)

    def _is_kept(self, tensor: Tensor, how: Quantization | None) -> bool:
        """In float32: beside float16 always, beside bfloat16 up to transformers 4 where bitsandbytes quantises (modeling_utils.py, run on 4.57 and 5.23)."""
        quantised = how is not None and how.method == "bitsandbytes" and self.loader.transformers < (5,)
        narrow = self.dtype == "float16" or (self.dtype == "bfloat16" and quantised)
        kept = bitsandbytes.KEPT_IN_FLOAT32.get(str(self.config.get("model_type")))
        return narrow and kept is not None and kept in tensor.name.split(".")

    def _stays(self, tensor: Tensor, how: Quantization) -> bool:
        return bitsandbytes.keeps_full_weights(how.config) or bitsandbytes.left_alone(
            tensor.name, how.config, self.loader, self.config.get("model_type")
        )

    def _keeps(self, tensor: Tensor, how: Quantization) -> bool:
        """What keeps its dtype whatever the call says. Where stored weights are converted, 5.23 reads every weight as it is stored (get_new_dtype)."""
        release = self.loader.transformers
        as_stored = release >= (5, 23) and tensor.name.endswith(".weight")
        if how.method in ("fp8", "fbgemm_fp8"):
            return as_stored and tensor.dtype in FLOATS if self._turned_back else tensor.dtype == "F32"
        if how.method != "bitsandbytes":
            return False
        quantised = f"{tensor.name}.absmax" in self.names
        return (quantised and release >= (5,)) or bitsandbytes.is_state(tensor.name) or as_stored


def is_linear(tensor: Tensor) -> bool:
    """Is it the weight of a linear layer, by its name and shape? Convolutions have more dimensions, norms one."""
    return (
        tensor.name.endswith(".weight") and len(tensor.shape) == 2 and tensor.dtype in FLOATS and not EMBEDDINGS.search(tensor.name)
    )


def _is_transposed(name: str, model_type: object) -> bool:
    """GPT-2's layers (pytorch_utils.py Conv1D) have inputs before outputs."""
    return model_type in _CONV1D and name.removesuffix(".weight").rpartition(".")[2] in ("c_attn", "q_attn", "c_proj", "c_fc")


def _bitsandbytes(tensor: Tensor, how: Quantization, model_type: object) -> Stored:
    count, bits = tensor.count, how.bits
    double = bool(how.config.get("bnb_4bit_use_double_quant"))
    rows = tensor.shape[1] if _is_transposed(tensor.name, model_type) else tensor.shape[0]
    extra = bitsandbytes.extra_bytes(count, rows, bits, double=double)
    return Stored(tensor.name, count, "int8" if bits == 8 else "4bit", count if bits == 8 else -(-count // 2), extra)
