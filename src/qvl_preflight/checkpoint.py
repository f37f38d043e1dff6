"""What a checkpoint says of itself: config.json, its quantisation, and the safetensors headers. Nothing is loaded or run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from qvl_preflight.exceptions import InputError
from qvl_preflight.json_files import read_json
from qvl_preflight.safetensors import Tensor, read_header
from qvl_preflight.unknown import Unknown

NO_WEIGHTS = Unknown("the folder holds no weights, only its config.json")


@dataclass(frozen=True)
class Weights:
    """The tensors of all shards, and what is wrong with the shards."""

    tensors: tuple[Tensor, ...]
    missing_shards: tuple[str, ...] = ()
    short_shards: Mapping[str, int] | None = None  # file name → bytes that it lacks

    @property
    def total_bytes(self) -> int:
        """On paper: what the headers add up to."""
        return sum(tensor.total_bytes for tensor in self.tensors)


@dataclass(frozen=True)
class Checkpoint:
    """A model's files. ``config`` is config.json as it stands."""

    path: str
    config: Mapping[str, Any]

    @property
    def quantization(self) -> Mapping[str, Any] | None:
        """``quantization_config`` of config.json; text towers of nested configs included, as transformers looks for it."""
        for config in (self.config, self.config.get("text_config")):
            if isinstance(config, Mapping) and isinstance(config.get("quantization_config"), Mapping):
                found: Mapping[str, Any] = config["quantization_config"]
                return found
        return None

    @property
    def quant_method(self) -> str | None:
        """gptq, awq, bitsandbytes …; None for a checkpoint that is not quantised."""
        config = self.quantization
        if config is None:
            return None
        if config.get("load_in_4bit") or config.get("load_in_8bit"):
            return "bitsandbytes"
        return str(config.get("quant_method") or "unknown").lower()

    @property
    def dtype(self) -> str | None:
        """The dtype that config.json names, ``float16``; transformers 5 writes ``dtype``, older ones ``torch_dtype``."""
        for config in (self.config, self.config.get("text_config")):
            if isinstance(config, Mapping):
                named = config.get("dtype", config.get("torch_dtype"))
                if isinstance(named, str):
                    return named.removeprefix("torch.")
        return None

    @property
    def remote_code(self) -> bool:
        """Does config.json name code of its own (auto_map)?"""
        return bool(self.config.get("auto_map"))

    def with_config(self, given: Mapping[str, Any]) -> Checkpoint:
        """The checkpoint under a configuration that the call passes itself (``config=``). Nested objects count by their fields."""
        plain = {key: getattr(value, "fields", value) for key, value in given.items()}
        stored = self.quantization
        if stored is not None and isinstance(plain.get("quantization_config"), Mapping):
            plain["quantization_config"] = {**plain["quantization_config"], "quant_method": stored.get("quant_method")}
        return Checkpoint(self.path, {**self.config, **plain})

    @cached_property
    def weights(self) -> Weights | Unknown:
        """The headers of all shards, read once. Raises InputError for a file that is no safetensors file."""
        return _read_weights(self.path)


def read_checkpoint(model: str, env: Mapping[str, str]) -> Checkpoint:
    """The checkpoint of a local folder, or of a hub id in the local Hugging Face cache. Raises InputError."""
    folder = model if os.path.isdir(model) else _cached_snapshot(model, env)
    path = os.path.join(folder, "config.json")
    config = _read_json(path)
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(config).__name__}")
    given = config.get("quantization_config")
    if given is not None and not isinstance(given, dict):
        raise InputError(f"{path}: quantization_config is {json.dumps(given)[:40]}; expected an object with quant_method")
    return Checkpoint(folder, config)


def _cached_snapshot(model: str, env: Mapping[str, str]) -> str:
    """The newest snapshot of ``main`` in the cache (huggingface_hub 0.17 to 1.31, file_download.py: models--org--name/refs, snapshots)."""
    home = env.get("HF_HOME") or os.path.join(
        env.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"), "huggingface"
    )
    cache = env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    repo = os.path.join(cache, "models--" + model.replace("/", "--"))
    if model.count("/") <= 1 and not model.startswith((".", "/", "~")):
        revision = os.path.join(repo, "refs", "main")
        try:
            if os.path.isfile(revision):
                with open(revision, encoding="utf-8") as file:
                    return os.path.join(repo, "snapshots", file.read(100).strip())
        except (OSError, ValueError):
            pass  # a reference that cannot be read leads nowhere
        raise InputError(
            f"{model}: neither a folder here nor a model in the cache {cache}; give the folder, or fetch it with 'hf download {model} config.json'"
        )
    raise InputError(f"{model}: no such folder; expected one that holds config.json")


def _read_json(path: str) -> Any:
    try:
        return read_json(path, own=False)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected the config.json of a transformers checkpoint") from error
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}); is the download complete?") from error


def _read_weights(folder: str) -> Weights | Unknown:
    index = os.path.join(folder, "model.safetensors.index.json")
    single = os.path.join(folder, "model.safetensors")
    if os.path.isfile(single):
        names = ["model.safetensors"]
    elif os.path.isfile(index):
        weight_map = _read_json(index)
        weight_map = weight_map.get("weight_map") if isinstance(weight_map, dict) else None
        if not isinstance(weight_map, dict):
            raise InputError(f"{index}: holds no weight_map; download it again")
        names = sorted(set(map(str, weight_map.values())))
    else:
        return NO_WEIGHTS
    missing = tuple(name for name in names if not os.path.isfile(os.path.join(folder, name)))
    headers = {name: read_header(os.path.join(folder, name)) for name in names if name not in missing}
    short = {name: header.lacking_bytes for name, header in headers.items() if header.lacking_bytes}
    return Weights(tuple(t for header in headers.values() for t in header.tensors), missing, short)
