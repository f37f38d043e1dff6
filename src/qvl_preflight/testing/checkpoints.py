"""Checkpoints by name, true to the real ones but for their number of layers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from qvl_preflight.checkpoint import Checkpoint, Weights
from qvl_preflight.exceptions import InputError
from qvl_preflight.safetensors import Tensor
from qvl_preflight.testing.caches import CACHES
from qvl_preflight.testing.files import Tensors, gptq_linear, write_checkpoint, write_torch_file
from qvl_preflight.testing.own_code import OWN_CODE
from qvl_preflight.testing.quantized import QUANTIZED


def checkpoint(name: str, root: str | os.PathLike[str], *, layers: int = 2) -> str:
    """A named checkpoint under ``root``, one of `CHECKPOINTS`. Returns its folder. Raises InputError."""
    if name not in CHECKPOINTS:
        raise InputError(f"no checkpoint is called {name!r}; there are {', '.join(CHECKPOINTS)}")
    folder = os.path.join(os.fspath(root), name)
    CHECKPOINTS[name](folder, layers)
    return folder


_QWEN2: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28,
    "num_key_value_heads": 4, "vocab_size": 152064, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip
QWEN_VL: dict[str, Any] = {
    "architectures": ["QWenLMHeadModel"], "model_type": "qwen", "hidden_size": 4096, "intermediate_size": 22016, "num_attention_heads": 32,
    "vocab_size": 151936, "torch_dtype": "float16", "tie_word_embeddings": False,
    "auto_map": {"AutoConfig": "configuration_qwen.QWenConfig", "AutoModelForCausalLM": "modeling_qwen.QWenLMHeadModel"},
}  # fmt: skip


def _qwen2(layers: int, *, quantized: bool) -> Tensors:
    return _decoder(layers, 3584, 18944, 512, 152064, quantized=quantized)


def _decoder(layers: int, hidden: int, inner: int, kv: int, vocab: int, *, quantized: bool) -> Tensors:
    dtype = "F16" if quantized else "BF16"
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {"model.embed_tokens.weight": (dtype, (vocab, hidden))}
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        for name, out, inp in (
            ("self_attn.q_proj", hidden, hidden), ("self_attn.k_proj", kv, hidden), ("self_attn.v_proj", kv, hidden), ("self_attn.o_proj", hidden, hidden),
            ("mlp.gate_proj", inner, hidden), ("mlp.up_proj", inner, hidden), ("mlp.down_proj", hidden, inner),
        ):  # fmt: skip
            tensors |= gptq_linear(prefix + name, out, inp) if quantized else {f"{prefix}{name}.weight": (dtype, (out, inp))}
        tensors |= {f"{prefix}{norm}.weight": (dtype, (hidden,)) for norm in ("input_layernorm", "post_attention_layernorm")}
    return tensors | {"model.norm.weight": (dtype, (hidden,)), "lm_head.weight": (dtype, (vocab, hidden))}


def _qwen_text(layers: int) -> Tensors:
    hidden, inner, vocab = 4096, 11008, 151936
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {"transformer.wte.weight": ("F16", (vocab, hidden))}
    for layer in range(layers):
        tensors |= qwen_block(f"transformer.h.{layer}.", hidden, inner)
    return tensors | {"transformer.ln_f.weight": ("F16", (hidden,)), "lm_head.weight": ("F16", (vocab, hidden))}


def qwen_block(prefix: str, hidden: int, inner: int) -> Tensors:
    """One block of Qwen's text tower in GPTQ form."""
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, out, inp in (
        ("attn.c_attn", 3 * hidden, hidden),
        ("attn.c_proj", hidden, hidden),
        ("mlp.w1", inner, hidden),
        ("mlp.w2", inner, hidden),
        ("mlp.c_proj", hidden, inner),
    ):
        tensors |= gptq_linear(prefix + name, out, inp, bias=True)
    return tensors | {f"{prefix}{norm}.weight": ("F16", (hidden,)) for norm in ("ln_1", "ln_2")}


_QUANTIZED = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}


def _qwen2_7b(folder: str, layers: int) -> None:
    write_checkpoint(folder, _QWEN2 | {"num_hidden_layers": layers}, [_qwen2(layers, quantized=False)])


