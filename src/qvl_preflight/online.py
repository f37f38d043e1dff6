"""Asks the hub, where a person says so: config.json, the code, the index and the headers of the weights. The weights themselves stay there.

huggingface_hub does the asking, with the person's own login, mirror and proxy. What it fetches lies in a folder of its own until Python
ends: the person's cache is left as it is, for a call that is offline later must not find half a model there.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, TypeVar

from qvl_preflight.caches import Repository
from qvl_preflight.exceptions import InputError
from qvl_preflight.safetensors import Tensor
from qvl_preflight.sources import Asked, Source
from qvl_preflight.weight_files import SAFETENSORS, Choice, WeightFiles, choose, shards, with_variant

SECONDS = 30.0
_MOST_BYTES, _MOST_CODE_FILES, _MOST_HEADERS = 2**27, 40, 300
T = TypeVar("T")


class Hub(Protocol):
    """What is asked of a hub about one model."""

    def files(self) -> tuple[str, Mapping[str, int | None]]:
        """The commit, and the size of each file where it is told."""

    def fetch(self, name: str, commit: str) -> None:
        """One small file into the folder of this hub."""

    def header(self, name: str, commit: str) -> tuple[Tensor, ...]:
        """The tensors of one safetensors file."""


@dataclass(frozen=True)
class Answer:
    """A model as the hub has it now: where its small files lie, and its weights on paper (None: no weights of transformers)."""

    source: Source
    weights: WeightFiles | None


def ask_hub(model: str, asked: Asked, seconds: float = SECONDS, connect: Callable[[str, str, str], Hub] | None = None) -> Answer:
    """What the hub says of a model. Raises InputError where it cannot be asked, says no, or is silent for too long."""
    folder = tempfile.mkdtemp(prefix="qvl-preflight-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return _within(
        seconds, model, lambda: _answer(model, asked, folder, (connect or HuggingFaceHub)(model, asked.revision, folder))
    )


def _answer(model: str, asked: Asked, folder: str, hub: Hub) -> Answer:
    commit, sizes = hub.files()
    source = Source(model, Repository.of(model, folder).snapshot(commit), "huggingface", folder, commit)
    below = f"{asked.subfolder.strip('/')}/" if asked.subfolder.strip("/") else ""
    if f"{below}config.json" not in sizes:
        raise InputError(
            f"{model}: the hub has no {below}config.json of it at revision {asked.revision}; is it a model of transformers?"
        )
    choice = choose(lambda name: below + name in sizes, asked.use_safetensors, asked.variant)
    code = [name for name in sizes if name.endswith(".py") and "/" not in name][:_MOST_CODE_FILES]
    wanted = [f"{below}config.json", *([below + choice.name] if choice and choice.sharded else []), *code]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: hub.fetch(name, commit), [name for name in wanted if (sizes[name] or 0) <= _MOST_BYTES]))
    _note_absent(source, [below + with_variant(SAFETENSORS + index, asked.variant) for index in ("", ".index.json")], sizes)
    return Answer(source, _weights(source, hub, choice, below, sizes) if choice else None)


def _weights(source: Source, hub: Hub, choice: Choice, below: str, sizes: Mapping[str, int | None]) -> WeightFiles:
    """The headers of safetensors files; of .bin files their sizes, which are a little more than the weights."""
    index = source.path(below + choice.name)
    names = shards(index) if index is not None else (choice.name,)
    tensors: tuple[Tensor, ...] = ()
    if choice.format == "safetensors" and len(names) <= _MOST_HEADERS:
        with ThreadPoolExecutor(8) as pool:
            headers = pool.map(
                lambda name: hub.header(below + name, source.commit or ""), [name for name in names if below + name in sizes]
            )
            tensors = tuple(tensor for header in headers for tensor in header)
        return WeightFiles(choice, names, tensors=tensors, total_bytes=sum(tensor.total_bytes for tensor in tensors))
    known = [sizes.get(below + name) for name in names]
    return WeightFiles(choice, names, tensors=None, total_bytes=None if None in known else sum(size or 0 for size in known))


def _note_absent(source: Source, names: list[str], sizes: Mapping[str, int | None]) -> None:
    """As huggingface_hub notes what the hub has not."""
    repository = source.repository
    for name in names:
        if name not in sizes and repository is not None and source.commit is not None:
            path = os.path.join(repository.path, ".no_exist", source.commit, *name.split("/"))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8"):
                pass


class HuggingFaceHub:
    """huggingface_hub's client, 0.20 or later."""

    def __init__(self, model: str, revision: str, folder: str) -> None:
        try:
            package: Any = import_module("huggingface_hub")
        except ImportError:
            raise InputError("asking the hub takes the package huggingface_hub: pip install huggingface_hub") from None
        self._package, self._api = package, package.HfApi()
        self._model, self._revision, self._folder = model, revision, folder

    def files(self) -> tuple[str, Mapping[str, int | None]]:
        """As `Hub.files`."""
        found = self._api.model_info(self._model, revision=self._revision, files_metadata=True)
        return str(found.sha), {file.rfilename: file.size for file in found.siblings or ()}

    def fetch(self, name: str, commit: str) -> None:
        """As `Hub.fetch`, laid out as a cache."""
        self._package.hf_hub_download(self._model, name, revision=commit, cache_dir=self._folder)

    def header(self, name: str, commit: str) -> tuple[Tensor, ...]:
        """As `Hub.header`, by a request for a part of the file."""
        found = self._api.parse_safetensors_file_metadata(self._model, name, revision=commit)
        return tuple(
            Tensor(tensor, info.dtype, tuple(info.shape), info.data_offsets[1] - info.data_offsets[0])
            for tensor, info in found.tensors.items()
        )


def _within(seconds: float, model: str, work: Callable[[], T]) -> T:
    """The result, or InputError. The thread of a hub that stays silent ends with the process."""
    done: list[T] = []
    failed: list[Exception] = []

    def run() -> None:
        try:
            done.append(work())
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failed:
        raise failed[0] if isinstance(failed[0], InputError) else InputError(f"{model}: {_reason(failed[0])}") from failed[0]
    if not done:
        raise InputError(
            f"{model}: the hub did not answer within {seconds:g} s; give it longer with --timeout, or see to the network"
        )
    return done[0]


def _reason(error: Exception) -> str:
    """What went wrong, by the class that huggingface_hub raises; its modules have moved, the names have not."""
    names = {kind.__name__ for kind in type(error).__mro__}
    first = str(error).strip().split("\n")[0][:200]
    if "GatedRepoError" in names:
        return "a gated model: ask for access on its page, and log in with 'hf auth login'"
    if "RepositoryNotFoundError" in names:
        return "the hub knows no such model, or shows it only to others; see to its spelling, and log in with 'hf auth login'"
    if "RevisionNotFoundError" in names:
        return "the hub has no such revision of it"
    if "OfflineModeIsEnabled" in names:
        return "HF_HUB_OFFLINE forbids to ask the hub; unset it, or leave --online away"
    return f"the hub could not be asked ({type(error).__name__}: {first})"
