"""Writes tiny checkpoints with random weights, in the form that real ones have. Run inside a stack: python tiny_models.py FOLDER."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

HIDDEN, INNER, LAYERS, VOCAB = 128, 256, 2, 320
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
    "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": VOCAB, "max_position_embeddings": 128, "tie_word_embeddings": False,
    "rms_norm_eps": 1e-6, "hidden_act": "silu", "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
LINEAR = {
    "self_attn.q_proj": (HIDDEN, HIDDEN), "self_attn.k_proj": (HIDDEN, HIDDEN), "self_attn.v_proj": (HIDDEN, HIDDEN), "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN), "mlp.down_proj": (HIDDEN, INNER),
}  # fmt: skip


def shell(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Everything but the linear layers."""
    tensors = {
        "model.embed_tokens.weight": torch.randn(VOCAB, HIDDEN) * 0.02,
        "model.norm.weight": torch.ones(HIDDEN),
        "lm_head.weight": torch.randn(VOCAB, HIDDEN) * 0.02,
    }
    for layer in range(LAYERS):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{layer}.{norm}.weight"] = torch.ones(HIDDEN)
    return {name: tensor.to(dtype) for name, tensor in tensors.items()}


def gptq_layer(name: str, out: int, inp: int, bits: int, group: int, act_order: bool) -> dict[str, torch.Tensor]:
    """One layer as AutoGPTQ writes it: random weights, symmetric zeros, small scales."""
    pack, size = 32 // bits, inp if group == -1 else group
    zero = sum((2 ** (bits - 1) - 1) << (bits * place) for place in range(pack))
    index = torch.arange(inp) // size
    return {
        f"{name}.qweight": torch.randint(-(2**31), 2**31 - 1, (inp // pack, out), dtype=torch.int32),
        f"{name}.qzeros": torch.full((inp // size, out // pack), zero - 2**32 if zero >= 2**31 else zero, dtype=torch.int32),
        f"{name}.scales": (torch.rand(inp // size, out) * 0.01 + 0.001).half(),
        f"{name}.g_idx": (index[torch.randperm(inp)] if act_order else index).int(),
        f"{name}.bias": torch.zeros(out, dtype=torch.float16),
    }


def write(folder: Path, tensors: dict[str, torch.Tensor], dtype: str, quantization: dict[str, Any] | None = None) -> None:
    """One checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {**CONFIG, "torch_dtype": dtype, **({"quantization_config": quantization} if quantization else {})}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()},
        str(folder / "model.safetensors"),
        metadata={"format": "pt"},
    )


def main(root: Path) -> None:
    """All of them."""
    torch.manual_seed(0)
    for name, dtype in (("plain-bf16", torch.bfloat16), ("plain-fp16", torch.float16)):
        linear = {
            f"model.layers.{n}.{part}.weight": (torch.randn(shape) * 0.02).to(dtype)
            for n in range(LAYERS)
            for part, shape in LINEAR.items()
        }
        write(root / name, shell(dtype) | linear, str(dtype).removeprefix("torch."))
    for name, bits, group, act_order in (
        ("gptq-int4", 4, 128, False), ("gptq-int8", 8, 128, False), ("gptq-int4-desc", 4, 128, True), ("gptq-int4-g-1", 4, -1, False), ("gptq-int4-g32", 4, 32, False),
    ):  # fmt: skip
        tensors = shell(torch.float16)
        for n in range(LAYERS):
            for part, (out, inp) in LINEAR.items():
                tensors |= gptq_layer(f"model.layers.{n}.{part}", out, inp, bits, group, act_order)
        write(
            root / name,
            tensors,
            "float16",
            {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": act_order, "sym": True},
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