def _qwen2_small(folder: str, layers: int) -> None:
    """Small enough for any GPU."""
    sizes = {
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
    }
    tensors = {
        "model.embed_tokens.weight": ("BF16", (151936, 896)), "model.layers.0.self_attn.q_proj.weight": ("BF16", (896, 896)),
        "model.layers.0.self_attn.v_proj.weight": ("BF16", (128, 896)), "model.layers.0.mlp.down_proj.weight": ("BF16", (896, 4864)),
    }  # fmt: skip
    write_checkpoint(folder, _QWEN2 | sizes | {"num_hidden_layers": 1, "tie_word_embeddings": True}, [tensors])


def _bloom(folder: str, layers: int) -> None:
    """Without an attention of PyTorch's own."""
    config = {
        "architectures": ["BloomForCausalLM"],
        "model_type": "bloom",
        "hidden_size": 1024,
        "n_layer": 1,
        "n_head": 16,
        "torch_dtype": "float16",
    }
    tensors = {
        "word_embeddings.weight": ("F16", (250880, 1024)),
        "h.0.self_attention.query_key_value.weight": ("F16", (3072, 1024)),
    }
    write_checkpoint(folder, config, [tensors])


def _missing_shard(folder: str, layers: int) -> None:
    """Its index names a second shard that is not there."""
    _qwen2_7b(folder, layers)
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    os.rename(os.path.join(folder, "model.safetensors"), os.path.join(folder, first))
    names = dict.fromkeys(_qwen2(layers, quantized=False), first)
    with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="utf-8") as file:
        json.dump({"weight_map": {**names, "lm_head.bias": second}}, file)


def _pointer(folder: str, layers: int) -> None:
    """What git clone leaves without git-lfs."""
    write_checkpoint(folder, _QWEN2 | {"num_hidden_layers": layers}, [])
    with open(os.path.join(folder, "model.safetensors"), "w", encoding="utf-8") as file:
        file.write(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 15231233024\n")


def _bin_alone(folder: str, layers: int) -> None:
    """Its weights in one .bin file."""
    write_checkpoint(folder, _QWEN2 | {"num_hidden_layers": layers}, [])
    write_torch_file(
        os.path.join(folder, "pytorch_model.bin"), {"model.norm.weight": ("BF16", (3584,)), "lm_head.weight": ("BF16", (512, 3584))}
    )


def _adapter(folder: str, layers: int) -> None:
    """An adapter of a model that lies beside it."""
    base = os.path.join(folder, "base")
    _qwen2_7b(base, layers)
    with open(os.path.join(folder, "adapter_config.json"), "w", encoding="utf-8") as file:
        json.dump({"peft_type": "LORA", "base_model_name_or_path": base, "r": 8, "target_modules": ["q_proj"]}, file)


def _tensorflow_alone(folder: str, layers: int) -> None:
    write_checkpoint(folder, _QWEN2 | {"num_hidden_layers": layers}, [])
    with open(os.path.join(folder, "tf_model.h5"), "wb") as file:
        file.write(b"\x89HDF\r\n\x1a\n")


def _qwen2_gptq(folder: str, layers: int) -> None:
    config = _QWEN2 | {"num_hidden_layers": layers, "torch_dtype": "float16", "quantization_config": _QUANTIZED}
    write_checkpoint(folder, config, [_qwen2(layers, quantized=True)])


_LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32,
    "num_key_value_heads": 32, "vocab_size": 32000, "torch_dtype": "float16", "tie_word_embeddings": False,
}  # fmt: skip


def _llama(folder: str, layers: int) -> None:
    """Of a model type that every release knows."""
    config = _LLAMA | {"num_hidden_layers": layers}
    write_checkpoint(folder, config, [_decoder(layers, 4096, 11008, 4096, 32000, quantized=False)])


def _llama_gptq(folder: str, layers: int) -> None:
    config = _LLAMA | {"num_hidden_layers": layers, "quantization_config": _QUANTIZED}
    write_checkpoint(folder, config, [_decoder(layers, 4096, 11008, 4096, 32000, quantized=True)])


def _qwen_code(folder: str) -> None:
    """The files that its config.json names, which need nothing."""
    for name, text in (("configuration_qwen", "class QWenConfig: ...\n"), ("modeling_qwen", "class QWenLMHeadModel: ...\n")):
        with open(os.path.join(folder, f"{name}.py"), "w", encoding="utf-8") as file:
            file.write(text)


def _qwen_vl(folder: str, layers: int) -> None:
    """Its embeddings alone."""
    config = QWEN_VL | {"num_hidden_layers": layers, "visual": {"layers": 48, "width": 1664, "image_size": 448}}
    write_checkpoint(folder, config, [{"transformer.wte.weight": ("F16", (151936, 4096))}])
    _qwen_code(folder)


