"""Installed distributions by the names of their metadata folders, and what torch's own files say of its build.

importlib.metadata would read every METADATA file; the folder's name already holds name and version (the wheel format fixes it:
packaging.python.org, "Recording installed projects").
"""

from __future__ import annotations

import os
import re
import sys
from typing import Any, Literal

from qvl_preflight.facts import EVERY_LOAD_NEEDS, Torch
from qvl_preflight.probes.files import read_text
from qvl_preflight.sections import RELEASE
from qvl_preflight.unknown import Unknown


def probe() -> dict[str, Any]:
    """``packages``: what sys.path offers, the first folder winning as it does for imports; and ``packages_duplicates``."""
    copies: dict[str, list[tuple[str, str]]] = {}
    seen: set[str] = set()
    for folder in sys.path:
        try:
            place = os.path.realpath(folder or ".")
        except OSError:  # the current folder was deleted
            continue
        if place in seen:
            continue
        seen.add(place)
        for name, version in _distributions(folder):
            copies.setdefault(name, []).append((version, place))
    found: dict[str, str | Literal[False] | Unknown] = {name: copies[name][0][0] for name in sorted(copies)}
    found |= {name: bare for name in EVERY_LOAD_NEEDS if name not in found and (bare := _without_metadata(name)) is not None}
    twice = {name: _shown(name, copies[name]) for name in copies if _differ(name, copies[name])}
    for name, version in _conda_records().items():
        if name in copies and name not in twice and all(_numbers(version) != _numbers(other) for other, _ in copies[name]):
            twice[name] = (*_shown(name, copies[name]), f"{version} (conda)")
    return {"packages": found, "packages_duplicates": dict(sorted(twice.items()))}


def _without_metadata(name: str) -> str | Unknown | None:
    """A package that can be imported although nothing says that it was installed: a checkout on PYTHONPATH, a bundle. None where it is not there."""
    path = find_module(name, "__init__.py")
    if path is None:
        return None if name not in sys.modules else Unknown(f"{name} is imported, and lies in no folder of sys.path")
    beside = "\n".join(read_text(os.path.join(os.path.dirname(path), file)) or "" for file in ("__init__.py", "version.py"))
    version = re.search(r"^__version__ *(?::[^=\n]*)?= *['\"]([^'\"]+)['\"]", beside, re.MULTILINE)
    return version.group(1) if version else Unknown(f"{name} lies on sys.path without metadata that tells its version")


def _conda_records() -> dict[str, str]:
    """What conda believes to have installed, by pip's names: the files of conda-meta are called name-version-build.json."""
    try:
        entries = os.listdir(os.path.join(sys.prefix, "conda-meta"))
    except OSError:
        return {}
    parts = [entry.removesuffix(".json").rsplit("-", 2) for entry in entries if entry.endswith(".json")]
    return {
        "torch" if name == "pytorch" else normalised(name): version
        for name, version, _ in (each for each in parts if len(each) == 3)
    }


def _numbers(version: str) -> tuple[str, ...]:
    """The numbers of a release; conda and pip mark a build of their own behind them."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(re.sub(r"(\.0+)+$", "", found.group()).split(".")) if found else (version,)


def _differ(name: str, copies: list[tuple[str, str]]) -> bool:
    """Do several releases of it lie on the path, each with its module? An editable install's metadata lies apart from its module."""
    if len({version for version, _ in copies}) < 2:
        return False
    module = name.replace("-", "_")
    return all(os.path.exists(os.path.join(folder, module)) for _, folder in copies)


def _shown(name: str, copies: list[tuple[str, str]]) -> tuple[str, ...]:
    return tuple(f"{version} ({_place(folder)})" for version, folder in copies)


def _place(folder: str) -> str:
    """The kind of a folder on the path: its whole name would tell who the user is."""
    user_site = getattr(sys.modules.get("site"), "USER_SITE", None)
    if user_site and folder == os.path.realpath(user_site):
        return "user site"
    return os.path.basename(folder) if os.path.basename(folder) in ("site-packages", "dist-packages") else "elsewhere on sys.path"


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
    head = (read_text(path) or "").partition("\n\n")[0]
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
    cuda = _build(text, "cuda")
    return {
        "torch": Torch(
            cuda,
            _build(text, "hip"),
            _arch_list(os.path.dirname(path)) if isinstance(cuda, str) else Unknown("torch is built without CUDA"),
            current_device=_of_process("current_device"),
            xpu_build=_build(text, "xpu"),
            device_count=_of_process("device_count"),
        )
    }


def _arch_list(folder: str) -> tuple[str, ...] | Unknown:
    from qvl_preflight.probes.arch_list import arch_list  # only where there is a CUDA build to ask about

    return arch_list(folder)


def _build(text: str, name: str) -> str | Literal[False] | Unknown:
    found = re.search(rf"^{name}\s*(?::[^=]*)?=\s*(None|['\"]([^'\"]*)['\"])", text, re.MULTILINE)
    if found is None or (name == "cuda" and found.group(2) and not re.fullmatch(RELEASE, found.group(2))):
        return Unknown("torch/version.py does not say")
    return found.group(2) or False


def _of_process(question: str) -> int | Unknown:
    """What CUDA answers in this process, where torch has initialised it already."""
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    try:
        if cuda is None or not cuda.is_initialized():
            return Unknown("this process has not initialised CUDA")
        # torch.cuda.device_count() reads CUDA_VISIBLE_DEVICES anew (seen on an H100 with 2.11); the runtime knows what it started with.
        return int(torch._C._cuda_getDeviceCount() if question == "device_count" else cuda.current_device())  # type: ignore[union-attr]
    except Exception as error:  # a torch that is half imported, or whose CUDA broke: its own exceptions are not known here
        return Unknown(f"torch cannot tell the {question.replace('_', ' ')} of this process: {type(error).__name__}")


def find_module(package: str, *inside: str) -> str | None:
    """The first path on sys.path that ``import package`` would use, without importing it."""
    for folder in sys.path:
        path = os.path.join(folder, package, *inside)
        if os.path.exists(path):
            return path
    return None
