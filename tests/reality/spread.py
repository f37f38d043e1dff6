"""Asks a stack's own accelerate and transformers how they spread models over devices. One process for all of them.

usage: spread.py SEED NUMBER > maps.jsonl

Configurations are drawn small to medium, and built on the meta device; max_memory is drawn about their size, so that no GPU is needed.
"""

from __future__ import annotations

import json
import random
import sys
import warnings
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

import record_auto_maps as maps  # the calls are made in one way

FAMILIES = {
    "LlamaForCausalLM": "LlamaConfig", "MistralForCausalLM": "MistralConfig", "Qwen2ForCausalLM": "Qwen2Config", "Qwen3ForCausalLM": "Qwen3Config",
    "MixtralForCausalLM": "MixtralConfig", "Gemma2ForCausalLM": "Gemma2Config", "GemmaForCausalLM": "GemmaConfig", "Phi3ForCausalLM": "Phi3Config",
    "PhiForCausalLM": "PhiConfig", "GPT2LMHeadModel": "GPT2Config", "OPTForCausalLM": "OPTConfig", "T5ForConditionalGeneration": "T5Config",
}  # fmt: skip
DTYPES = ("float16", "float16", "bfloat16", "float32")


def fields(kind: str, chance: random.Random) -> dict[str, Any]:
    """A configuration of this family; sizes need not be those of any real model."""
    heads = chance.choice([2, 4, 8, 12])
    head = chance.choice([32, 64, 128])
    layers, words = chance.randint(2, 24), chance.choice([1000, 8000, 32000, 50257, 151936])
    inner, positions = chance.choice([256, 1000, 2816, 8192]), chance.choice([128, 512, 2048])
    tied = chance.random() < 0.5
    if kind == "GPT2Config":
        return {
            "n_embd": heads * head,
            "n_layer": layers,
            "n_head": heads,
            "vocab_size": words,
            "n_positions": positions,
            "tie_word_embeddings": tied,
        }
    if kind == "T5Config":
        return {"d_model": heads * head, "d_kv": head, "d_ff": inner, "num_layers": layers // 2 + 1, "num_heads": heads, "vocab_size": words, "tie_word_embeddings": True}  # fmt: skip
    found = {
        "hidden_size": heads * head, "intermediate_size": inner, "num_hidden_layers": layers, "num_attention_heads": heads, "vocab_size": words,
        "max_position_embeddings": positions, "tie_word_embeddings": tied, "pad_token_id": 0,
    }  # fmt: skip
    if kind == "OPTConfig":
        return {**found, "ffn_dim": inner, "word_embed_proj_dim": heads * head}
    found["num_key_value_heads"] = chance.choice([heads, heads // 2, 1])
    if kind in ("Qwen3Config", "Gemma2Config", "GemmaConfig"):
        found["head_dim"] = chance.choice([32, 64, 256])
    if kind == "MixtralConfig":
        found |= {"num_local_experts": chance.choice([2, 4, 8]), "num_hidden_layers": min(layers, 8)}
    return found


def budgets(chance: random.Random, total: int) -> dict[int | str, int]:
    """What the devices may hold: too little, just enough, plenty, and unlike each other."""
    gpus = chance.choice([1, 1, 2, 2, 3, 4, 8])
    each = chance.uniform(0.1, 1.4) if chance.random() < 0.5 else chance.uniform(0.7, 1.6) / gpus
    found: dict[int | str, int] = {
        gpu: int(total * each * chance.choice([1, 1, 1, chance.uniform(0.05, 1.5)])) for gpu in range(gpus)
    }
    if chance.random() < 0.1:
        found[chance.randrange(gpus)] = 0
    if chance.random() < 0.8:
        found["cpu"] = int(total * chance.choice([0.3, 1, 4]))
    return found


def drawn_layout(chance: random.Random, release: str) -> dict[str, Any] | None:
    """bitsandbytes, now and then, where this process has it and transformers makes its layers without a GPU."""
    if release < "5" or chance.random() < 0.7:
        return None
    width: dict[str, Any] = chance.choice([{"load_in_4bit": True}, {"load_in_8bit": True}])
    skipped: dict[str, Any] = chance.choice([{}, {}, {"llm_int8_skip_modules": ["lm_head", "o_proj"]}])
    return {**width, **skipped, "llm_int8_enable_fp32_cpu_offload": True}


def built(name: str, kind: str, drawn: dict[str, Any], dtype: str, layout: dict[str, Any] | None) -> tuple[Any, Any]:
    """The model on the meta device, and the quantizer that has made its layers."""
    import torch
    import transformers

    config = getattr(transformers, kind)(**drawn)
    torch.set_default_dtype(getattr(torch, dtype))
    with torch.device("meta"):
        model = getattr(transformers, name)(config)
    model.tie_weights()
    quantizer = None
    if layout is not None:
        from transformers.quantizers.auto import AutoHfQuantizer

        quantizer = AutoHfQuantizer.from_config(transformers.BitsAndBytesConfig(**layout), pre_quantized=False)
        quantizer._process_model_before_weight_loading(model, device_map=None)  # biases come in the default dtype
    torch.set_default_dtype(torch.float32)
    return model, quantizer


def stored(model: Any, experts: int) -> list[list[Any]]:
    """Names and shapes as files have them: one tensor for each expert."""
    found: list[list[Any]] = []
    for name, tensor in model.named_parameters():
        if ".experts." in name and len(tensor.shape) == 3:
            block, _, part = name.rpartition(".experts.")
            rows = tensor.shape[1] // 2 if part == "gate_up_proj" else tensor.shape[1]
            halves = ("w1", "w3") if part == "gate_up_proj" else ("w2",)
            found += [
                [f"{block}.experts.{number}.{half}.weight", [rows, tensor.shape[2]]] for number in range(experts) for half in halves
            ]
        else:
            found.append([name, list(tensor.shape)])
    return found


def main(seed: str, number: int) -> None:
    """Two budgets for each configuration."""
    import transformers

    chance = random.Random(seed)
    known = {name: kind for name, kind in FAMILIES.items() if hasattr(transformers, name)}
    for _ in range(number):
        name = chance.choice(sorted(known))
        dtype, drawn, layout = chance.choice(DTYPES), fields(known[name], chance), drawn_layout(chance, transformers.__version__)
        plain, _ = built(name, known[name], drawn, dtype, None)
        model, quantizer = built(name, known[name], drawn, dtype, layout) if layout else (plain, None)
        model_line = {
            "class": name, "dtype": dtype, "quantization": layout, "config": json.loads(plain.config.to_json_string(use_diff=False)),
            "tensors": stored(plain, drawn.get("num_local_experts", 0)), "maps": [],
        }  # fmt: skip
        total = maps.bytes_of(plain) * (0.4 if layout else 1)
        for _ in range(2):
            limits, strategy = budgets(chance, int(total)), chance.choice(maps.STRATEGIES)
            try:
                answer: Any = maps.ask(model, strategy, dict(limits), dtype, quantizer)
            except Exception as error:
                answer = f"{type(error).__name__}: {error}"
            model_line["maps"].append([strategy, list(limits.items()), answer])
        print(json.dumps(model_line), flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    import transformers

    transformers.logging.set_verbosity_error()
    main(sys.argv[1], int(sys.argv[2]))
