"""Caches as huggingface_hub lays them out, with one small model each: refs, snapshots of links, blobs."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from qvl_preflight.testing.files import Tensors, write_checkpoint, write_torch_file

COMMIT = "0123456789abcdef0123456789abcdef01234567"
_LLAMA: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
    "num_hidden_layers": 1, "vocab_size": 256, "torch_dtype": "float16",
}  # fmt: skip
_CODE: dict[str, Any] = {
    **_LLAMA, "architectures": ["TinyModel"], "model_type": "tiny",
    "auto_map": {"AutoConfig": "configuration_tiny.TinyConfig", "AutoModelForCausalLM": "modeling_tiny.TinyModel"},
}  # fmt: skip
_MODELING = "from .configuration_tiny import TinyConfig\n\n\nclass TinyModel:\n    config_class = TinyConfig\n"
_SHARDS: list[Tensors] = [{"model.embed_tokens.weight": ("F16", (256, 64))}, {"lm_head.weight": ("F16", (256, 64))}]


def write_cache(
    cache: str,
    model: str,
    config: Mapping[str, Any],
    shards: list[Tensors],
    *,
    code: Mapping[str, str] = {},
    without: Iterable[str] = (),
    revision: str | None = "main",
    absent: Iterable[str] = (),
) -> str:
    """A model in a cache, at one commit. ``without``: files that were not fetched. ``absent``: files that the hub said it has not.

    Returns the folder of the snapshot.
    """
    repository = os.path.join(cache, "models--" + model.replace("/", "--"))
    snapshot, blobs = os.path.join(repository, "snapshots", COMMIT), os.path.join(repository, "blobs")
    for folder in (snapshot, blobs, os.path.join(repository, "refs")):
        os.makedirs(folder, exist_ok=True)
    if revision is not None:
        _write(os.path.join(repository, "refs", *revision.split("/")), COMMIT)
    for name in absent:
        _write(os.path.join(repository, ".no_exist", COMMIT, name), "")
    source = os.path.join(repository, "files")
    write_checkpoint(source, config, shards)
    for name, text in code.items():
        _write(os.path.join(source, name), text)
    for name in sorted(set(os.listdir(source)) - set(without)):
        blob = hashlib.sha256(name.encode()).hexdigest()
        shutil.move(os.path.join(source, name), os.path.join(blobs, blob))
        os.symlink(os.path.join("..", "..", "blobs", blob), os.path.join(snapshot, name))
    shutil.rmtree(source)
    return snapshot


def _write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def _offline(folder: str, layers: int) -> None:
    """Complete models, and models of which something was not fetched."""
    code = {"configuration_tiny.py": "class TinyConfig: ...\n", "modeling_tiny.py": _MODELING}
    write_cache(folder, "tiny/llama", _LLAMA, _SHARDS)
    write_cache(folder, "tiny/code", _CODE, _SHARDS, code=code)
    write_cache(folder, "tiny/no-code", _CODE, _SHARDS, code=code, without=["modeling_tiny.py"])
    write_cache(folder, "tiny/one-shard-of-two", _LLAMA, _SHARDS, without=["model-00002-of-00002.safetensors"])
    write_cache(folder, "tiny/config-alone", _LLAMA, [])
    write_torch_file(os.path.join(write_cache(folder, "tiny/bin", _LLAMA, []), "pytorch_model.bin"), _SHARDS[0])


def _pinned(folder: str, layers: int) -> None:
    """A model that was fetched by its commit, so that no branch leads to it."""
    write_cache(folder, "tiny/llama", _LLAMA, _SHARDS, revision=None)


CACHES: Mapping[str, Callable[[str, int], None]] = {"caches/offline": _offline, "caches/pinned": _pinned}
