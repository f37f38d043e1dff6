"""Installed distributions by the names of their metadata folders, and what torch's own files say of its build.

importlib.metadata would read every METADATA file; the folder's name already holds name and version (the wheel format fixes it:
packaging.python.org, "Recording installed projects").
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any, Literal

from qvl_preflight.facts import Torch
from qvl_preflight.unknown import Unknown


def probe() -> dict[str, Any]:
    """``packages``: what sys.path offers, the first folder winning as it does for imports."""
    found: dict[str, str | Literal[False] | Unknown] = {}
    for folder in sys.path:
        for name, version in _distributions(folder):
            found.setdefault(name, version)
    return {"packages": dict(sorted(found.items()))}


def _distributions(folder: str) -> list[tuple[str, str]]:
    try:
        entries = os.listdir(folder or ".")
    except OSError:
        return []
    out = []
    if "EGG-INFO" in entries and (named := _read_metadata(os.path.join(folder, "EGG-INFO", "PKG-INFO"))):
        out.append(named)
    for entry in entries:
        stem, kind = os.path.splitext(entry)
        if kind not in (".dist-info", ".egg-info"):
            continue
        name, _, version = stem.partition("-")
        if kind == ".egg-info":
            version = re.sub(r"-py\d.*$", "", version)
        if kind == ".egg-info" and not version and (named := _read_metadata(os.path.join(folder, entry, "PKG-INFO"))):
            out.append(named)  # setup.py develop: the version is inside
        if version and _is_whole(os.path.join(folder, entry)):
            out.append((normalised(name), version))
    return out


def _read_metadata(path: str) -> tuple[str, str] | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            head = file.read().partition("\n\n")[0]
    except OSError:
        return None
    found = dict(re.findall(r"^(Name|Version): *(\S+)", head, re.MULTILINE))
    return (normalised(found["Name"]), found["Version"]) if len(found) == 2 else None


def _is_whole(path: str) -> bool:
    """A folder left behind by a broken uninstall holds no metadata."""
    return os.path.isfile(path) or any(os.path.isfile(os.path.join(path, name)) for name in ("METADATA", "PKG-INFO"))


def normalised(name: str) -> str:
    """The distribution name as PEP 503 normalises it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def probe_torch() -> dict[str, Any]:
    """``torch``: CUDA and HIP of its build out of torch/version.py; the current device where this process has initialised CUDA."""
    path = find_module("torch", "version.py")
    if path is None:
        return {"torch": Unknown("torch is not installed")}
    with open(path, encoding="utf-8") as file:
        text = file.read()
    return {"torch": Torch(_build(text, "cuda"), _build(text, "hip"), current_device=_current_device())}


def _build(text: str, name: str) -> str | Literal[False] | Unknown:
    found = re.search(rf"^{name}\s*(?::[^=]*)?=\s*(None|['\"]([^'\"]*)['\"])", text, re.MULTILINE)
    if found is None:
        return Unknown("torch/version.py does not say")
    return found.group(2) or False


def _current_device() -> int | Unknown:
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    if cuda is None or not cuda.is_initialized():
        return Unknown("this process has not initialised CUDA")
    return int(cuda.current_device())


def find_module(package: str, *inside: str) -> str | None:
    """The first path on sys.path that ``import package`` would use, without importing it."""
    for folder in sys.path:
        path = os.path.join(folder, package, *inside)
        if os.path.exists(path):
            return path
    return None
