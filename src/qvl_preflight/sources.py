"""Where the files of a call come from: a folder, Hugging Face's cache or ModelScope's. What the call says of them, and what is there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qvl_preflight.caches import VARIABLES, Repository, hugging_face_cache, is_hub_id, modelscope_folder


@dataclass(frozen=True)
class Asked:
    """What the kwargs of a call say of the files that it wants."""

    revision: str = "main"
    code_revision: str | None = None
    subfolder: str = ""
    variant: str | None = None
    use_safetensors: bool | None = None
    gguf_file: str | None = None
    cache_dir: str | None = None
    local_files_only: bool = False
    force_download: bool = False
    other_framework: bool = False  # from_tf, from_flax

    @classmethod
    def of(cls, kwargs: Mapping[str, Any]) -> Asked:
        """As far as the values are what from_pretrained takes."""

        def text(key: str) -> str | None:
            value = kwargs.get(key)
            return value if isinstance(value, str) and value else None

        safe = kwargs.get("use_safetensors")
        return cls(
            text("revision") or "main", text("code_revision"), text("subfolder") or "", text("variant"),
            safe if isinstance(safe, bool) else None, text("gguf_file"), text("cache_dir"), kwargs.get("local_files_only") is True,
            kwargs.get("force_download") is True, bool(kwargs.get("from_tf") or kwargs.get("from_flax")),
        )  # fmt: skip


@dataclass(frozen=True)
class Place:
    """How this machine, or the one that facts describe, finds a cache."""

    env: Mapping[str, str]  # of this process
    facts_env: Mapping[str, str] | None = None  # of the machine that facts describe; None: of this one
    transformers: tuple[int, ...] | None = None
    hub: str = "huggingface"  # or modelscope, by the class that is called

    def cache(self, cache_dir: str | None) -> tuple[str, bool]:
        """The cache that a call looks in, and whether it is certainly the one that the machine in question uses."""
        if cache_dir is not None:
            return cache_dir, True
        if self.facts_env is not None and any(self.facts_env.get(name) for name in VARIABLES):
            named = hugging_face_cache(self.facts_env, self.transformers)
            if os.path.isdir(named):
                return named, True
        return hugging_face_cache(self.env, self.transformers), self.facts_env is None


@dataclass(frozen=True)
class Source:
    """Where the files of a model are. ``folder`` is None where nothing of this revision is here."""

    model: str  # as the call names it
    folder: str | None
    hub: str | None = None  # huggingface, modelscope; None: a folder is named
    cache: str = ""
    commit: str | None = None
    same_cache: bool = True  # False: the machine in question may have another cache than this one

    @property
    def repository(self) -> Repository | None:
        """Its folder in huggingface_hub's cache."""
        return Repository.of(self.model, self.cache) if self.hub == "huggingface" else None

    def path(self, name: str) -> str | None:
        """The file of that name, None where it is not here. A link whose blob is gone leads nowhere."""
        if self.folder is None:
            return None
        path = os.path.join(self.folder, *name.split("/"))
        return path if os.path.isfile(path) else None

    def known_absent(self, name: str) -> bool:
        """Does the cache know that the hub has no such file in this commit?"""
        repository = self.repository
        return repository is not None and self.commit is not None and repository.known_absent(self.commit, name)


def find_source(model: str, asked: Asked, place: Place) -> Source | None:
    """Where a call finds a model; None for a path that is not there."""
    if os.path.isdir(model):
        return Source(model, model)
    if not is_hub_id(model):
        return None
    if place.hub == "modelscope":
        return Source(model, modelscope_folder(model, place.env, asked.cache_dir), "modelscope", asked.cache_dir or "")
    return cached(model, asked.revision, *place.cache(asked.cache_dir))


def cached(model: str, revision: str, cache: str, same_cache: bool = True) -> Source:
    """A model in Hugging Face's cache, at a branch, tag or commit."""
    repository = Repository.of(model, cache)
    commit = repository.commit(revision)
    return Source(model, repository.snapshot(commit) if commit else None, "huggingface", cache, commit, same_cache)
