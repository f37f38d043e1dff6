"""Where the caches of model hubs lie, and what they hold of a model. Read as they are; nothing is fetched and nothing is written.

Sources: huggingface_hub 0.14 to 2.4 constants.py and file_download.py (the same layout in all of them); transformers 4.28 to 5.23
utils/hub.py; modelscope 1.31 utils/file_utils.py and hub/file_download.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

_COMMIT = re.compile(r"[0-9a-f]{40}")  # file_download.py REGEX_COMMIT_HASH
_PYTORCH = ("PYTORCH_TRANSFORMERS_CACHE", "PYTORCH_PRETRAINED_BERT_CACHE")
# The variables that can move a cache, in the order in which the releases since 5.0 read them.
VARIABLES = (
    "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "TRANSFORMERS_CACHE", *_PYTORCH, "MODELSCOPE_CACHE",
)  # fmt: skip


def hugging_face_cache(env: Mapping[str, str], transformers: tuple[int, ...] | None = None) -> str:
    """The folder in which this release of transformers keeps what it downloads. None: a release of today."""
    names: tuple[str, ...] = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")
    if transformers is not None and transformers < (5,):
        names = ("TRANSFORMERS_CACHE", *_PYTORCH, *names)
    if transformers is not None and transformers < (4, 36):  # they work it out without huggingface_hub
        names = ("TRANSFORMERS_CACHE", "HUGGINGFACE_HUB_CACHE", *_PYTORCH)
    for name in names:
        if env.get(name):
            return _expanded(env[name])
    return os.path.join(hugging_face_home(env), "hub")


def hugging_face_home(env: Mapping[str, str]) -> str:
    """``~/.cache/huggingface``, or where HF_HOME and XDG_CACHE_HOME put it."""
    cache = env.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return _expanded(env.get("HF_HOME") or os.path.join(cache, "huggingface"))


def modelscope_folder(model: str, env: Mapping[str, str], cache_dir: str | None = None) -> str | None:
    """The folder of a model in ModelScope's cache, in the layout of today (models/) or an older one; None where there is none.

    It writes the dots of a name as ``___``: ``Qwen/Qwen2___5-7B-Instruct``.
    """
    owner, slash, name = model.partition("/")
    if not slash or not _is_name(owner) or not _is_name(name):
        return None
    root = cache_dir or _expanded(env.get("MODELSCOPE_CACHE") or os.path.join("~", ".cache", "modelscope", "hub"))
    for base in [root] if cache_dir else [os.path.join(root, "models"), os.path.join(root, "hub"), root]:
        for spelt in (name.replace(".", "___"), name):
            folder = os.path.join(base, owner, spelt)
            if os.path.isfile(os.path.join(folder, "config.json")):
                return folder
    return None


def is_hub_id(model: str) -> bool:
    """Can a name be that of a model on a hub, ``Qwen/Qwen2-7B`` or ``gpt2``? A path cannot."""
    parts = model.split("/")
    return len(parts) <= 2 and all(map(_is_name, parts))


@dataclass(frozen=True)
class Repository:
    """A model in huggingface_hub's cache: refs/, snapshots/, blobs/ and .no_exist/."""

    path: str

    @classmethod
    def of(cls, model: str, cache: str) -> Repository:
        """The folder of a model, whether it is there or not."""
        return cls(os.path.join(cache, "models--" + model.replace("/", "--")))

    @property
    def exists(self) -> bool:
        """Is there anything of this model?"""
        return os.path.isdir(self.path)

    def commit(self, revision: str) -> str | None:
        """The commit that a branch, tag or hash stands for, where a snapshot of it is here; None else."""
        commit = revision if _COMMIT.fullmatch(revision) else self._ref(revision)
        return commit if commit is not None and os.path.isdir(self.snapshot(commit)) else None

    def snapshot(self, commit: str) -> str:
        """The folder with the files of one commit, as links to blobs."""
        return os.path.join(self.path, "snapshots", commit)

    def commits(self) -> tuple[str, ...]:
        """The commits of which there is a snapshot."""
        try:
            return tuple(sorted(name for name in os.listdir(os.path.join(self.path, "snapshots")) if _COMMIT.fullmatch(name)))
        except OSError:
            return ()

    def is_unfinished(self) -> bool:
        """Has a download been broken off, or is it still running?"""
        try:
            return any(name.endswith(".incomplete") for name in os.listdir(os.path.join(self.path, "blobs")))
        except OSError:
            return False

    def known_absent(self, commit: str, name: str) -> bool:
        """Has the hub said of this commit that it has no such file?"""
        return os.path.isfile(os.path.join(self.path, ".no_exist", commit, *name.split("/")))

    def _ref(self, revision: str) -> str | None:
        if any(part in ("", ".", "..") for part in revision.split("/")):
            return None
        path = os.path.join(self.path, "refs", *revision.split("/"))
        try:
            if not os.path.isfile(path):
                return None
            with open(path, encoding="utf-8") as file:
                commit = file.read(100).strip()
        except (OSError, ValueError):
            return None
        return commit if re.fullmatch(r"\w+", commit) else None


def _is_name(part: str) -> bool:
    return re.fullmatch(r"[\w-][\w.-]*", part) is not None


def _expanded(path: str) -> str:
    return os.path.expandvars(os.path.expanduser(path))
