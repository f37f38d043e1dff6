"""Makes tiny checkpoints with a stack's own transformers, loads them, and says what every tensor in memory takes. One process for all.

usage: weighed.py FOLDER < cases.jsonl > weighed.jsonl        (a case: {"id", "model", "kwargs" in plain form}; a model without a slash lies in FOLDER)
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runner import decode

SMALL = {
    "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 320,
    "max_position_embeddings": 96, "pad_token_id": 0,
}  # fmt: skip
GPT2 = {"n_embd": 128, "n_layer": 2, "n_head": 4, "vocab_size": 320, "n_positions": 96}
OPT = {**SMALL, "word_embed_proj_dim": 128, "ffn_dim": 256}
# name → class, configuration, tied
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", SMALL),
    "llama-biased": ("Llama", {**SMALL, "attention_bias": True}),
    "llama-tied": ("Llama", {**SMALL, "tie_word_embeddings": True}),
    "mistral": ("Mistral", {**SMALL, "sliding_window": 32}),
    "mixtral": ("Mixtral", {**SMALL, "num_local_experts": 4}),
    "qwen2": ("Qwen2", SMALL),
    "qwen2-tied": ("Qwen2", {**SMALL, "tie_word_embeddings": True}),
    "qwen3": ("Qwen3", {**SMALL, "head_dim": 64}),
    "phi": ("Phi", SMALL),
    "phi3": ("Phi3", SMALL),
    "gemma": ("Gemma", {**SMALL, "head_dim": 32}),
    "gemma2": ("Gemma2", {**SMALL, "head_dim": 32}),
    "gpt2": ("GPT2", GPT2),
    "gpt-neox": ("GPTNeoX", {**SMALL, "rotary_pct": 0.5}),
    "opt": ("OPT", OPT),
    "t5": ("T5", {"d_model": 128, "d_ff": 256, "d_kv": 32, "num_layers": 2, "num_heads": 4, "vocab_size": 320}),
}  # fmt: skip
HEADS = {"GPT2": "GPT2LMHeadModel", "T5": "T5ForConditionalGeneration"}


def make(folder: Path) -> None:
    """All models that this release has: safetensors, then the forms of one of them."""
    import torch
    import transformers

    torch.manual_seed(0)
    for name, (kind, fields) in MODELS.items():
        if hasattr(transformers, f"{kind}Config"):
            model = getattr(transformers, HEADS.get(kind, f"{kind}ForCausalLM"))(getattr(transformers, f"{kind}Config")(**fields))
            model.to(torch.float16).save_pretrained(folder / name, safe_serialization=True)
    _forms(folder, transformers, torch)
    if "bitsandbytes" in sys.argv:
        _bitsandbytes(folder, transformers, torch)


def _forms(folder: Path, transformers: Any, torch: Any) -> None:
    """The same tensors in other files: with tied and stray tensors, .bin in one file and in shards, with and without an index, and as it was before torch 1.6."""
    from safetensors.torch import load_file, save_file

    def into(name: str, of: str) -> Path:
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "config.json").write_text((folder / of / "config.json").read_text())
        return folder / name

    tensors = load_file(folder / "llama" / "model.safetensors")
    mixed = {
        name: tensor.float() if "norm" in name else tensor.bfloat16() if "mlp" in name else tensor
        for name, tensor in tensors.items()
    }
    save_file(mixed, into("mixed", "llama") / "model.safetensors", metadata={"format": "pt"})
    stray = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.ones(16) for layer in (0, 1)}
    save_file({**tensors, **stray}, into("stray", "llama") / "model.safetensors", metadata={"format": "pt"})
    tied = load_file(folder / "llama-tied" / "model.safetensors")
    both = {**tied, "lm_head.weight": tied["model.embed_tokens.weight"].clone()}
    save_file(both, into("both", "llama-tied") / "model.safetensors", metadata={"format": "pt"})
    torch.save(tensors, into("bin", "llama") / "pytorch_model.bin")
    torch.save(mixed, into("bin-mixed", "llama") / "pytorch_model.bin")
    torch.save({**tied, "lm_head.weight": tied["model.embed_tokens.weight"]}, into("bin-tied", "llama-tied") / "pytorch_model.bin")
    base = torch.nn.Parameter(torch.zeros(2, 320, 128, dtype=torch.float16))  # two tensors, one storage; Parameters, not tensors
    views = {
        **{name: torch.nn.Parameter(one) for name, one in tensors.items()},
        "model.embed_tokens.weight": base[0],
        "lm_head.weight": base[1],
    }
    torch.save(views, into("bin-views", "llama") / "pytorch_model.bin")
    sliced = {**tensors, "model.norm.weight": tensors["model.embed_tokens.weight"][0]}  # begins where the other does
    torch.save(sliced, into("bin-sliced", "llama") / "pytorch_model.bin")
    saved = transformers.AutoModelForCausalLM.from_pretrained(folder / "llama").state_dict()  # ordered, with metadata of its own
    torch.save(saved, into("bin-saved", "llama") / "pytorch_model.bin")
    of = Path(__file__).parents[1] / "recordings" / "models" / "gptq-int4"
    (folder / "bin-gptq").mkdir(exist_ok=True)
    (folder / "bin-gptq" / "config.json").write_text((of / "config.json").read_text())
    torch.save(load_file(of / "model.safetensors"), folder / "bin-gptq" / "pytorch_model.bin")
    torch.save(tensors, into("bin-old", "llama") / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    names = sorted(tensors)
    parts = {"pytorch_model-00001-of-00002.bin": names[::2], "pytorch_model-00002-of-00002.bin": names[1::2]}
    for form in ("bin-shards", "bin-no-index"):
        home = into(form, "llama")
        for file, inside in parts.items():
            torch.save({name: tensors[name] for name in inside}, home / file)
    index = {"metadata": {}, "weight_map": {name: file for file, inside in parts.items() for name in inside}}
    (folder / "bin-shards" / "pytorch_model.bin.index.json").write_text(json.dumps(index))


def _bitsandbytes(folder: Path, transformers: Any, torch: Any) -> None:
    """Checkpoints that hold quantised weights already."""
    four = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    layouts = {"nf4": four, "nf4-bf16": {**four, "bnb_4bit_quant_storage": "bfloat16"}, "int8": {"load_in_8bit": True}}
    if "double" in sys.argv:
        layouts["nf4-double"] = {**four, "bnb_4bit_use_double_quant": True}
    for name, fields in layouts.items():
        how = transformers.BitsAndBytesConfig(**fields)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder / "llama", quantization_config=how, torch_dtype=torch.float16, device_map="cpu"
        )
        model.save_pretrained(folder / f"bnb-{name}")


def weigh(model: Any) -> list[tuple[str, str, str, int]]:
    """Every tensor once: its kind (parameter, buffer, state of a quantisation), its name, dtype and bytes."""
    seen: set[tuple[int, int]] = set()
    found = []
    for kind, name, tensor in _tensors(model):
        place = tensor.data_ptr(), tensor.numel()
        if place not in seen and tensor.numel():
            seen.add(place)
            found.append((kind, name, str(tensor.dtype).removeprefix("torch."), tensor.numel() * tensor.element_size()))
    return found


def _tensors(model: Any) -> Iterator[tuple[str, str, Any]]:
    import torch

    for path, module in model.named_modules():
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            yield "parameter", f"{path}.{name}", parameter
            state = getattr(parameter, "quant_state", None)
            while state is not None:
                for part in ("absmax", "code", "offset"):
                    if isinstance(getattr(state, part, None), torch.Tensor):
                        yield "state", f"{path}.{name}.{part}", getattr(state, part)
                state = state.state2 if state.nested else None
            for part in ("CB", "SCB"):
                if isinstance(getattr(parameter, part, None), torch.Tensor):
                    yield "state", f"{path}.{name}.{part}", getattr(parameter, part)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                yield "buffer", f"{path}.{name}", buffer


def load(case: dict[str, Any], folder: str) -> dict[str, Any]:
    import transformers

    path = case["model"] if "/" in case["model"] else os.path.join(folder, case["model"])
    try:
        with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
            written = json.load(file)["architectures"][0]
        model = getattr(transformers, written).from_pretrained(path, **decode(case["kwargs"]))
        return {"tensors": weigh(model)}
    except BaseException as error:
        return {"error": f"{type(error).__name__}: {str(error)[:300]}"}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(sys.stderr):
        make(Path(sys.argv[1]))
    for line in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):
            weighed = load(json.loads(line), sys.argv[1])
        print(json.dumps({**json.loads(line), **weighed}), flush=True)
