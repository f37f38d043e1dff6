"""For tests of scripts and rules: machines by name, stacks by name, and checkpoints with true headers and empty bodies.

facts = machine("a100", stack="legacy")
folder = checkpoint("Qwen/Qwen2-7B-Instruct-GPTQ-Int4", tmp_path)
report = qvl_preflight.check(folder, facts=facts, device_map="auto")
"""

from __future__ import annotations

import copy
import json
import math
import os
from collections.abc import Mapping
from typing import Any

from qvl_preflight.exceptions import InputError
from qvl_preflight.facts import SCHEMA, Facts
from qvl_preflight.testing_hardware import A100, ALONE, HOST, TROUBLE, TWO

_H100 = {
    "index": 0,
    "uuid": "GPU-00000000-0000-0000-0000-00000000f100",
    "name": "NVIDIA H100 80GB HBM3",
    "capability": [9, 0],
    "total_bytes": 85017493504,
    "free_bytes": 84400000000,
    "mig": False,
}
_RANK_1 = {**ALONE, "launcher": "torchrun", "world_size": 2, "rank": 1, "local_rank": 1, "local_world_size": 2}
_TOOLS = {"nvcc": "13.0", "cxx": True, "ninja": True, "network": True, "cutlass": False}
_BASE: dict[str, Any] = {
    "schema": SCHEMA, "packages_complete": True, "gpus": [A100], "env": {}, "launch": ALONE, "build": _TOOLS,
    "host": HOST,
}  # fmt: skip

HARDWARE: Mapping[str, dict[str, Any]] = {
    "a100": {},
    "crowded": {"gpus": [{**A100, "free_bytes": 5 * 2**29}]},
    "two-gpus": {"gpus": TWO},
    "h100": {"gpus": [_H100]},
    "h100-offline": {"gpus": [_H100], "build": {**_TOOLS, "network": False}},
    "no-gpu": {"gpus": [], "driver": None, "build": {**_TOOLS, "nvcc": False}},
    "hidden": {"env": {"CUDA_VISIBLE_DEVICES": "1"}},
    "repeated": {"env": {"CUDA_VISIBLE_DEVICES": "0,0"}},
    "rank-1-of-2": {
        "gpus": TWO,
        "launch": _RANK_1,
        "env": {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"},
    },
    "zero3": {"gpus": TWO, "launch": {**_RANK_1, "launcher": "deepspeed", "deepspeed_zero": 3}},
    "a100-cpu-torch": {"torch": {"cuda_build": False, "hip_build": False}},
    "a100-old-driver": {"driver": {"version": "470.57.02", "cuda": "11.4"}},
    **TROUBLE,
}

_TODAY = {
    "torch": "2.14.1",
    "transformers": "5.23.0",
    "accelerate": "1.15.0",
    "optimum": "2.3.0",
    "gptqmodel": "7.7.0",
    "peft": "0.21.2",
    "triton": "3.8.0",
}
_MIDDLE = {
    "torch": "2.4.1",
    "transformers": "4.45.2",
    "accelerate": "1.0.1",
    "bitsandbytes": "0.44.1",
    "peft": "0.13.2",
    "triton": "3.0.0",
}
_LEGACY = {
    "torch": "2.2.2",
    "transformers": "4.37.2",
    "accelerate": "0.26.1",
    "optimum": "1.16.2",
    "auto-gptq": "0.7.1",
    "peft": "0.8.2",
    "triton": "2.2.0",
}
_SEED = {
    "torch": "2.1.2",
    "transformers": "4.32.0",
    "accelerate": "0.23.0",
    "optimum": "1.13.2",
    "auto-gptq": "0.7.1",
    "peft": "0.8.2",
    "triton": "2.1.0",
}
_KERNELS = {"exllama_kernels": True, "exllamav2_kernels": True, "autogptq_cuda_64": False, "autogptq_cuda_256": False}
_NEW: dict[str, Any] = {"python": "3.12.3", "cuda": "13.0", "driver": {"version": "580.95.05", "cuda": "13.0"}, "extensions": {}}
_OLD: dict[str, Any] = {
    "python": "3.10.13",
    "cuda": "12.1",
    "driver": {"version": "535.104.05", "cuda": "12.2"},
    "extensions": _KERNELS,
}

STACKS: Mapping[str, dict[str, Any]] = {
    "today": {**_NEW, "packages": _TODAY},
    "today-bnb": {**_NEW, "packages": {**_TODAY, "bitsandbytes": "0.50.2"}},
    "today-without-gptqmodel": {**_NEW, "packages": {name: version for name, version in _TODAY.items() if name != "gptqmodel"}},
    "today-without-accelerate": {**_NEW, "packages": {name: version for name, version in _TODAY.items() if name != "accelerate"}},
    "today-old-gptqmodel": {**_NEW, "packages": {**_TODAY, "gptqmodel": "5.8.0"}},
    "middle-bnb": {**_OLD, "packages": _MIDDLE},
    "legacy": {**_OLD, "packages": _LEGACY},
    "seed": {**_OLD, "packages": _SEED},
    "seed-optimum-1.16": {**_OLD, "packages": {**_SEED, "optimum": "1.16.2"}},
}


def machine(hardware: str = "a100", stack: str = "today", **sections: Any) -> Facts:
    """The facts of a named machine with a named stack; ``sections`` replace whole sections of the JSON. Raises InputError."""
    if hardware not in HARDWARE or stack not in STACKS:
        raise InputError(
            f"no machine {hardware!r} with the stack {stack!r}; there are {', '.join(HARDWARE)} and {', '.join(STACKS)}"
        )
    installed = STACKS[stack]
    raw = {
        **copy.deepcopy(_BASE),
        "python": {"version": installed["python"], "implementation": "CPython", "platform": "linux-x86_64"},
        "packages": installed["packages"],
        "torch": {"cuda_build": installed["cuda"], "hip_build": False},
        "driver": installed["driver"],
        "extensions": installed["extensions"],
        **copy.deepcopy(HARDWARE[hardware]),
        **sections,
    }
    return Facts.from_dict(raw)


# ── checkpoints ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────

_WIDTHS = {"F32": 4, "F16": 2, "BF16": 2, "I32": 4, "I8": 1, "U8": 1}
Tensors = Mapping[str, tuple[str, tuple[int, ...]]]  # name → safetensors dtype, shape


def write_safetensors(path: str, tensors: Tensors) -> int:
    """A safetensors file with a true header and a sparse body: its full size on paper, next to nothing on disk. Returns its data's bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape) in tensors.items():
        size = _WIDTHS[dtype] * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    blob = json.dumps(header).encode()
    blob += b" " * (-len(blob) % 8)
    with open(path, "wb") as file:
        file.write(len(blob).to_bytes(8, "little") + blob)
        file.truncate(8 + len(blob) + end)
    return end


def write_checkpoint(folder: str, config: Mapping[str, Any], shards: list[Tensors]) -> int:
    """A checkpoint of one or several shards, with its config.json and index. Returns the bytes of its weights."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=1)
    if len(shards) == 1:
        return write_safetensors(os.path.join(folder, "model.safetensors"), shards[0])
    total, weight_map = 0, dict[str, str]()
    for number, tensors in enumerate(shards, 1):
        name = f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        total += write_safetensors(os.path.join(folder, name), tensors)
        weight_map |= dict.fromkeys(tensors, name)
    with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="utf-8") as file:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, file)
    return total


