"""Which files a call loads its weights from, and what is wrong with them. Headers and directories are read, never the weights.

The choice is that of transformers 4.28 to 5.23, modeling_utils.py: safetensors before .bin, one file before an index of shards.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qvl_preflight import json_files
from qvl_preflight.exceptions import InputError
from qvl_preflight.safetensors import Tensor, ends_in_header, read_header
from qvl_preflight.stand_ins import StandIn, stand_in
from qvl_preflight.torch_files import TorchFile, read_torch_file

SAFETENSORS, BIN = "model.safetensors", "pytorch_model.bin"
OTHER_FRAMEWORKS = {"tf_model.h5": "TensorFlow", "flax_model.msgpack": "Flax"}


@dataclass(frozen=True)
class Choice:
    """The file that a call loads: one of weights, or an index of shards. ``name`` lies in the call's subfolder."""

    name: str
    format: str  # safetensors or bin

    @property
    def sharded(self) -> bool:
        """Is it an index?"""
        return ".index." in self.name


@dataclass(frozen=True)
class WeightFiles:
    """The files of a choice, by name, and their state. ``total_bytes`` is None where some are not here and nothing says how large they are."""

    choice: Choice
    names: tuple[str, ...]
    missing: tuple[str, ...] = ()
    short: Mapping[str, int] = field(default_factory=dict)  # bytes that a file lacks; 0 where it is not known how many
    stand_ins: Mapping[str, StandIn] = field(default_factory=dict)
    long: Mapping[str, int] = field(default_factory=dict)  # bytes that a file has behind its last tensor
    undescribed: tuple[str, ...] = ()  # safetensors files without any metadata
    tensors: tuple[Tensor, ...] | None = ()  # None where .bin files do not tell them
    total_bytes: int | None = None


def with_variant(name: str, variant: str | None) -> str:
    """``model.fp16.safetensors``, ``model.safetensors.index.fp16.json`` (utils/hub.py _add_variant)."""
    stem, _, ending = name.rpartition(".")
    return f"{stem}.{variant}.{ending}" if variant else name


def candidates(use_safetensors: bool | None, variant: str | None) -> tuple[Choice, ...]:
    """The files that are looked for, in order. ``use_safetensors=True`` comes first to safetensors, and in old releases to .bin in the end."""
    formats = ("bin",) if use_safetensors is False else ("safetensors", "bin")
    names = {"safetensors": SAFETENSORS, "bin": BIN}
    return tuple(Choice(with_variant(names[kind] + index, variant), kind) for kind in formats for index in ("", ".index.json"))


def choose(exists: Callable[[str], bool], use_safetensors: bool | None = None, variant: str | None = None) -> Choice | None:
    """The first file of those that are looked for and that is there."""
    return next((found for found in candidates(use_safetensors, variant) if exists(found.name)), None)


@dataclass(frozen=True)
class Kind:
    """Of which kind weights are: their format, and the variant in their names."""

    format: str
    variant: str | None


def weights_of_another_call(names: list[str], variant: str | None = None) -> Kind | None:
    """The weights that lie in a folder, those of a ``variant`` and then plain ones first; None where there are none of transformers'."""
    kinds = [kind for name in names if (kind := _kind(name))]
    return min(kinds, key=lambda kind: (kind.variant != variant, kind.variant or "", kind.format), default=None)


def is_shard(name: str) -> bool:
    """Is it named like one file of several?"""
    return re.fullmatch(r"(model|pytorch_model)(\.[\w-]+)?-\d{5}-of-\d{5}\.(safetensors|bin)", name) is not None


def is_weights(name: str) -> bool:
    """Is it named like weights that transformers reads, in one file, an index or a shard?"""
    return is_shard(name) or _kind(name) is not None


def _kind(name: str) -> Kind | None:
    found = re.fullmatch(r"(model|pytorch_model)(\.[\w-]+)?\.(safetensors|bin)", name)
    index = re.fullmatch(r"(model|pytorch_model)\.(safetensors|bin)\.index(\.[\w-]+)?\.json", name)
    stem, variant, kind = (found[1], found[2], found[3]) if found else (index[1], index[3], index[2]) if index else ("", None, "")
    if (stem, kind) not in (
        ("model", "safetensors"),
        ("pytorch_model", "bin"),
    ) or "-of-" in name:  # a shard says nothing without its index
        return None
    return Kind(kind, (variant or "").removeprefix(".") or None)


