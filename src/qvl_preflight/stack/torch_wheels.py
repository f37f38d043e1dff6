"""For which GPUs the wheels of torch are built, and whether a GPU finds a kernel in such a list.

The lists are what torch.cuda.get_arch_list() gives. Those marked RUN were read out of the wheel's libtorch_python.so; the others are
pytorch's own build script (.ci/manywheel/build_cuda.sh of each release) and release notes.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from qvl_preflight.facts import Packages
from qvl_preflight.unknown import Undecided, Unknown, attempt, need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.facts import Facts

_Archs = tuple[str, ...]


def _sm(*numbers: int, ptx: int | None = None) -> _Archs:
    return tuple(f"sm_{number}" for number in numbers) + ((f"compute_{ptx}",) if ptx else ())


_MAXWELL_TO_HOPPER = _sm(50, 60, 70, 75, 80, 86, 90)
_SCRIPT = ".ci/manywheel/build_cuda.sh"
_WHEELS: dict[str, ByRelease[_Archs]] = {
    "11.7": ByRelease("torch", Row("1.13", "2.1", _sm(37, 50, 60, 70, 75, 80, 86), Evidence.SOURCE, f"torch 2.0.1 {_SCRIPT}")),
    "11.8": ByRelease(
        "torch",
        Row("2.0", "2.1", _sm(37, 50, 60, 70, 75, 80, 86, 90), Evidence.SOURCE, f"torch 2.0.1 {_SCRIPT}"),
        Row("2.1", "2.8", _sm(50, 60, 70, 75, 80, 86, 37, 90), Evidence.SOURCE, f"torch 2.1.2 to 2.7.1 {_SCRIPT}"),
    ),
    "12.1": ByRelease("torch", Row("2.1", "2.6", _MAXWELL_TO_HOPPER, Evidence.RUN, "torch 2.1.2+cu121")),
    "12.4": ByRelease("torch", Row("2.4", "2.7", _MAXWELL_TO_HOPPER, Evidence.RUN, "torch 2.5.1+cu124, 2.6.0+cu124")),
    "12.6": ByRelease("torch", Row("2.6", "2.10", _MAXWELL_TO_HOPPER, Evidence.RUN, "torch 2.7.1+cu126")),
    "12.8": ByRelease(
        "torch",
        Row("2.7", "2.8", _sm(75, 80, 86, 90, 100, 120, ptx=120), Evidence.SOURCE, f"torch 2.7.1 {_SCRIPT}"),
        Row("2.8", "2.11", _sm(70, 75, 80, 86, 90, 100, 120), Evidence.RUN, "torch 2.8.0+cu128, 2.9.1+cu128, 2.10.0+cu128"),
    ),
    "12.9": ByRelease(
        "torch", Row("2.8", "2.9", _sm(70, 75, 80, 86, 90, 100, 120, ptx=120), Evidence.SOURCE, f"torch 2.8.0 {_SCRIPT}")
    ),
    "13.0": ByRelease(
        "torch",
        Row("2.9", "2.11", _sm(75, 80, 86, 90, 100, 120, ptx=120), Evidence.SOURCE, f"torch 2.9.1 {_SCRIPT}"),
        Row("2.11", None, _sm(75, 80, 86, 90, 100, 120), Evidence.RUN, "torch 2.11.0+cu130, 2.14.1+cu130"),
    ),
}
# The indices that PyTorch keeps, newest first: name, CUDA major that the driver must run, lowest and highest capability of its newest wheels.
_CHANNELS = (("cu130", 13, (7, 5), (12, 9)), ("cu128", 12, (7, 5), (12, 9)), ("cu126", 12, (5, 0), (9, 0)), ("cu118", 11, (5, 0), (9, 0)))  # fmt: skip
INDEX = "https://download.pytorch.org/whl/"


def built_for(facts: Facts, packages: Packages) -> tuple[_Archs, bool]:
    """The architectures of the installed torch, and whether they were read from its files (else: those of the official wheel; of all
    wheels of that release, where it is not known for which CUDA it was built).

    Raises Undecided.
    """
    torch = facts.torch
    if not isinstance(torch, Unknown) and not isinstance(torch.arch_list, Unknown):
        return torch.arch_list, True
    build_said = not isinstance(torch, Unknown) and not isinstance(torch.cuda_build, Unknown)
    if not build_said and "+" not in (packages.version("torch") or "+"):
        return _of_any_wheel(packages), False
    build = _cuda_of(facts, packages)
    if build not in _WHEELS:
        raise Undecided(f"for which GPUs a torch with CUDA {build} is built is not known")
    return _WHEELS[build].value(packages), False


def _of_any_wheel(packages: Packages) -> _Archs:
    """What some official wheel of the installed release is built for. Raises Undecided where none was read."""
    found: list[_Archs] = []
    for table in _WHEELS.values():
        with suppress(Undecided):
            found.append(table.value(packages))
    if not found:
        raise Undecided("for which GPUs torch is built is not known")
    return tuple(dict.fromkeys(arch for archs in found for arch in archs))


def _cuda_of(facts: Facts, packages: Packages) -> str:
    """CUDA of the build: of the facts, of a version like 2.5.1+cu124, else the one that the plain wheel of that release has."""
    if not isinstance(facts.torch, Unknown) and isinstance(facts.torch.cuda_build, str):
        return facts.torch.cuda_build
    local = re.search(r"\+cu(\d\d)(\d)", packages.version("torch") or "")
    if local is None:
        raise Undecided("for which CUDA torch is built is not known")
    return f"{local.group(1)}.{local.group(2)}"


def runs_on(archs: _Archs, capability: tuple[int, int]) -> bool:
    """Is there a kernel for this GPU? Binaries run on their own major release from their minor on, PTX on everything newer.

    CUDA C++ programming guide, "Compute capability": binaries marked ``a`` run there alone, ``f`` within their family. Seen on an H100 (9.0):
    sm_80 and sm_100 fail, sm_90 and the PTX of compute_75, 80, 90a run, that of compute_100 fails.
    """
    return any(_fits(arch, capability) for arch in archs)


def _fits(arch: str, capability: tuple[int, int]) -> bool:
    found = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", arch)
    if found is None:
        return False
    kind, major, minor, only = found.group(1), int(found.group(2)), int(found.group(3)), found.group(4)
    if only == "a":
        return (major, minor) == capability
    if kind == "sm" or only == "f":
        return major == capability[0] and minor <= capability[1]
    return (major, minor) <= capability


class Runs:
    """The compute capabilities that a wheel has kernels for, asked with ``in``."""

    def __init__(self, archs: _Archs) -> None:
        self._archs = archs

    def __contains__(self, capability: object) -> bool:
        if not isinstance(capability, tuple) or len(capability) != 2:
            return True  # one that is not known counts as fitting
        return runs_on(self._archs, (int(capability[0]), int(capability[1])))


def wheels_for(facts: Facts, torch: str) -> list[tuple[tuple[int, int], Runs]] | None:
    """The official wheels of a release: the CUDA of each, and what it runs on; None where none was read."""
    packages = Packages(replace(facts, packages={"torch": torch}))
    found = [(_numbers(cuda), attempt(lambda table=table: table.value(packages))) for cuda, table in _WHEELS.items()]  # type: ignore[misc]
    wheels = [(cuda, Runs(archs)) for cuda, archs in found if not isinstance(archs, Unknown)]
    return wheels or None


def channel_for(facts: Facts) -> str | None:
    """The index whose wheels run with this driver and on these GPUs; None where none does, or too little is known."""
    driver = facts.driver
    if driver is None or isinstance(driver, Unknown) or isinstance(driver.cuda, Unknown) or isinstance(facts.gpus, Unknown):
        return None
    capabilities = [gpu.capability for gpu in facts.gpus if not isinstance(gpu.capability, Unknown)]
    major = int(driver.cuda.split(".")[0])
    fitting = (
        name
        for name, wants, low, high in _CHANNELS
        if wants <= major and capabilities and all(low <= capability <= high for capability in capabilities)
    )
    return next(fitting, None)


def install_command(facts: Facts) -> str:
    """How to replace torch by one for this driver and these GPUs: the same release where one of its wheels fits, else the newest that does."""
    packages = Packages(facts)
    same = attempt(lambda: _channel_of_release(facts, packages))
    if same is not None and not isinstance(same, Unknown):
        return _install(same, _companions(packages, pinned=True))
    channel = channel_for(facts)
    return _install(channel, _companions(packages, pinned=False))


def install_from(channel: str) -> str:
    """How to replace torch by the newest one of an index: cu130, rocm6.4."""
    return _install(channel, ("torch",))


def _install(channel: str | None, what: tuple[str, ...]) -> str:
    index = f" --index-url {INDEX}{channel}" if channel else ""
    return f"pip install --force-reinstall {' '.join(what)}{index}"


def _companions(packages: Packages, *, pinned: bool) -> tuple[str, ...]:
    """torch, and what is built for one release of it and must be replaced with it."""
    out = []
    for name in ("torch", "torchvision", "torchaudio"):
        version = attempt(lambda name=name: packages.version(name))  # type: ignore[misc]
        if isinstance(version, str):
            out.append(f"{name}=={version.partition('+')[0]}" if pinned else name)
        elif name == "torch":
            out.append(name)
    return tuple(out)


def _channel_of_release(facts: Facts, packages: Packages) -> str | None:
    """The index that holds the installed release for this machine: the newest CUDA that the driver was made for, else any of its major."""
    driver, gpus = facts.driver, facts.gpus
    if driver is None or isinstance(gpus, Unknown) or not gpus:
        return None
    newest = _numbers(need(need(driver).cuda))
    fitting = []
    for cuda, wheels in _WHEELS.items():
        archs = attempt(lambda wheels=wheels: wheels.value(packages))  # type: ignore[misc]
        if not isinstance(archs, Unknown) and all(runs_on(archs, need(gpu.capability)) for gpu in gpus):
            fitting.append(_numbers(cuda))
    made_for = [cuda for cuda in fitting if cuda <= newest]
    found = max((cuda for cuda in made_for if cuda[0] == newest[0]), default=None)
    found = found or min((cuda for cuda in fitting if cuda[0] == newest[0]), default=None) or max(made_for, default=None)
    return "cu" + "".join(map(str, found)) if found else None


def _numbers(cuda: str) -> tuple[int, int]:
    """``"12.4"`` → ``(12, 4)``"""
    major, minor = (f"{cuda}.0").split(".")[:2]
    return int(major), int(minor)