def _qwen_vl_int4(folder: str, layers: int) -> None:
    """Its text tower."""
    write_checkpoint(folder, QWEN_VL | {"num_hidden_layers": layers, "quantization_config": _QUANTIZED}, [_qwen_text(layers)])
    _qwen_code(folder)


_OWN_CODE = """
class OwnBlock(nn.Module):
    def forward(self, hidden):
        return hidden + self.mlp(hidden)

class OwnModel(PreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.layers = nn.ModuleList([OwnBlock(config) for _ in range(config.num_hidden_layers)])
"""


def _own_code(folder: str, layers: int) -> None:
    """A model with code of its own, which does not say what must stay together."""
    auto_map = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnModel"}
    config = {
        "architectures": ["OwnModel"],
        "model_type": "own",
        "torch_dtype": "float16",
        "auto_map": auto_map,
        "num_hidden_layers": layers,
    }
    write_checkpoint(folder, config, [{f"layers.{layer}.mlp.weight": ("F16", (4096, 4096)) for layer in range(layers)}])
    with open(os.path.join(folder, "modeling_own.py"), "w", encoding="utf-8") as file:
        file.write(_OWN_CODE)


def _qwen2_vl(folder: str, layers: int) -> None:
    """Its embeddings alone."""
    config = {
        "architectures": ["Qwen2VLForConditionalGeneration"], "model_type": "qwen2_vl", "hidden_size": 1536, "num_hidden_layers": layers,
        "num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": 151936, "torch_dtype": "bfloat16", "tie_word_embeddings": True,
        "vision_config": {"depth": 32, "embed_dim": 1280, "hidden_size": 1536},
    }  # fmt: skip
    write_checkpoint(folder, config, [{"model.embed_tokens.weight": ("BF16", (151936, 1536))}])


def _qwen2_5_vl(folder: str, layers: int) -> None:
    """Both towers, whose MLPs have the same names."""
    tensors: dict[str, tuple[str, tuple[int, ...]]] = {"model.embed_tokens.weight": ("BF16", (151936, 2048))}
    for prefix, width, inner in (("visual.blocks.0.", 1280, 3420), ("model.layers.0.", 2048, 11008)):
        tensors |= {f"{prefix}mlp.{name}.weight": ("BF16", (inner, width)) for name in ("gate_proj", "up_proj")}
    tensors |= {f"model.layers.0.self_attn.{name}.weight": ("BF16", (2048, 2048)) for name in ("q_proj", "v_proj")}
    config = {"architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl", "hidden_size": 2048, "num_hidden_layers": layers,
              "torch_dtype": "bfloat16", "vision_config": {"depth": 1, "hidden_size": 1280}}  # fmt: skip
    write_checkpoint(folder, config, [tensors])


# Writes a checkpoint into a folder, with that many layers.
CHECKPOINTS: Mapping[str, Callable[[str, int], None]] = {
    "Qwen/Qwen2-0.5B-Instruct": _qwen2_small,
    "Qwen/Qwen2-7B-Instruct": _qwen2_7b,
    "Qwen/Qwen2-7B-Instruct-GPTQ-Int4": _qwen2_gptq,
    "meta-llama/Llama-2-7b-hf": _llama,
    "TheBloke/Llama-2-7B-Chat-GPTQ": _llama_gptq,
    "Qwen/Qwen2-VL-2B-Instruct": _qwen2_vl,
    "Qwen/Qwen2.5-VL-3B-Instruct": _qwen2_5_vl,
    "Qwen/Qwen-VL-Chat": _qwen_vl,
    "Qwen/Qwen-VL-Chat-Int4": _qwen_vl_int4,
    "bigscience/bloom-560m": _bloom,
    "broken/missing-shard": _missing_shard,
    **QUANTIZED,
    "broken/git-lfs-pointer": _pointer,
    "weights/bin-alone": _bin_alone,
    "weights/adapter": _adapter,
    "weights/tensorflow-alone": _tensorflow_alone,
    **CACHES,
    "example/own-code": _own_code,
    **OWN_CODE,
}


def described(tensors: tuple[Tensor, ...], **config: object) -> Checkpoint:
    """A checkpoint with these tensors, without a file."""
    found = Checkpoint("", config)
    found.__dict__["weights"] = Weights(tensors)  # what the cached property would read
    return found
