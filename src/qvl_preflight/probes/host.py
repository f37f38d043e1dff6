"""Python, CPUs, memory, disk, and what a kernel that compiles at first use would find."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any, Literal

from qvl_preflight.facts import Build, Host, Python
from qvl_preflight.probes import nvidia
from qvl_preflight.probes.files import read_text
from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from collections.abc import Iterator

_CPU_FLAGS = (
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512_bf16",
    "avx512_vnni",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "sve",
)  # those that kernels ask for


def probe() -> dict[str, Any]:
    """``python`` and ``host``."""
    version = ".".join(map(str, sys.version_info[:3]))
    implementation = {"cpython": "CPython", "pypy": "PyPy"}.get(sys.implementation.name, sys.implementation.name)
    return {"python": Python(version, implementation, _platform(), _environment()), "host": _host()}


def _environment() -> str:
    if os.path.isdir(os.path.join(sys.prefix, "conda-meta")):
        return "conda"
    return "venv" if sys.prefix != sys.base_prefix else "system"


def _platform() -> str:
    if sys.platform == "win32":
        return "win-amd64"
    system = os.uname()
    name = {"darwin": "macos"}.get(sys.platform, sys.platform)
    wsl = "-wsl" if "microsoft" in system.release.lower() else ""
    return f"{name}-{system.machine}{wsl}"


def _host() -> Host:
    total, available = _ram()
    return Host(
        cpu_count=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or Unknown("the system does not say"),
        ram_total_bytes=total,
        ram_available_bytes=available,
        disk_free_bytes=_disk(),
        cpu_flags=_cpu_flags(),
        container=container(),
        service=_service(),
        other_gpus=_other_gpus(),
    )


# What marks a container: variables that its runtime sets, files that it leaves. Sources: each runtime's manual; systemd's container interface.
_CONTAINER_VARIABLES = {
    "KUBERNETES_SERVICE_HOST": "kubernetes",
    "APPTAINER_CONTAINER": "apptainer",
    "SINGULARITY_CONTAINER": "apptainer",
}
_CONTAINER_FILES = {"/run/.containerenv": "podman", "/.dockerenv": "docker", "/.singularity.d": "apptainer"}
_SERVICES = {"COLAB_RELEASE_TAG": "colab", "COLAB_GPU": "colab", "KAGGLE_KERNEL_RUN_TYPE": "kaggle", "KAGGLE_URL_BASE": "kaggle"}


def container() -> str | Literal[False]:
    """The kind of container that this process runs in."""
    named = next((kind for name, kind in _CONTAINER_VARIABLES.items() if name in os.environ), None)
    named = named or next((kind for path, kind in _CONTAINER_FILES.items() if os.path.exists(path)), None)
    return named or (read_text("/run/systemd/container") or "").strip() or False


def _service() -> str | Literal[False]:
    return next((kind for name, kind in _SERVICES.items() if name in os.environ), False)


def _other_gpus() -> tuple[str, ...] | Unknown:
    """GPUs that are not NVIDIA's: by the device nodes of their drivers, and by the cards on the bus."""
    if sys.platform == "darwin":
        return ("apple",) if os.uname().machine == "arm64" else ()
    if not sys.platform.startswith("linux"):
        return Unknown("not asked on this system")
    cards = nvidia.pci_cards()
    vendors = set() if isinstance(cards, Unknown) else {vendor for vendor, _ in cards}
    amd = nvidia.AMD in vendors or os.path.exists("/dev/kfd")
    ascend = nvidia.ASCEND in vendors or os.path.exists("/dev/davinci0")
    return ("amd",) * amd + ("ascend",) * ascend


def _disk() -> int | Unknown:
    """Free bytes where the current folder is."""
    if not hasattr(os, "statvfs"):
        return Unknown("not asked on this system")
    try:
        found = os.statvfs(os.curdir)
    except OSError as error:
        return Unknown(f"the current folder cannot be looked at ({error.strerror})")
    return found.f_bavail * found.f_frsize


