"""What a checkpoint says of itself: config.json, its quantisation, and the safetensors headers. Nothing is loaded or run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from qvl_preflight.caches import modelscope_folder
from qvl_preflight.exceptions import InputError
from qvl_preflight.safetensors import Tensor
from qvl_preflight.sources import Asked, Place, Source, cached, find_source
from qvl_preflight.unknown import Undecided, Unknown
from qvl_preflight.weight_files import WeightFiles, choose, read_files, read_json

NO_WEIGHTS = Unknown("the folder holds no weights, only its config.json")
BIN_WEIGHTS = Unknown(
    "the weights are .bin files that do not tell their tensors: torch before 1.6 wrote them, or they hold more than tensors"
)
NOT_FETCHED = Unknown("the weights are not in the cache yet")
# Reasons for unknown weights that are no open question: a common way to ask, or files that are fetched by the call itself.
USUAL = (NO_WEIGHTS.reason, BIN_WEIGHTS.reason, NOT_FETCHED.reason)


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
    source: Source | None = field(default=None, compare=False)  # None: described, not found
    asked: Asked = field(default_factory=Asked, compare=False)
    adapter: str | None = field(default=None, compare=False)  # the folder of an adapter, which names this model as its base
    at_hub: WeightFiles | None = field(default=None, compare=False)  # as the hub describes them, where it was asked

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
        stored = None if isinstance(self.config, UnreadConfig) else self.quantization
        if stored is not None and isinstance(plain.get("quantization_config"), Mapping):
            plain["quantization_config"] = {**plain["quantization_config"], "quant_method": stored.get("quant_method")}
        stored_config = (
            {} if isinstance(self.config, UnreadConfig) else self.config
        )  # a configuration that is passed is read nowhere
        return replace(self, config={**stored_config, **plain})

    def as_asked(self, kwargs: Mapping[str, Any]) -> Checkpoint:
        """The checkpoint as a corrected call asks for it: other kwargs can mean other files."""
        asked = Asked.of(kwargs)
        if asked == self.asked:
            return self
        source = self.source
        if source is None or source.hub != "huggingface" or asked.revision == self.asked.revision:
            return replace(self, asked=asked)
        source = cached(source.model, asked.revision, source.cache, source.same_cache)
        path = source.path("config.json")
        config = read_config(path) if path is not None and isinstance(self.config, UnreadConfig) else self.config
        return replace(self, path=source.folder or "", config=config, source=source, asked=asked)

    @cached_property
    def files(self) -> WeightFiles | Unknown:
        """The weight files that this call loads, and their state. Raises InputError for one that cannot be read."""
        asked = self.asked
        if asked.gguf_file is not None:
            return Unknown("the weights come out of a GGUF file, which is not read")
        if isinstance(self.config, UnreadConfig):
            return Unknown(self.config.reason)
        if asked.other_framework or self.config.get("transformers_weights"):
            return Unknown("the call names weights of its own, which are not read")
        if self.at_hub is not None:
            return self.at_hub
        folder = os.path.join(self.path, asked.subfolder)
        choice = choose(lambda name: os.path.isfile(os.path.join(folder, name)), asked.use_safetensors, asked.variant)
        if choice is None:
            return NOT_FETCHED if self.source is not None and self.source.hub else NO_WEIGHTS
        found = read_files(folder, choice)
        return Unknown(found) if isinstance(found, str) else found

    @cached_property
    def weights(self) -> Weights | Unknown:
        """The headers of all shards, read once. Raises InputError for a file that is no safetensors file."""
        files = self.files
        if isinstance(files, Unknown):
            return files
        if files.tensors is None:
            return BIN_WEIGHTS
        if files.missing and self.source is not None and self.source.hub:
            return NOT_FETCHED
        if files.stand_ins:
            return Unknown("other files lie in place of the weights")
        return Weights(files.tensors, files.missing, files.short)

    @property
    def total_bytes(self) -> int | Unknown:
        """The weights on paper, of .bin files and of an index alone as well."""
        files = self.files
        if isinstance(files, Unknown):
            return files
        return files.total_bytes if files.total_bytes is not None else Unknown("some of the weight files are not there")


class UnreadConfig(Mapping[str, Any]):
    """Stands for a config.json that the call itself will not find, or that is no file of its own: every question to it is undecided."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __getitem__(self, key: str) -> Any:
        raise Undecided(self.reason)

    def __iter__(self) -> Iterator[str]:
        raise Undecided(self.reason)

    def __len__(self) -> int:
        raise Undecided(self.reason)


