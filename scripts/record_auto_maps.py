"""Asks the installed transformers and accelerate how they would spread models over GPUs: ``python scripts/record_auto_maps.py OUT.json``.

The models are built on the meta device with sizes of real ones; max_memory is given, so no GPU is needed. `tests/stack/test_auto_map.py` holds
the project's own answer against what is recorded here.
"""

from __future__ import annotations

import json
import random
import re
import sys
import warnings
from typing import Any

LLAMA = {"hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32, "num_hidden_layers": 32, "vocab_size": 32000}
SMALL = {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "num_hidden_layers": 24,
    "vocab_size": 151936,
}
TEXT = {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_attention_heads": 16,
    "num_key_value_heads": 4,
    "num_hidden_layers": 12,
    "vocab_size": 64000,
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "LlamaForCausalLM": ("LlamaConfig", {**LLAMA, "tie_word_embeddings": False}),
    "Qwen2ForCausalLM": ("Qwen2Config", {**SMALL, "tie_word_embeddings": True}),
    "MistralForCausalLM": ("MistralConfig", {**LLAMA, "num_key_value_heads": 8, "intermediate_size": 14336, "tie_word_embeddings": False}),
    "MixtralForCausalLM": ("MixtralConfig", {**TEXT, "num_local_experts": 4, "tie_word_embeddings": False}),
    "GPT2LMHeadModel": ("GPT2Config", {"n_embd": 1600, "n_layer": 24, "n_head": 25, "tie_word_embeddings": True}),
    "GPTNeoXForCausalLM": ("GPTNeoXConfig", {"hidden_size": 2560, "num_hidden_layers": 16, "num_attention_heads": 32, "intermediate_size": 10240, "tie_word_embeddings": False}),
    "OPTForCausalLM": ("OPTConfig", {"hidden_size": 2048, "num_hidden_layers": 12, "ffn_dim": 8192, "word_embed_proj_dim": 2048, "num_attention_heads": 32, "tie_word_embeddings": True}),
    "T5ForConditionalGeneration": ("T5Config", {"d_model": 1024, "d_ff": 4096, "num_layers": 8, "num_heads": 16, "tie_word_embeddings": True}),
    "Gemma2ForCausalLM": ("Gemma2Config", {**TEXT, "head_dim": 128, "vocab_size": 256000, "tie_word_embeddings": True}),
    "Phi3ForCausalLM": ("Phi3Config", {**TEXT, "pad_token_id": 0, "tie_word_embeddings": False}),
    "LlavaForConditionalGeneration": ("LlavaConfig", {}),
    "Qwen2VLForConditionalGeneration": ("Qwen2VLConfig", {}),
}  # fmt: skip
STRATEGIES = ("auto", "balanced", "balanced_low_0", "sequential")


def main(path: str, cases: int = 24) -> None:
    """Every model that this release has, on a grid of made-up machines."""
    import accelerate
    import torch
    import transformers

    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    found: dict[str, Any] = {"transformers": transformers.__version__, "accelerate": accelerate.__version__, "models": {}}
    for name, (config_class, fields) in MODELS.items():
        if not hasattr(transformers, name):
            continue
        config = getattr(transformers, config_class)(**fields)
        torch.set_default_dtype(torch.float16)
        with torch.device("meta"):
            model = getattr(transformers, name)(config)
        torch.set_default_dtype(torch.float32)
        model.tie_weights()
        grid = _grid(random.Random(f"{name} {transformers.__version__} {accelerate.__version__}"), bytes_of(model), cases)
        answers = [[strategy, limits, _shortened(ask(model, strategy, dict(limits)))] for strategy, limits in grid]
        found["models"][name] = {
            "config": _plain(config),
            "tensors": _tensors(model),
            "maps": [[s, list(limits.items()), m] for s, limits, m in answers],
        }
    with open(path, "w", encoding="utf-8") as file:
        lines = [f"  {json.dumps(name)}: {json.dumps(entry, separators=(',', ':'))}" for name, entry in found.pop("models").items()]
        file.write(json.dumps(found)[:-1] + ', "models": {\n' + ",\n".join(lines) + "\n}}\n")


def _plain(config: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    keys = (
        "hidden_size", "num_attention_heads", "n_embd", "n_head", "head_dim", "max_position_embeddings", "n_positions", "tie_word_embeddings", "text_config",
    )  # fmt: skip
    found = {key: plain[key] for key in keys if plain.get(key) is not None}
    if isinstance(found.get("text_config"), dict):
        found["text_config"] = {key: value for key, value in found["text_config"].items() if key in keys and value is not None}
    return found


def bytes_of(model: Any) -> int:
    """Of its parameters."""
    return sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())


def _grid(chance: random.Random, total: int, cases: int) -> list[tuple[str, dict[int | str, int]]]:
    grid = []
    for _ in range(cases):
        gpus = chance.choice([1, 1, 2, 2, 2, 3, 4, 8])
        each = chance.uniform(0.15, 1.4) if chance.random() < 0.5 else chance.uniform(0.8, 2.0) / gpus
        limits: dict[int | str, int] = {
            gpu: int(total * each * (1 if chance.random() < 0.7 else chance.uniform(0.3, 1.5))) for gpu in range(gpus)
        }
        if chance.random() < 0.8:
            limits["cpu"] = int(total * chance.uniform(0.2, 3))
        grid.append((chance.choice(STRATEGIES), limits))
    return grid


def ask(model: Any, strategy: str, limits: dict[int | str, int], dtype: str = "float16", quantizer: Any = None) -> dict[str, Any]:
    """The map of the installed packages. ``quantizer``: of transformers 5, which has made its layers already."""
    import torch

    try:
        from transformers.integrations.accelerate import _get_device_map

        return dict(_get_device_map(model, strategy, limits, quantizer))
    except ImportError:
        pass
    from accelerate.utils import modeling

    kept = {
        "no_split_module_classes": model._get_no_split_modules("auto")
        if hasattr(model, "_get_no_split_modules")
        else model._no_split_modules
    }
    if strategy != "sequential":
        with _CudaByNumber():
            limits = modeling.get_balanced_memory(
                model, dtype=getattr(torch, dtype), low_zero=strategy == "balanced_low_0", max_memory=limits, **kept
            )
    return dict(modeling.infer_auto_device_map(model, dtype=getattr(torch, dtype), max_memory=limits, **kept))


class _CudaByNumber:
    """Without a GPU torch.device(0) is no device; accelerate asks for its type only."""

    def __enter__(self) -> None:
        import torch
        from accelerate.utils import modeling

        class Torch:
            def __getattr__(self, name: str) -> Any:
                return (
                    (lambda given: torch.device(f"cuda:{given}" if isinstance(given, int) else given))
                    if name == "device"
                    else getattr(torch, name)
                )

        self.kept, modeling.torch = modeling.torch, Torch()

    def __exit__(self, *_: object) -> None:
        from accelerate.utils import modeling

        modeling.torch = self.kept


def _tensors(model: Any) -> list[list[Any]]:
    """Name, shape and count of the parameters; ``*`` stands for the number of a block."""
    found: dict[tuple[str, tuple[int, ...]], int] = {}
    for name, tensor in model.named_parameters():
        key = re.sub(r"\.\d+\.", ".*.", name, count=1), tuple(tensor.shape)
        found[key] = found.get(key, 0) + 1
    return [[name, list(shape), count] for (name, shape), count in found.items()]


def _shortened(device_map: dict[str, Any]) -> list[list[Any]]:
    """Runs of blocks as one entry: ``model.layers.0-15``."""
    runs: list[list[Any]] = []
    for name, device in device_map.items():
        prefix, _, number = name.rpartition(".")
        if number.isdigit() and runs and runs[-1][0] == prefix and runs[-1][2] + 1 == int(number) and runs[-1][3] == device:
            runs[-1][2] += 1
        else:
            runs.append([prefix, int(number), int(number), device] if number.isdigit() else [name, -1, -1, device])
    return [[name if first < 0 else f"{name}.{first}-{last}", device] for name, first, last, device in runs]


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
