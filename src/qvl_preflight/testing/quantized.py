"""Quantised checkpoints by name: one decoder layer each, with the settings and the tensors that their method writes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from qvl_preflight.testing.files import Tensors, write_checkpoint

_HIDDEN, _INNER, _VOCAB = 1024, 2816, 32000
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": _HIDDEN, "intermediate_size": _INNER, "num_attention_heads": 8,
    "num_key_value_heads": 8, "vocab_size": _VOCAB, "num_hidden_layers": 1, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip
Linear = Callable[[str, int, int], Tensors]  # name, outputs, inputs


def plain(name: str, out: int, inp: int) -> Tensors:
    """As it was trained."""
    return {f"{name}.weight": ("BF16", (out, inp))}


def fp8(name: str, out: int, inp: int) -> Tensors:
    """FP8 in blocks of 128 by 128, as DeepSeek and Qwen publish it."""
    return {f"{name}.weight": ("F8_E4M3", (out, inp)), f"{name}.weight_scale_inv": ("F32", (out // 128, inp // 128))}


def awq(name: str, out: int, inp: int) -> Tensors:
    """AWQ of autoawq, packed along the outputs."""
    return {
        f"{name}.qweight": ("I32", (inp, out // 8)),
        f"{name}.qzeros": ("I32", (inp // 128, out // 8)),
        f"{name}.scales": ("F16", (inp // 128, out)),
    }


def bnb(name: str, out: int, inp: int) -> Tensors:
    """4-bit bitsandbytes, two weights a byte."""
    return {
        f"{name}.weight": ("U8", (out * inp // 2, 1)),
        f"{name}.weight.absmax": ("F32", (out * inp // 64,)),
        f"{name}.weight.quant_map": ("F32", (16,)),
        f"{name}.weight.quant_state.bitsandbytes__nf4": ("U8", (80,)),
    }


def _tensors(linear: Linear) -> Tensors:
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {"model.embed_tokens.weight": ("BF16", (_VOCAB, _HIDDEN))}
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        tensors |= linear(f"model.layers.0.self_attn.{name}", _HIDDEN, _HIDDEN)
    for name in ("gate_proj", "up_proj"):
        tensors |= linear(f"model.layers.0.mlp.{name}", _INNER, _HIDDEN)
    tensors |= linear("model.layers.0.mlp.down_proj", _HIDDEN, _INNER)
    norms = ("model.layers.0.input_layernorm", "model.layers.0.post_attention_layernorm", "model.norm")
    return tensors | {f"{norm}.weight": ("BF16", (_HIDDEN,)) for norm in norms} | {"lm_head.weight": ("BF16", (_VOCAB, _HIDDEN))}


def write_quantized(folder: str, layers: int, *, settings: Mapping[str, Any], linear: Linear, **config: Any) -> None:
    """One such checkpoint. Its layers are one, whatever is asked."""
    write_checkpoint(folder, {**CONFIG, **config, "quantization_config": settings}, [_tensors(linear)])


_FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128], "fmt": "e4m3"}
_AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
_BNB = {
    "quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": "bfloat16",
    "bnb_4bit_use_double_quant": False,
}  # fmt: skip
QUANTIZED: Mapping[str, Callable[[str, int], None]] = {
    "example/awq": partial(write_quantized, settings=_AWQ, linear=awq, torch_dtype="float16"),
    "example/bnb-4bit": partial(write_quantized, settings=_BNB, linear=bnb),
    "example/fp8": partial(write_quantized, settings=_FP8, linear=fp8),
    "example/mxfp4": partial(write_quantized, settings={"quant_method": "mxfp4"}, linear=plain),
    "example/hqq": partial(write_quantized, settings={"quant_method": "hqq", "quant_config": {}}, linear=plain),
    "example/eetq": partial(write_quantized, settings={"quant_method": "eetq", "weights": "int8"}, linear=plain),
    "example/fbgemm-fp8": partial(write_quantized, settings={"quant_method": "fbgemm_fp8"}, linear=plain),
    "broken/method-of-another-tool": partial(
        write_quantized, settings={"quant_method": "modelopt", "quant_algo": "FP8"}, linear=fp8
    ),
    "broken/method-misspelt": partial(write_quantized, settings={**_AWQ, "quant_method": "AWQ"}, linear=awq),
}