def read_checkpoint(
    model: str, env: Mapping[str, str], asked: Asked | None = None, place: Place | None = None, *, offline: bool = False,
    adapter: bool = False,
) -> Checkpoint:  # fmt: skip
    """The checkpoint of a local folder, or of a hub id in a local cache. Raises InputError.

    ``offline``: the call itself will fetch nothing. What it does not find then is its own failure, and no input error. ``adapter``: the
    model is the base of an adapter, which is followed once.
    """
    asked = asked or Asked()
    source = find_source(model, asked, place or Place(env))
    if source is None:
        raise InputError(f"{model}: no such folder; expected one that holds config.json")
    if source.folder is None and (not offline or source.hub == "modelscope"):
        raise InputError(_not_cached(source, asked, env))
    name = "/".join(filter(None, (asked.subfolder.strip("/"), "config.json")))
    path = source.path(name)
    if path is None and source.hub is None and not adapter and (named := _base_of_adapter(source)):
        return replace(read_checkpoint(named, env, asked, place, offline=offline, adapter=True), adapter=model)
    if path is None and (source.hub == "huggingface" and offline):
        return Checkpoint(source.folder or "", UnreadConfig("config.json is not in the cache"), source, asked)
    if path is None and asked.gguf_file:
        return Checkpoint(source.folder or "", UnreadConfig("the configuration comes out of the GGUF file"), source, asked)
    folder = source.folder or ""
    return Checkpoint(folder, read_config(path or os.path.join(folder, name)), source, asked)


def _base_of_adapter(source: Source) -> str | None:
    """The model that a folder without config.json is an adapter of (auto_factory.py find_adapter_config_file). Raises InputError."""
    path = source.path("adapter_config.json")
    settings = read_json(path) if path is not None else None
    named = settings.get("base_model_name_or_path") if isinstance(settings, dict) else None
    return named if isinstance(named, str) and named else None


def read_config(path: str) -> Mapping[str, Any]:
    """One config.json. Raises InputError."""
    config = read_json(path)
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(config).__name__}")
    given = config.get("quantization_config")
    if given is not None and not isinstance(given, dict):
        raise InputError(f"{path}: quantization_config is {json.dumps(given)[:40]}; expected an object with quant_method")
    return config


def _not_cached(source: Source, asked: Asked, env: Mapping[str, str]) -> str:
    """Which cache was looked in, what it has instead, and what to do."""
    if source.hub == "modelscope":
        return f"{source.model}: not in ModelScope's cache; give the folder, or fetch it with 'modelscope download {source.model} config.json'"
    at = "" if asked.revision == "main" else f" --revision {asked.revision}"
    fetch = f"give the folder, or fetch it with 'hf download {source.model} config.json{at}', or ask the hub with --online"
    repository = source.repository
    if repository is not None and repository.exists and (commits := repository.commits()):
        return f"{source.model}: the cache {source.cache} has no revision {asked.revision}, only {', '.join(commits[:3])}; name one with revision=, or {fetch}"
    if elsewhere := modelscope_folder(source.model, env):
        return (
            f"{source.model}: not in the cache {source.cache}; ModelScope's cache has it, which modelscope's own classes read: "
            f"give its folder {elsewhere}, or {fetch}"
        )
    return f"{source.model}: neither a folder here nor a model in the cache {source.cache}; {fetch}"
