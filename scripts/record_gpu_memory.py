"""Measures what loads and steps really take on a GPU, with checkpoints of random weights; kept in tests/recordings/memory/.

usage: python scripts/record_gpu_memory.py make SHAPE DIR            writes the checkpoint
       python scripts/record_gpu_memory.py run SHAPE QUANT DIR OUT   a line a case; QUANT is none, nf4, nf4dq, int8 or gptq

It runs in the stack that is measured: transformers 5, with bitsandbytes or gptqmodel, and peft. Of each moment (context, load, ready, step, second) a line
holds what torch has allocated, the peak since the moment before, and what it has reserved. The cases of one process follow each other, so that
``context_allocated`` holds what the one before left behind (cuBLAS workspaces; gptqmodel keeps the model): take it from the other figures.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from memory_checkpoints import loader, make, quantisation
from memory_shapes import FORETOLD, Case, case, foretold


def cases(shape: str, quant: str) -> list[Case]:
    """What is measured of a shape: inference, LoRA on all linear layers, full fine-tuning."""
    if shape in FORETOLD or os.environ.get("AGAIN"):
        return foretold(shape, quant)
    out = [case("forward", 1, 512), case("forward", 1, 2048), case("forward", 4, 1024), case("generate", 4, 1024)]
    if shape.endswith("gptq"):
        return [{**one, "backend": "triton"} for one in out]
    out += [case("lora", 1, 512), case("lora", 1, 2048, True), case("lora", 1, 2048), case("lora", 4, 1024, True)]
    if shape != "qwen2-7b" or quant == "nf4":
        out.append(case("lora", 2, 1024))
    if quant == "none":
        out += [case("forward", 1, 2048, attn="eager"), case("lora", 1, 2048, True, attn="eager")]
        if shape != "qwen2-7b":
            out += [case("full", 1, 512), case("full", 1, 2048, True), case("full", 4, 1024, True)]
            out += [case("full", 1, 512, True, dtype="float32")]
        if shape == "llama-1b":
            out += [
                case("full", 1, 512, True, optimizer=name) for name in ("adamw_bnb_8bit", "paged_adamw_8bit", "adafactor", "sgd")
            ]
    if quant == "nf4" and shape in ("llama-1b", "qwen2-7b"):
        out += [case("lora", 1, 2048, True, optimizer="paged_adamw_8bit"), case("lora", 1, 2048, True, prepare=False)]
    if "vl" in shape:
        out += [case("forward", 1, 1024, image=[1, 32, 32]), case("forward", 1, 1024, image=[1, 56, 56])]
        out += [case("lora", 1, 1024, True, image=[1, 32, 32])]
    return out


def optimiser(name: str, parameters: list[Any]) -> Any:
    """An optimiser by its name in TrainingArguments."""
    import torch

    if name == "adamw_torch":
        return torch.optim.AdamW(parameters, lr=1e-4)
    if name == "sgd":
        return torch.optim.SGD(parameters, lr=1e-4)
    if name == "adafactor":
        from transformers.optimization import Adafactor

        return Adafactor(parameters, scale_parameter=False, relative_step=False, lr=1e-4)
    import bitsandbytes

    kinds = {"adamw_bnb_8bit": bitsandbytes.optim.AdamW8bit, "paged_adamw_8bit": bitsandbytes.optim.PagedAdamW8bit}
    return kinds[name](parameters, lr=1e-4)


def mark(line: Case, moment: str) -> None:
    """What torch counts at this moment, and the peak since the last one."""
    import torch

    torch.cuda.synchronize()
    line |= {
        f"{moment}_allocated": torch.cuda.memory_allocated(),
        f"{moment}_peak": torch.cuda.max_memory_allocated(),
        f"{moment}_reserved": torch.cuda.memory_reserved(),
    }
    torch.cuda.reset_peak_memory_stats()


def inputs(model: Any, asked: Case) -> Case:
    """Random tokens, and images among them where they are asked for."""
    import torch

    batch = asked["batch"]
    tokens = torch.randint(0, 3000, (batch, asked["seq"]), device="cuda")
    if not asked.get("image"):
        return {"input_ids": tokens}
    frames, height, width = asked["image"]
    vision = model.config.vision_config
    if model.config.model_type == "llava":
        tokens[:, 8 : 8 + height * width] = model.config.image_token_id
        pixels = torch.randn(batch, 3, vision.image_size, vision.image_size, device="cuda", dtype=torch.bfloat16)
        return {"input_ids": tokens, "pixel_values": pixels}
    end = 8 + frames * height * width // 4
    types = torch.zeros_like(tokens)
    tokens[:, 7], tokens[:, 8:end], types[:, 8:end] = model.config.vision_start_token_id, model.config.image_token_id, 1
    size = 3 * vision.temporal_patch_size * vision.patch_size**2
    pixels = torch.randn(batch * frames * height * width, size, device="cuda", dtype=torch.bfloat16)
    grid = torch.tensor([asked["image"]] * batch, device="cuda")
    return {"input_ids": tokens, "pixel_values": pixels, "image_grid_thw": grid, "mm_token_type_ids": types}


def prepared(model: Any, quant: str, asked: Case) -> Any:
    """The model, ready for training."""
    how = {"gradient_checkpointing_kwargs": {"use_reentrant": False}}
    model.train()
    model.config.use_cache = False
    if asked["action"] == "full":
        if asked["gc"]:
            model.gradient_checkpointing_enable(**how)
        return model
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if (quant != "none" or getattr(model, "is_loaded_in_4bit", False)) and asked.get("prepare", True):
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=asked["gc"], **how)
    elif asked["gc"]:
        model.gradient_checkpointing_enable(**how)
        model.enable_input_require_grads()
    lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(model, lora).train()


def train(model: Any, feed: Case, quant: str, asked: Case, line: Case) -> None:
    """Two steps: the second one meets the state that the optimiser made in the first."""
    import torch

    model = prepared(model, quant, asked)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    line["trainable"] = sum(weight.numel() for weight in trained)
    steps = optimiser(asked.get("optimizer", "adamw_torch"), trained)
    mark(line, "ready")
    for moment in ("step", "second"):
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = model(**feed, labels=feed["input_ids"]).loss
        line[f"{moment}_forward_peak"] = torch.cuda.max_memory_allocated()
        loss.backward()
        steps.step()
        mark(line, moment)
        steps.zero_grad(set_to_none=True)
        del loss  # 8-bit layers keep tensors as long as it lives


def measure(shape: str, quant: str, folder: str, asked: Case, line: Case) -> None:
    """One case, from an empty GPU on."""
    import torch

    torch.cuda.reset_peak_memory_stats()
    torch.zeros(1, device="cuda")
    mark(line, "context")
    dtype = asked.get("dtype", "float16" if shape.endswith(("gptq", "awq")) else "bfloat16")
    kwargs = {"device_map": {"": 0}, "dtype": getattr(torch, dtype), "attn_implementation": asked.get("attn", "sdpa")}
    config = quantisation(quant, asked.get("backend"))
    model = loader(shape).from_pretrained(folder, **kwargs, **({"quantization_config": config} if config else {}))
    gc.collect()
    mark(line, "load")
    line["parameters"] = sum(weight.numel() for weight in model.parameters())
    feed = inputs(model, asked)
    if asked["action"] not in ("forward", "generate"):
        train(model, feed, quant, asked, line)
        return
    model.eval()
    with torch.no_grad():
        if asked["action"] == "forward":
            out = model(**feed)
        else:
            out = model.generate(**feed, max_new_tokens=16, min_new_tokens=16, do_sample=False, pad_token_id=0)
    mark(line, "step")
    del out


def versions() -> dict[str, str]:
    """What is installed, of what counts here."""
    found = {}
    for name in ("torch", "transformers", "accelerate", "peft", "bitsandbytes", "gptqmodel"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def run(shape: str, quant: str, root: str, out: str) -> None:
    """All cases of a shape and a quantisation, in one process."""
    import torch

    for asked in cases(shape, quant):
        kind = {"quant": "nf4" if quant == "nf4dq" else quant, "dq": quant == "nf4dq"}
        line = {"model": shape, **kind, **asked, **versions(), "ok": False}
        started = time.time()
        try:
            measure(shape, quant, str(Path(root) / shape), asked, line)
            line["ok"] = True
        except Exception as error:
            line["error"] = f"{type(error).__name__}: {str(error)[:300]}"
        gc.collect()
        torch.cuda.empty_cache()
        with Path(out).open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(shape, quant, asked, "ok" if line["ok"] else line["error"][:100], f"{time.time() - started:.0f} s", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "make":
        make(*sys.argv[2:])
    elif len(sys.argv) == 6 and sys.argv[1] == "run":
        run(*sys.argv[2:])
    else:
        sys.exit(__doc__)
