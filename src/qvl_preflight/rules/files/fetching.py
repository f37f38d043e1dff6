"""The commands that fetch what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qvl_preflight.report import Fix
from qvl_preflight.unknown import Unknown, attempt

if TYPE_CHECKING:
    from qvl_preflight.checkpoint import Checkpoint
    from qvl_preflight.facts import Packages


def download(packages: Packages, checkpoint: Checkpoint, model: str | None = None) -> str:
    """``hf download …`` of this call's revision, into this call's cache; under its old name before huggingface_hub 0.34."""
    release = attempt(lambda: packages.release("huggingface-hub"))
    old = not isinstance(release, Unknown) and release is not None and release < (0, 34)
    asked, source = checkpoint.asked, checkpoint.source
    if source is None or source.hub is None:
        return f"{'huggingface-cli' if old else 'hf'} download MODEL --local-dir {checkpoint.path}"
    words = ["huggingface-cli" if old else "hf", "download", model or source.model]
    if asked.revision != "main" and model in (None, source.model):
        words += ["--revision", asked.revision]
    return " ".join([*words, *(["--cache-dir", asked.cache_dir] if asked.cache_dir else [])])


def fetch_again(packages: Packages, checkpoint: Checkpoint) -> Fix:
    """What mends files that are missing or broken."""
    return Fix.display("Download the checkpoint again; complete files are kept", download(packages, checkpoint))
