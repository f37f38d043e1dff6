"""The processes that one launcher started on a machine, who tell one another what they found through a folder that `qvl-preflight run` named."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from qvl_preflight.unknown import Unknown

WAIT_S = 8.0
STOP_FILE = "stopped"
_calls: Counter[str] = Counter()


def folder_of(token: str) -> str:
    """Where the processes of one run meet. Raises OSError where there is no place for temporary files."""
    return os.path.join(tempfile.gettempdir(), f"qvl-preflight-{token}")


@dataclass(frozen=True)
class Ranks:
    """This process among those of its machine, at one of its calls. Without a folder it knows nothing of the others."""

    rank: int
    local_rank: int
    local_world: int
    folder: str | None
    call: int = 0

    @classmethod
    def of(cls, launch: Any, token: str | None) -> Ranks:
        """``launch``: that of facts."""
        known = None if isinstance(launch, Unknown) else launch
        rank, local, world = (
            value if isinstance(value := getattr(known, name, None), int) else default
            for name, default in (("rank", 0), ("local_rank", 0), ("local_world_size", 1))
        )
        _calls["judged"] += 1
        try:
            folder = folder_of(token) if token is not None else None
        except OSError:
            folder = None
        return cls(rank, local, world, folder, _calls["judged"])

    @property
    def first(self) -> bool:
        """Does it speak in full?"""
        return self.local_rank == 0

    def note(self, codes: tuple[str, ...]) -> None:
        """Let the others know."""
        if self.local_world > 1:
            self._put(f"{self.call}-{self.local_rank}", json.dumps(codes))

    def of_the_first(self) -> frozenset[str]:
        """The codes that the first rank has, as far as it says so in time."""
        path = self._path(f"{self.call}-0")
        if path is None or not _appears([path]):
            return frozenset()
        try:
            with open(path, encoding="utf-8") as file:
                return frozenset(json.load(file))
        except (OSError, ValueError):
            return frozenset()

    def stop(self, verdict: str) -> None:
        """This process ends: say so to who stands by, where somebody does, once the others have looked at their call."""
        if self.folder is not None and os.path.isdir(self.folder):
            self._put(STOP_FILE, verdict, keep="fails")
        paths = [self._path(f"{self.call}-{rank}") for rank in range(self.local_world)]
        if self.local_world > 1:
            _appears([path for path in paths if path is not None])

    def _path(self, name: str) -> str | None:
        return None if self.folder is None else os.path.join(self.folder, name)

    def _put(self, name: str, text: str, keep: str | None = None) -> None:
        """Whole or not at all. ``keep``: what is not written over."""
        path = self._path(name)
        if path is None or self.folder is None:
            return
        try:
            try:
                os.mkdir(self.folder, 0o700)
                atexit.register(shutil.rmtree, self.folder, ignore_errors=True)
            except FileExistsError:
                pass
            if keep is not None and os.path.exists(path):
                with open(path, encoding="utf-8") as file:
                    if file.read() == keep:
                        return
            with open(f"{path}.{os.getpid()}", "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(file.name, path)
        except OSError:  # a full disk: each speaks for itself then
            return


def _appears(paths: list[str]) -> bool:
    until = time.monotonic() + WAIT_S
    while not all(map(os.path.exists, paths)):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
