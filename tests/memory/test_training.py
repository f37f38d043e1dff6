"""What loads and steps of full fine-tuning held, and where they ended, on an H100 (h100.json: transformers 5.17.0, torch 2.11.0)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qvl_preflight.memory.ranks import Sharing
from qvl_preflight.memory.training import full
from qvl_preflight.memory.weights import WIDTHS, Stored, in_memory
from qvl_preflight.safetensors import Tensor
from qvl_preflight.testing.checkpoints import described

SEEN: dict[str, Any] = json.loads((Path(__file__).parent / "h100.json").read_text(encoding="utf-8"))


def tensor(name: str, *shape: int) -> Tensor:
    count = 1
    for dimension in shape:
        count *= dimension
    return Tensor(name, "BF16", shape, 2 * count)


def llama(layers: int, hidden: int, inner: int, vocab: int = 32000) -> tuple[Tensor, ...]:
    found = [
        tensor("model.embed_tokens.weight", vocab, hidden),
        tensor("model.norm.weight", hidden),
        tensor("lm_head.weight", vocab, hidden),
    ]
    for number in range(layers):
        at = f"model.layers.{number}."
        found += [tensor(f"{at}self_attn.{name}_proj.weight", hidden, hidden) for name in "qkvo"]
        found += [tensor(f"{at}mlp.{name}_proj.weight", inner, hidden) for name in ("gate", "up", "down")]
        found += [tensor(f"{at}{name}_layernorm.weight", hidden) for name in ("input", "post_attention")]
    return tuple(found)


def stored(tensors: tuple[Tensor, ...], dtype: str) -> tuple[Stored, ...]:
    return in_memory(described(tensors), dtype, None)


@pytest.mark.parametrize("load", SEEN["loads"], ids=lambda load: f"{load['layers']} layers")
def test_loads(load: dict[str, Any]) -> None:
    """A load that fits is allocated to the byte, but for 1,024 of a buffer; one that is larger than the GPU ends in OutOfMemoryError."""
    size = sum(each.total_bytes for each in stored(llama(load["layers"], 8192, 28672), "bfloat16"))
    assert size == load["file_bytes"]
    assert (size > SEEN["total_bytes"]) == ("raises" in load)
    assert size <= load.get("allocated", size) <= size + 1024


@pytest.mark.parametrize("run", SEEN["trainings"], ids=lambda run: run["dtype"])
def test_full_training(run: dict[str, Any]) -> None:
    """AdamW under a Trainer with bf16=True: what is said to be held is held, and the step that fits is not said to be too much."""
    held = full(stored(llama(run["layers"], 4096, 11008), run["dtype"]), {"bf16": True})
    assert held.weights == run["parameters"] * WIDTHS[run["dtype"]]
    assert held.total_bytes == 4 * held.weights
    assert (held.total_bytes > SEEN["total_bytes"]) == ("raises" in run)
    if "peak" in run:
        assert held.total_bytes <= run["peak"] <= held.total_bytes * 1.001


def test_states_by_optimizer() -> None:
    """In bytes for each weight; what is not known, or lies elsewhere, counts as nothing."""
    tensors = stored(llama(1, 256, 512), "float32")
    count = sum(each.count for each in tensors)
    seen = {name: full(tensors, {"optim": name}).states / count for name in (
        "adamw_torch", "adamw_torch_fused", "adamw_8bit", "adamw_torch_4bit", "lion_32bit", "rmsprop", "adafactor", "sgd", "paged_adamw_8bit", "new_one",
    )}  # fmt: skip
    assert list(seen.values()) == [8, 8, 2, 1, 4, 4, 0, 0, 0, 0]


@pytest.mark.parametrize(("stage", "each"), [(1, 2 + 2 + 12 / 4), (2, 2 + 2 / 4 + 12 / 4), (3, 16 / 4)])
def test_zero_divides_by_its_stage(stage: int, each: float) -> None:
    """Mixed precision holds 16 bytes for each weight: states from stage 1 on, gradients from 2 on, weights with 3."""
    tensors = stored(llama(1, 256, 512), "float32")
    held = full(tensors, {"deepspeed": {"zero_optimization": {"stage": stage}}}, Sharing(4, 4, stage))
    assert held.total_bytes == int(sum(tensor.count for tensor in tensors) * each)
