"""The commands that fetch what is missing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qvl_preflight.report import Fix
from qvl_preflight.unknown import Unknown, attempt

if TYPE_CHECKING:
    from qvl_preflight.checkpoint import Checkpoint
    from qvl_preflight.facts import Packages


def download(packages: Packages, checkpoint: Checkpoint, model: str | None = None) -> str:
    """``hf download …`` of this call's revision, into this call's cache; under its old name before huggingface_hub 0.34."""
    asked, source = checkpoint.asked, checkpoint.source
    named = source.model if source is not None and source.hub is not None else ""
    words = [_command(packages), "download", model or named]
    if asked.revision != "main" and model in (None, named):
        words += ["--revision", asked.revision]
    return " ".join([*words, *(["--cache-dir", asked.cache_dir] if asked.cache_dir else [])])


def fetch_again(packages: Packages, checkpoint: Checkpoint) -> Fix:
    """What mends files that are missing or broken. A folder does not say of which model it is, unless it lies in a cache."""
    source = checkpoint.source
    if source is not None and source.hub is not None:
        return Fix.display("Download the checkpoint again; complete files are kept", download(packages, checkpoint))
    if found := _SNAPSHOT.search(checkpoint.path.replace("\\", "/")):
        cache, model, commit = found[1], found[2].replace("--", "/"), found[3]
        command = f"{_command(packages)} download {model} --revision {commit} --cache-dir {cache}"
        return Fix.display("Download the checkpoint again; complete files are kept", command)
    return Fix.display(
        f"Download the checkpoint again into {checkpoint.path}, with '{_command(packages)} download', its hub id and --local-dir; "
        "complete files are kept"
    )


_SNAPSHOT = re.compile(r"^(.+)/models--([^/]+)/snapshots/([0-9a-f]{40})/?$")


def _command(packages: Packages) -> str:
    release = attempt(lambda: packages.release("huggingface-hub"))
    old = not isinstance(release, Unknown) and release is not None and release < (0, 34)
    return "huggingface-cli" if old else "hf"
