"""The map of a strategy, held against what accelerate and transformers answered themselves (scripts/record_auto_maps.py)."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from qvl_preflight.checkpoint import Checkpoint
from qvl_preflight.facts import Packages
from qvl_preflight.memory.weights import is_linear
from qvl_preflight.safetensors import Tensor
from qvl_preflight.stack import module_tree
from qvl_preflight.stack.auto_map import Device, Model, Part, Way, balanced, infer
from qvl_preflight.stack.module_tree import Counting
from qvl_preflight.stack.strategy_map import way_of
from qvl_preflight.testing import STACKS, machine

ROOT = Path(__file__).parents[2]
RECORDED = sorted((ROOT / "tests" / "recordings" / "auto_maps").glob("*.json"))


def blocks(runs: list[list[Any]]) -> dict[str, Device]:
    """``model.layers.0-15`` as one entry for each block."""
    found: dict[str, Device] = {}
    for name, device in runs:
        run = re.fullmatch(r"(.*)\.(\d+)-(\d+)", name)
        names = [f"{run[1]}.{number}" for number in range(int(run[2]), int(run[3]) + 1)] if run else [name]
        found |= dict.fromkeys(names, device)
    return found


def tensors(rows: list[list[Any]]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(name.replace(".*.", f".{number}."), "F16", tuple(shape), 2 * math.prod(shape))
        for name, shape, count in rows
        for number in range(count)
    )


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_every_recorded_map(path: Path) -> None:
    """Whole maps are alike: every module, on every device."""
    recorded = json.loads(path.read_text())
    installed = {**STACKS["today"]["packages"], **{name: recorded[name] for name in ("transformers", "accelerate")}}
    packages = Packages(machine("a100", packages=installed))
    release, way = packages.release("transformers") or (), way_of(packages)
    counting = Counting(2, buffers_as_made=release >= (5,), small_integers=not packages.at_least("accelerate", 0, 27))
    for name, entry in recorded["models"].items():
        model = module_tree.of_class(Checkpoint("", entry["config"]), tensors(entry["tensors"]), name, release, counting)
        assert model is not None, name
        for strategy, pairs, runs in entry["maps"]:
            limits: dict[Device, float] = dict(pairs)
            if strategy != "sequential":
                limits = balanced(model, limits, way, low_zero=strategy == "balanced_low_0", by_default=False)
            assert infer(model, limits, way) == blocks(runs), (name, strategy, pairs)


def test_recordings_hold_maps_over_several_devices() -> None:
    """A recording of maps with one entry alone would prove nothing."""
    maps = [runs for path in RECORDED for entry in json.loads(path.read_text())["models"].values() for _, _, runs in entry["maps"]]
    assert sum(len({device for _, device in runs}) > 1 for runs in maps) > len(maps) / 2


def test_the_readmes_say_how_many_maps_agree() -> None:
    """The figures are those of the recordings."""
    models = [(name, entry) for path in RECORDED for name, entry in json.loads(path.read_text())["models"].items()]
    maps, classes = sum(len(entry["maps"]) for _, entry in models), len({name for name, _ in models})
    english, chinese = (" ".join((ROOT / name).read_text(encoding="utf-8").split()) for name in ("README.md", "README.zh-CN.md"))
    assert f"all {maps} recorded maps ({classes} classes, {len(RECORDED)} pairs of transformers and accelerate) agree" in english
    assert f"{maps}份映射（{classes}个类，{len(RECORDED)}组" in chinese.replace(" ", "")


def test_a_lone_gpu_keeps_a_tenth_for_itself() -> None:
    """Where nobody set max_memory; the person's own limit is taken as it is."""
    model = Model((Part("a"), Part("b")), (("a.weight", 95), ("b.weight", 0)))
    assert balanced(model, {0: 100, "cpu": 1000}, Way(), low_zero=False, by_default=True)[0] == 90
    assert balanced(model, {0: 100, "cpu": 1000}, Way(), low_zero=False, by_default=False)[0] == 100


def test_tensors_that_are_not_the_class_s_own() -> None:
    """Another class, a renamed tower: the tree is not used."""
    odd = (Tensor("model.embed_tokens.weight", "F16", (8, 8), 128), Tensor("model.extra.weight", "F16", (8, 8), 128))
    assert module_tree.of_class(Checkpoint("", {}), odd, "LlamaForCausalLM", (5, 23), Counting(2)) is None
    assert module_tree.of_class(Checkpoint("", {}), odd, "NoSuchClass", (5, 23), Counting(2)) is None


def test_names_that_a_release_changes_on_the_way() -> None:
    """Qwen2-VL's files keep the names of their day; the class of today has others."""
    old = tuple(
        Tensor(f"{name}.weight", "F16", (8, 8), 128)
        for name in (
            "visual.patch_embed.proj",
            "visual.blocks.0.mlp",
            "model.embed_tokens",
            "model.layers.0.mlp",
            "model.norm",
            "lm_head",
        )
    )
    model = module_tree.of_class(Checkpoint("", {}), old, "Qwen2VLForConditionalGeneration", (4, 57, 1), Counting(2))
    assert model is not None
    assert {"model.visual.blocks.0.mlp.weight", "model.language_model.layers.0.mlp.weight"} <= {name for name, _ in model.sizes}


def test_a_dtype_that_is_not_known() -> None:
    """Then tensors count as they are stored."""
    stored = Tensor("model.norm.weight", "F32", (8,), 32)
    assert module_tree.bytes_of(stored, Counting(module_tree.AS_STORED)) == 32
    assert module_tree.bytes_of(stored, Counting(2)) == 16


def test_bitsandbytes_counts_every_tensor_so_up_to_4_57_and_linear_weights_alone_since() -> None:
    """Read in 4.45.2 and 5.23.0: the embeddings of a 4-bit model count half a byte in the one, two bytes in the other."""
    embedding, linear = (Tensor(f"model.{name}.weight", "F16", (8, 8), 128) for name in ("embed_tokens", "layers.0.mlp"))
    old, new = Counting(2, all_floats=0.5, left_alone=("lm_head",)), Counting(2, linear=0.5, quantises=is_linear)
    assert (module_tree.bytes_of(embedding, old), module_tree.bytes_of(linear, old)) == (32, 32)
    assert (module_tree.bytes_of(embedding, new), module_tree.bytes_of(linear, new)) == (128, 32)
