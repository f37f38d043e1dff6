"""Who wrote a call: the person, whose arguments may be corrected, or a library, whose own affair they are."""

from __future__ import annotations

import os
import sys
import sysconfig
from dataclasses import dataclass

# Libraries wherever they lie: from a checkout as well. transformers_modules is code that came with a checkpoint.
_LIBRARIES = frozenset({
    "transformers", "transformers_modules", "peft", "trl", "accelerate", "optimum", "auto_gptq", "gptqmodel", "awq", "modelscope", "sentence_transformers",
    "lm_eval", "diffusers", "vllm", "deepspeed", "torch", "unsloth", "unsloth_zoo",
})  # fmt: skip
_PLACES = ("site-packages", "dist-packages")
_STANDARD = tuple({os.path.join(sysconfig.get_paths()[name], "") for name in ("stdlib", "platstdlib")})


@dataclass(frozen=True)
class Site:
    """Where a call is written. ``library``: the package that it belongs to, None for the person's own code."""

    file: str
    line: int
    library: str | None = None

    def __str__(self) -> str:
        place = f"{_near(self.file)}:{self.line}"
        return place if self.library is None else f"{place} (a call of {self.library})"


def caller() -> Site:
    """The nearest frame that is not ours."""
    frame = sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith("qvl_preflight."):
        frame = frame.f_back
    file, module = frame.f_code.co_filename, str(frame.f_globals.get("__name__", ""))
    return Site(file, frame.f_lineno, _library(file, module))


def _library(file: str, module: str) -> str | None:
    top = module.partition(".")[0]
    if top in _LIBRARIES or file.startswith("<frozen") or any(f"{os.sep}{place}{os.sep}" in file for place in _PLACES):
        return top or "a library"
    return top or "Python" if file.startswith(_STANDARD) else None


def _near(file: str) -> str:
    """The path as a person would write it here."""
    try:
        near = os.path.relpath(file)
    except (OSError, ValueError):
        return file
    return file if file.startswith("<") or near.startswith("..") else near
