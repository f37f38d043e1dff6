"""Compiled extensions by their files: is each there, and can the installed torch load it? Nothing is imported.

An extension of auto-gptq, gptqmodel or flash-attn is linked against one CUDA runtime (its file names ``libcudart.so.N``) and one Python ABI
(its file name carries the tag), and asks for names that torch's libraries have to define: another torch may lack some of them ("undefined
symbol"). On a torch without CUDA it cannot be loaded at all. bitsandbytes brings a library for each CUDA; which one it loads is worked out
elsewhere.
"""

from __future__ import annotations

import mmap
import os
import re
import sys
from typing import Any

from qvl_preflight.facts import Torch
from qvl_preflight.probes.elf import Library
from qvl_preflight.probes.packages import find_module, probe_torch
from qvl_preflight.unknown import Unknown

_AUTO_GPTQ = ("exllama_kernels", "exllamav2_kernels", "autogptq_cuda_64", "autogptq_cuda_256", "autogptq_marlin_cuda")
# Up to 5.x its kernels come compiled; 7.x compiles them when they are first used.
_FLASH = ("flash_attn_2_cuda",)
_OF_TORCH = re.compile(rb"_ZNK?(3c10|2at|5torch)")  # mangled names in torch's own namespaces
_GPTQMODEL = ("gptqmodel_marlin_kernels", "gptqmodel_exllamav2_kernels", "gptqmodel_exllama_kernels", "gptqmodel_machete_kernels")


def probe() -> dict[str, Any]:
    """``extensions``, for the packages that are installed."""
    names: tuple[str, ...] = _AUTO_GPTQ if find_module("auto_gptq", "__init__.py") is not None else ()
    names += _FLASH if find_module("flash_attn", "flash_attn_interface.py") is not None else ()  # flash-attn-4 has no such part
    names += _GPTQMODEL if find_module("gptqmodel", "__init__.py") is not None else ()
    found: dict[str, bool | Unknown] = dict.fromkeys(_bitsandbytes(), True)
    vision = find_module("torchvision", "_C.so")
    libraries = _torchs_libraries() if names or vision else ()
    if vision is not None:
        found["torchvision._C"] = not _asks_in_vain(vision, libraries)
    if names:
        torch = probe_torch()["torch"]
        found |= {name: _loads(name, torch, libraries) for name in names}
    return {"extensions": found}


def _bitsandbytes() -> list[str]:
    """The libraries for CUDA that an installed bitsandbytes brings, one for each release of CUDA."""
    package = find_module("bitsandbytes", "__init__.py")
    if package is None:
        return []
    names = (os.path.splitext(name) for name in os.listdir(os.path.dirname(package)))
    return sorted(stem for stem, suffix in names if stem.startswith("libbitsandbytes_cuda") and suffix in (".so", ".dll"))


def _loads(name: str, torch: Torch | Unknown, libraries: tuple[Library, ...]) -> bool | Unknown:
    path = _find(name)
    if path is None:
        return False
    if isinstance(torch, Unknown):
        return Unknown(torch.reason)
    if not _abi_fits(os.path.basename(path)) or torch.cuda_build is False:
        return False
    if _asks_in_vain(path, libraries):
        return False
    wanted = _cuda_runtime(path)
    if isinstance(torch.cuda_build, Unknown) or wanted is None:
        return Unknown(f"{name} is there; which CUDA runtime it needs could not be read")
    return torch.cuda_build.split(".")[0] == wanted


def _find(name: str) -> str | None:
    pattern = re.compile(re.escape(name) + r"(\.[^.]+)?\.(so|pyd)$")
    for folder in sys.path:
        for inside in ("", "autogptq_extension"):
            place = os.path.join(folder, inside)
            try:
                entries = os.listdir(place or ".")
            except OSError:
                continue
            for entry in entries:
                if pattern.match(entry):
                    return os.path.join(place, entry)
    return None


def _abi_fits(file_name: str) -> bool:
    tag = re.search(r"\.(?:cpython-|cp)(\d+)", file_name)
    return tag is None or tag.group(1) == f"{sys.version_info[0]}{sys.version_info[1]}"


def _torchs_libraries() -> tuple[Library, ...]:
    """The libraries of the installed torch; none where one of them cannot be read: what they define is not known then."""
    torch = find_module("torch", "version.py")
    if torch is None:
        return ()
    folder = os.path.join(os.path.dirname(torch), "lib")
    try:
        files = [name for name in os.listdir(folder) if name.startswith(("libc10", "libtorch")) and name.endswith(".so")]
        return tuple(Library(os.path.join(folder, name)) for name in files)
    except (OSError, ValueError):
        return ()


def _asks_in_vain(path: str, libraries: tuple[Library, ...]) -> bool:
    """Whether it asks for a name of torch's that none of torch's libraries defines. False where that cannot be read."""
    try:
        wanted = [name for name in Library(path).asks_for if _OF_TORCH.match(name)] if libraries else []
        return any(not any(library.defines(name) for library in libraries) for name in wanted)
    except (OSError, ValueError):
        return False


def _cuda_runtime(path: str) -> str | None:
    """The major release of the CUDA runtime that an extension is linked against."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = re.search(rb"libcudart\.so\.(\d+)|cudart64_(\d+)", data)
            return (found.group(1) or found.group(2)).decode()[:2] if found else None
    except (OSError, ValueError):
        return None
