"""Which files of code a call asks the hub for: those that config.json names in auto_map, and what they import from beside them.

Sources: transformers 4.28 to 5.23 dynamic_module_utils.py get_class_from_dynamic_module, get_cached_module_file, get_relative_imports.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qvl_preflight.remote_imports import relative_imports
from qvl_preflight.sources import Source, cached

if TYPE_CHECKING:
    from qvl_preflight.checkpoint import Checkpoint

_MOST_BYTES = 4 * 2**20


@dataclass(frozen=True)
class CodeFile:
    """A file of code in a repository of the cache. ``imported``: another file imports it, config.json does not name it."""

    source: Source
    name: str
    imported: bool = False

    @property
    def path(self) -> str | None:
        """Where it is, None where it is not in the cache."""
        return self.source.path(self.name)


def asked_for(checkpoint: Checkpoint, loader: str | None) -> Iterator[CodeFile]:
    """The files, in the order in which they are asked for."""
    source = checkpoint.source
    named = checkpoint.config.get("auto_map")
    if source is None or not isinstance(named, Mapping):
        return
    seen: set[tuple[str, str]] = set()
    for reference in _references(named, loader):
        repository, dashes, rest = reference.rpartition("--")
        of = _elsewhere(checkpoint, source, repository) if dashes else _own(checkpoint, source)
        module = rest.rpartition(".")[0]
        if of is not None and re.fullmatch(r"\w+", module):
            yield from _with_imports(CodeFile(of, f"{module}.py"), seen)


def _references(named: Mapping[str, Any], loader: str | None) -> Iterator[str]:
    """``module.Class`` of the configuration, then of the class that is loaded, as far as it is known which."""
    if loader is not None and not loader.startswith("Auto"):
        return  # a class of transformers' own loads no code
    models = {key: value for key, value in named.items() if key.startswith("AutoModel") and isinstance(value, str)}
    wanted = [models.get(loader)] if loader else list(models.values())
    if len({str(reference).rpartition(".")[0] for reference in wanted}) != 1:
        wanted = []
    yield from (reference for reference in (named.get("AutoConfig"), *wanted) if isinstance(reference, str))


def _own(checkpoint: Checkpoint, source: Source) -> Source:
    revision = checkpoint.asked.code_revision
    return cached(source.model, revision, source.cache, source.same_cache) if revision else source


def _elsewhere(checkpoint: Checkpoint, source: Source, repository: str) -> Source | None:
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", repository) or os.path.isdir(repository):
        return None
    return cached(repository, checkpoint.asked.code_revision or "main", source.cache, source.same_cache)


def _with_imports(file: CodeFile, seen: set[tuple[str, str]]) -> Iterator[CodeFile]:
    key = (file.source.model, file.name)
    if key in seen or len(seen) > 100:
        return
    seen.add(key)
    yield file
    if file.path is None:
        return
    text = _text(file.path)
    for module in relative_imports(text):
        if re.fullmatch(r"\w+", module):  # the others are looked for in another way, release by release
            yield from _with_imports(CodeFile(file.source, f"{module}.py", imported=True), seen)


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_MOST_BYTES)
    except OSError:
        return ""