def _ram() -> tuple[int | Unknown, int | Unknown]:
    """Total and available bytes, bounded by the cgroup."""
    text = read_text("/proc/meminfo")
    if text is None:
        return (Unknown("/proc/meminfo is not there"),) * 2
    size = {name: int(kib) * 1024 for name, kib in re.findall(r"^(MemTotal|MemAvailable):\s+(\d+)", text, re.MULTILINE)}
    if "MemTotal" not in size:
        return (Unknown("/proc/meminfo names no MemTotal"),) * 2
    total, available = size["MemTotal"], size.get("MemAvailable", size["MemTotal"])
    for limit_file, used_file in _cgroup_files():
        limit, used = read_text(limit_file), read_text(used_file)
        if limit and limit.strip().isdecimal() and int(limit) < total:
            total = int(limit)
            available = max(0, min(available, total - int(used))) if used and used.strip().isdecimal() else min(available, total)
    if (job := _slurm()) is not None:
        total = min(total, job)
    return total, min(available, total)


def _slurm() -> int | None:
    """What Slurm gives to this job on a node: it may end a job that takes more without a cgroup (srun's manual: SLURM_MEM_PER_NODE, SLURM_MEM_PER_CPU, in
    megabytes; 0 is all that there is)."""
    node, each, cpus = (os.environ.get(f"SLURM_{name}", "") for name in ("MEM_PER_NODE", "MEM_PER_CPU", "CPUS_ON_NODE"))
    if node.isdecimal():
        return int(node) * 2**20 or None
    return int(each) * int(cpus) * 2**20 or None if each.isdecimal() and cpus.isdecimal() else None


def _cgroup_files() -> Iterator[tuple[str, str]]:
    """Limit and use of memory, of every control group above this process: Slurm and systemd set theirs further down than a container does.

    Linux Documentation/admin-guide/cgroup-v2 (memory.max, /proc/self/cgroup "0::/path"), cgroup-v1/memory.
    """
    text = read_text("/proc/self/cgroup") or ""
    for root, controller, limit, used in (
        ("/sys/fs/cgroup", "", "memory.max", "memory.current"),
        ("/sys/fs/cgroup/memory", "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
    ):
        found = re.search(rf"^\d+:{controller and rf'(?:[^:]*,)?{controller}(?:,[^:]*)?'}:/(.*)$", text, re.MULTILINE)
        parts = [part for part in found.group(1).split("/") if part not in ("", "..")] if found else []
        for depth in range(len(parts) + 1):
            folder = "/".join((root, *parts[:depth]))
            yield f"{folder}/{limit}", f"{folder}/{used}"


def _cpu_flags() -> tuple[str, ...] | Unknown:
    text = read_text("/proc/cpuinfo")
    match = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text or "", re.MULTILINE)
    if match is None:
        return Unknown("/proc/cpuinfo names no flags")
    flags = set(match.group(1).split())
    return tuple(flag for flag in _CPU_FLAGS if flag in flags)


def probe_build() -> dict[str, Any]:
    """``build``: compilers by presence; the network is not tried."""
    return {
        "build": Build(
            _nvcc(), any(map(which, ("c++", "g++", "clang++", "cl.exe"))), bool(which("ninja")), Unknown("not tried"), _cutlass()
        )
    }


def _cutlass() -> bool:
    """The CUTLASS sources where gptqmodel 7.7.0 looks before it fetches them (utils/machete.py:330)."""
    cache = os.path.expanduser(
        os.environ.get("GPTQMODEL_CACHE_DIR") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "gptqmodel")
    )
    try:
        return any(name.startswith("4.7.1-") for name in os.listdir(os.path.join(cache, "cutlass")))
    except OSError:
        return False


def _nvcc() -> str | Literal[False] | Unknown:
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda"
    compiler = which("nvcc") or os.path.join(home, "bin", "nvcc")
    if not os.path.isfile(compiler):
        return False
    toolkit = os.path.dirname(os.path.dirname(os.path.realpath(compiler)))
    try:
        with open(os.path.join(toolkit, "version.json"), encoding="utf-8") as file:
            return ".".join(json.load(file)["cuda"]["version"].split(".")[:2])
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return Unknown(f"{compiler} is there, its release is not written beside it")


def which(program: str) -> str | None:
    """The first executable of that name on PATH (shutil.which costs its import)."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = os.path.join(folder, program)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None
