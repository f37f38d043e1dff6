"""What is not said of a split whose modules are not those of a recorded class, and of buffers. Each loads on a CPU with transformers 4.57.1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.checkpoint import Checkpoint
from qvl_preflight.safetensors import Tensor
from qvl_preflight.stack import module_tree
from qvl_preflight.stack.module_tree import Counting
from qvl_preflight.stack.named_modules import by_names
from qvl_preflight.testing import machine
from qvl_preflight.testing.files import write_safetensors

STACK = "recent-4"


def tensor(name: str, *shape: int) -> Tensor:
    size = 1
    for length in shape:
        size *= length
    return Tensor(name, "F32", shape, 4 * size)


def checkpoint(folder: Path, class_name: str, kind: str, tensors: dict[str, tuple[int, ...]], **config: Any) -> str:
    (folder / "config.json").write_text(
        json.dumps({"architectures": [class_name], "model_type": kind, "torch_dtype": "float32", **config})
    )
    write_safetensors(str(folder / "model.safetensors"), {name: ("F32", shape) for name, shape in tensors.items()})
    return str(folder)


def codes(path: str, limit: int, loader: str, offload: bool = True) -> set[str]:
    more = {"offload_folder": "off"} if offload else {}
    call: dict[str, Any] = {"device_map": "auto", "max_memory": {"cpu": limit}, **more}
    return {finding.code for finding in qvl_preflight.check(path, loader=loader, facts=machine("no-gpu", STACK), **call).findings}


BART = {
    "final_logits_bias": (1, 96),
    "model.shared.weight": (96, 32),
    **{f"model.{side}.embed_positions.weight": (66, 32) for side in ("encoder", "decoder")},
    **{f"model.{side}.layers.{number}.fc1.weight": (48, 32) for side in ("encoder", "decoder") for number in (0, 1)},
}


def test_a_buffer_at_the_top_has_a_place_of_its_own() -> None:
    """accelerate puts the top's own buffers last, behind its modules: final_logits_bias is named in the real map."""
    tensors = tuple(tensor(name, *shape) for name, shape in BART.items())
    model = module_tree.of_class(Checkpoint("", {}), tensors, "BartForConditionalGeneration", (4, 57, 1), Counting(4))
    assert model is not None
    assert [part.name for part in model.parts] == ["model", "lm_head", "final_logits_bias"]
    assert model.bytes_of["final_logits_bias"] == 384


@pytest.mark.parametrize("limit", [20_000, 40_000])
def test_a_split_leaves_no_buffer_out(tmp_path: Path, limit: int) -> None:
    path = checkpoint(tmp_path, "BartForConditionalGeneration", "bart", BART)
    assert not {"QVL404", "QVL421"} & codes(path, limit, "AutoModelForSeq2SeqLM")


VIT = {
    "vit.embeddings.cls_token": (1, 1, 32),
    "vit.embeddings.patch_embeddings.projection.weight": (32, 192),
    "vit.embeddings.patch_embeddings.projection.bias": (32,),
    **{f"vit.encoder.layer.{number}.output.dense.weight": (64, 64) for number in (0, 1)},
    "classifier.weight": (2, 32),
}


def test_no_part_lies_inside_of_another() -> None:
    model = by_names(tuple(tensor(name, *shape) for name, shape in VIT.items()), Counting(4))
    assert [part.name for part in model.parts] == ["vit.embeddings", "vit.encoder.layer.0", "vit.encoder.layer.1", "classifier"]


def test_a_module_around_the_blocks_is_no_part() -> None:
    """Its own tensors count alone: else the whole model would be one part."""
    tensors = (tensor("model.scale", 4), tensor("model.layers.0.w.weight", 4, 4), tensor("model.layers.1.w.weight", 4, 4))
    model = by_names(tensors, Counting(4))
    assert {part.name for part in model.parts} == {"model.scale", "model.layers.0", "model.layers.1"}


@pytest.mark.parametrize("limit", [5_000, 20_000, 40_000, 56_000, 70_000])
def test_guessed_modules_raise_nothing(tmp_path: Path, limit: int) -> None:
    """Nor does one that stays just inside of what is there: whether it fits hangs on the class."""
    path = checkpoint(tmp_path, "ViTForImageClassification", "vit", VIT)
    assert not {"QVL404", "QVL413", "QVL414", "QVL421"} & codes(path, limit, "AutoModelForImageClassification")


def test_buffers_of_another_size_make_a_tree_a_guess() -> None:
    """XGLM's table of positions grows with the model, and was seen in one size alone."""
    tensors = tuple(
        tensor(name, *shape)
        for name, shape in {
            "model.embed_tokens.weight": (96, 32),
            "model.layers.0.fc1.weight": (48, 32),
            "model.layer_norm.weight": (32,),
        }.items()
    )
    model = module_tree.of_class(Checkpoint("", {}), tensors, "XGLMForCausalLM", (4, 57, 1), Counting(4))
    assert model is not None
    assert model.about