def read_files(folder: str, choice: Choice) -> WeightFiles | str:
    """The state of every file that a choice leads to; text where they cannot be told, and why. Raises InputError."""
    names: tuple[str, ...] = (choice.name,)
    size = None
    if choice.sharded:
        names, body = _read_index(os.path.join(folder, choice.name))
        if not all(map(_stays_inside, names)):
            return "the index names files outside its folder, which are not opened"
        metadata = body.get("metadata")
        size = metadata.get("total_size") if isinstance(metadata, dict) else None
    return _read_all(folder, choice, names, size if isinstance(size, int) and not isinstance(size, bool) else None)


def shards(index: str) -> tuple[str, ...]:
    """The files that an index names. Raises InputError."""
    return _read_index(index)[0]


def _read_index(path: str) -> tuple[tuple[str, ...], Mapping[str, Any]]:
    body = read_json(path)
    weight_map = body.get("weight_map") if isinstance(body, dict) else None
    if not isinstance(weight_map, dict):
        raise InputError(f"{path}: holds no weight_map; download it again")
    return tuple(sorted({str(name) for name in weight_map.values()})), body


def _read_all(folder: str, choice: Choice, names: tuple[str, ...], size: int | None) -> WeightFiles:
    found = _Files()
    for name in names:
        path = os.path.join(folder, name)
        if not os.path.isfile(path):
            found.missing.append(name)
        elif choice.format == "safetensors":
            found.add_safetensors(name, path)
        else:
            found.add_bin(name, path)
    unsaid = (
        found.missing
        or (0 in found.short.values() and choice.format == "safetensors")
        or any(not each.true_bytes for each in found.stand_ins.values())
    )
    return WeightFiles(
        choice, names, tuple(found.missing), found.short, found.stand_ins, found.long, tuple(found.undescribed),
        None if found.untold else tuple(found.tensors), size if unsaid else found.total,
    )  # fmt: skip


@dataclass
class _Files:
    """What is found, file by file. Each is opened once, as long as nothing is wrong with it."""

    missing: list[str] = field(default_factory=list)
    stand_ins: dict[str, StandIn] = field(default_factory=dict)
    short: dict[str, int] = field(default_factory=dict)
    long: dict[str, int] = field(default_factory=dict)
    undescribed: list[str] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    total: int = 0
    untold: bool = False

    def add_safetensors(self, name: str, path: str) -> None:
        """Raises InputError where it is neither one, nor the beginning of one, nor a known stand-in."""
        try:
            header = read_header(path)
        except InputError:
            if found := stand_in(path):
                self.stand_ins[name] = found
                self.total += found.true_bytes
            elif ends_in_header(path):
                self.short[name] = 0
            else:
                raise
            return
        self.tensors += header.tensors
        self.total += sum(tensor.total_bytes for tensor in header.tensors)
        if header.lacking_bytes:
            self.short[name] = header.lacking_bytes
        if header.surplus_bytes:
            self.long[name] = header.surplus_bytes
        if not header.described:
            self.undescribed.append(name)

    def add_bin(self, name: str, path: str) -> None:
        """Raises InputError where it cannot be read."""
        if found := stand_in(path):
            self.stand_ins[name] = found
            self.total += found.true_bytes
            return
        archive = _torch_file(path)
        self.total += archive.total_bytes
        self.untold |= archive.tensors is None
        self.tensors += archive.tensors or ()
        if not archive.complete:
            self.short[name] = 0


def _torch_file(path: str) -> TorchFile:
    try:
        return read_torch_file(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def read_json(path: str) -> Any:
    """A JSON file of a checkpoint. Raises InputError."""
    try:
        return json_files.read_json(path, own=False)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; expected the {os.path.basename(path)} of a transformers checkpoint") from error
    except ValueError as error:
        if (found := stand_in(path)) and found.true_bytes:
            raise InputError(f"{path}: {found.what}, not the file itself; run 'git lfs pull' in that folder") from error
        raise InputError(f"{path}: not valid JSON ({error}); is the download complete?") from error


def _stays_inside(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return bool(name) and ".." not in parts and not os.path.isabs(name) and parts[0] != "" and not re.match(r"[A-Za-z]:", name)