def gptq_linear(
    name: str, out_features: int, in_features: int, *, bits: int = 4, group_size: int = 128, bias: bool = False
) -> Tensors:
    """The tensors of one GPTQ layer as AutoGPTQ writes them: packed along the inputs, zeros packed along the outputs."""
    groups = 1 if group_size == -1 else in_features // group_size
    packed = 32 // bits
    return {
        f"{name}.qweight": ("I32", (in_features // packed, out_features)),
        f"{name}.qzeros": ("I32", (groups, out_features // packed)),
        f"{name}.scales": ("F16", (groups, out_features)),
        f"{name}.g_idx": ("I32", (in_features,)),
        **({f"{name}.bias": ("F16", (out_features,))} if bias else {}),
    }


def checkpoint(name: str, root: str | os.PathLike[str], *, layers: int = 2) -> str:
    """A named checkpoint under ``root``, true to the real one but for its number of layers. Raises InputError.

    ``Qwen/Qwen2-7B-Instruct``, ``Qwen/Qwen2-7B-Instruct-GPTQ-Int4``, ``Qwen/Qwen-VL-Chat`` (its
    embeddings alone), ``Qwen/Qwen-VL-Chat-Int4`` (text tower), ``broken/missing-shard``.
    """
    folder = os.path.join(os.fspath(root), name)
    quantized = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
    if name in ("Qwen/Qwen2-7B-Instruct", "broken/missing-shard"):
        tensors = _qwen2(layers, quantized=False)
        write_checkpoint(folder, _QWEN2 | {"num_hidden_layers": layers}, [tensors])
        if name.startswith("broken"):
            os.rename(os.path.join(folder, "model.safetensors"), os.path.join(folder, "model-00001-of-00002.safetensors"))
            with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="utf-8") as file:
                json.dump(
                    {
                        "weight_map": {
                            **dict.fromkeys(tensors, "model-00001-of-00002.safetensors"),
                            "lm_head.bias": "model-00002-of-00002.safetensors",
                        }
                    },
                    file,
                )
    elif name == "Qwen/Qwen2-7B-Instruct-GPTQ-Int4":
        config = _QWEN2 | {"num_hidden_layers": layers, "torch_dtype": "float16", "quantization_config": quantized}
        write_checkpoint(folder, config, [_qwen2(layers, quantized=True)])
    elif name == "Qwen/Qwen-VL-Chat":
        config = QWEN_VL | {"num_hidden_layers": layers, "visual": {"layers": 48, "width": 1664, "image_size": 448}}
        write_checkpoint(folder, config, [{"transformer.wte.weight": ("F16", (151936, 4096))}])
    elif name == "Qwen/Qwen-VL-Chat-Int4":
        config = QWEN_VL | {"num_hidden_layers": layers, "quantization_config": quantized}
        write_checkpoint(folder, config, [_qwen_text(layers)])
    else:
        raise InputError(f"no checkpoint is called {name!r}; see qvl_preflight.testing.checkpoint")
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
    hidden, inner, kv, vocab, dtype = 3584, 18944, 512, 152064, "F16" if quantized else "BF16"
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
