"""What an H100 showed for loads and steps of one model: torch 2.11, transformers 5.17, peft 0.21, bitsandbytes 0.50, bfloat16 weights."""

from __future__ import annotations

from typing import Any

from qvl_preflight.checkpoint import Checkpoint
from qvl_preflight.safetensors import Tensor
from qvl_preflight.testing.checkpoints import described

Case = tuple[str, str, int, int, bool, str, int, int]
# quantisation, action, batch, tokens, gradient checkpointing, attention, allocated after the load, peak of the step (its second one, where it trains)
LLAMA: tuple[Case, ...] = (
    ("none", "forward", 1, 2048, False, "sdpa", 2200097792, 2374177792),
    ("none", "generate", 4, 1024, False, "sdpa", 2200097792, 2532629504),
    ("none", "lora", 1, 512, False, "sdpa", 2200097792, 3729203200),
    ("none", "lora", 1, 2048, True, "sdpa", 2200097792, 3406919680),
    ("none", "lora", 4, 1024, True, "sdpa", 2200097792, 4394432512),
    ("none", "lora", 2, 1024, False, "sdpa", 2200097792, 7537356800),
    ("none", "lora", 1, 2048, True, "eager", 2200097792, 4837292032),
    ("nf4", "forward", 1, 2048, False, "sdpa", 827328512, 1001408512),
    ("nf4", "generate", 4, 1024, False, "sdpa", 827328512, 1160908800),
    ("nf4", "lora", 1, 512, False, "sdpa", 827328512, 3114345472),
    ("nf4", "lora", 1, 2048, True, "sdpa", 827328512, 2612624384),
    ("nf4", "lora", 4, 1024, True, "sdpa", 827328512, 3784424448),
    ("nf4", "lora", 2, 1024, False, "sdpa", 827328512, 7897281536),
    ("nf4 double", "forward", 1, 2048, False, "sdpa", 782419968, 956499968),
    ("nf4 double", "lora", 1, 2048, True, "sdpa", 782419968, 2567715840),
    ("int8", "forward", 1, 2048, False, "sdpa", 1239081984, 1427412992),
    ("int8", "generate", 4, 1024, False, "sdpa", 1239081984, 1693411328),
    ("int8", "lora", 1, 512, False, "sdpa", 1239081984, 4503271936),
    ("int8", "lora", 1, 2048, True, "sdpa", 1239081984, 3024449024),
    ("int8", "lora", 4, 1024, True, "sdpa", 1239081984, 4196329472),
    ("int8", "lora", 2, 1024, False, "sdpa", 1239081984, 12033965056),
)
SETTINGS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "nf4 double": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "int8": {"load_in_8bit": True},
}
CONFIG: dict[str, Any] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22,
    "num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 32000, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}  # fmt: skip


def decoder(**changes: Any) -> Checkpoint:
    """The recorded model, or one with other sizes."""
    config = {**CONFIG, **changes}
    hidden, inner, words = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    keys = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    found = [_tensor("model.embed_tokens", words, hidden), _tensor("model.norm", hidden), _tensor("lm_head", words, hidden)]
    for number in range(config["num_hidden_layers"]):
        at = f"model.layers.{number}."
        found += [
            _tensor(f"{at}self_attn.{name}_proj", rows, hidden)
            for name, rows in zip("qkvo", (hidden, keys, keys, hidden), strict=True)
        ]
        found += [
            _tensor(f"{at}mlp.gate_proj", inner, hidden),
            _tensor(f"{at}mlp.up_proj", inner, hidden),
            _tensor(f"{at}mlp.down_proj", hidden, inner),
        ]
        found += [_tensor(f"{at}{name}_layernorm", hidden) for name in ("input", "post_attention")]
    return described(tuple(found), **config)


def _tensor(name: str, *shape: int) -> Tensor:
    count = 1
    for size in shape:
        count *= size
    return Tensor(f"{name}.weight", "BF16", shape, count * 2)
