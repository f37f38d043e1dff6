"""What is known about the machine and the process, by section. Frozen; JSON in, JSON out (schema facts/1).

Every field is a value or `Unknown`. In JSON, null or a missing key is unknown. Where "known to be absent" differs from
unknown it is spelt out: ``false`` for a distribution that is not installed or a torch without CUDA, ``driver: null`` next to
``gpus: []`` for a machine without an NVIDIA driver.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import lru_cache
from typing import Any, Literal

from qvl_preflight.exceptions import InputError
from qvl_preflight.json_files import read_json
from qvl_preflight.unknown import Undecided, Unknown, need
from qvl_preflight.versions import parse

SCHEMA = "qvl-preflight/facts/1"
_UNSAID = "the facts do not say "
_WRITE_IT = "write the file with 'qvl-preflight doctor --save'"


def _unsaid(what: str) -> Unknown:
    """The default of a field: nobody was asked, or nobody wrote it down."""
    return Unknown(_UNSAID + what)


@dataclass(frozen=True)
class Python:
    """The interpreter that will run the call."""

    version: str | Unknown = _unsaid("the version")
    implementation: str | Unknown = _unsaid("the implementation")
    platform: str | Unknown = _unsaid("the platform")  # linux-x86_64, win-amd64, macos-arm64, linux-x86_64-wsl
    environment: str | Unknown = _unsaid("what kind of environment Python runs in")  # conda, venv, system


@dataclass(frozen=True)
class Torch:
    """The installed torch, read from its files."""

    cuda_build: str | Literal[False] | Unknown = _unsaid("which CUDA torch is built for")  # "12.1"; False: built without CUDA
    hip_build: str | Literal[False] | Unknown = _unsaid("whether torch is built for ROCm")
    arch_list: tuple[str, ...] | Unknown = _unsaid("for which GPUs torch is built")  # as torch.cuda.get_arch_list() gives it
    current_device: int | Unknown = _unsaid("the current device")  # of this process, where it has initialised CUDA
    xpu_build: str | Literal[False] | Unknown = _unsaid("whether torch is built for Intel GPUs")
    device_count: int | Unknown = _unsaid("how many GPUs this process has found")  # where it has initialised CUDA


@dataclass(frozen=True)
class Driver:
    """The NVIDIA kernel driver."""

    version: str | Unknown = _unsaid("the version")
    cuda: str | Unknown = _unsaid("which CUDA the driver runs")  # the newest CUDA it can run, "12.2"


@dataclass(frozen=True)
class Nvidia:
    """What the system shows of NVIDIA's driver: the parts that NVML needs before it can answer."""

    kernel_module: str | Literal[False] | Unknown = _unsaid("whether the NVIDIA kernel module is loaded")  # its version
    libcuda: str | Literal[False] | Unknown = _unsaid("where libcuda is")  # the file that a process would load
    nodes: tuple[str, ...] | Unknown = _unsaid("which device nodes there are")  # of /dev: nvidia0, nvidiactl, nvidia-uvm, dxg
    locked_nodes: tuple[str, ...] | Unknown = _unsaid("which device nodes this user may open")  # those that it may not
    nvml_error: int | Literal[False] | Unknown = _unsaid("whether NVML starts")  # nvmlReturn_t; False: it starts
    lost: tuple[int, ...] | Unknown = _unsaid("whether a GPU was lost")  # NVML indices of GPUs that fell off the bus
    cards: int | Unknown = _unsaid("how many NVIDIA cards are on the PCI bus")
    bound_to: str | Unknown = _unsaid("which kernel driver holds the NVIDIA cards")  # nvidia, nouveau, vfio-pci; "" none
    secure_boot: bool | Unknown = _unsaid("whether Secure Boot is on")


@dataclass(frozen=True)
class Process:
    """Another process on a GPU. In a container its number may be the host's, and its name unknown."""

    pid: int
    name: str | Unknown = _unsaid("the name of a process")
    used_bytes: int | Unknown = _unsaid("the memory of a process")


@dataclass(frozen=True)
class Slice:
    """One MIG instance of a partitioned GPU."""

    uuid: str | Unknown = _unsaid("a slice's UUID")
    name: str | Unknown = _unsaid("a slice's name")
    total_bytes: int | Unknown = _unsaid("a slice's memory")
    free_bytes: int | Unknown = _unsaid("a slice's free memory")


@dataclass(frozen=True)
class Gpu:
    """One physical device, before CUDA_VISIBLE_DEVICES, by NVML index."""

    index: int
    uuid: str | Unknown = _unsaid("a GPU's UUID")
    name: str | Unknown = _unsaid("a GPU's name")
    capability: tuple[int, int] | Unknown = _unsaid("a GPU's compute capability")
    total_bytes: int | Unknown = _unsaid("a GPU's memory")
    free_bytes: int | Unknown = _unsaid("a GPU's free memory")
    mig: bool | Unknown = _unsaid("whether MIG is on")
    slices: tuple[Slice, ...] | Unknown = _unsaid("which MIG instances a GPU has")
    bus_id: str | Unknown = _unsaid("where a GPU is on the PCI bus")
    compute_mode: str | Unknown = _unsaid("a GPU's compute mode")  # default, exclusive-process, prohibited
    processes: tuple[Process, ...] | Unknown = _unsaid("which processes use a GPU")  # this one is left out
    ecc_errors: int | Literal[False] | Unknown = _unsaid("a GPU's memory errors")  # uncorrected, since it started; False: no ECC
    row_remap: str | Unknown = _unsaid("whether a GPU must replace rows of its memory")  # none, pending, failed


@dataclass(frozen=True)
class Launch:
    """How this process was started, and which of how many it is."""

    launcher: str | Unknown = _unsaid("what started the process")  # python, notebook, torchrun, accelerate, deepspeed, slurm
    world_size: int | Unknown = _unsaid("how many ranks there are")
    rank: int | Unknown = _unsaid("the rank")
    local_rank: int | Unknown = _unsaid("the local rank")
    local_world_size: int | Unknown = _unsaid("how many ranks this host has")
    notebook: bool | Unknown = _unsaid("whether this is a notebook")
    deepspeed_zero: int | Literal[False] | Unknown = _unsaid("the ZeRO stage")  # False: known not to be in use
    fsdp: bool | Unknown = _unsaid("whether FSDP is in use")


@dataclass(frozen=True)
class Host:
    """What this process may use of the host: RAM is bounded by cgroup and Slurm."""

    cpu_count: int | Unknown = _unsaid("how many CPUs there are")
    ram_total_bytes: int | Unknown = _unsaid("how much RAM there is")
    ram_available_bytes: int | Unknown = _unsaid("how much RAM is free")
    disk_free_bytes: int | Unknown = _unsaid("how much disk is free")
    cpu_flags: tuple[str, ...] | Unknown = _unsaid("what the CPU can do")
    container: str | Literal[False] | Unknown = _unsaid("whether this is a container")  # docker, podman, kubernetes, apptainer, lxc
    service: str | Literal[False] | Unknown = _unsaid("whether this is a hosted notebook")  # colab, kaggle, sagemaker
    other_gpus: tuple[str, ...] | Unknown = _unsaid("which other GPUs there are")  # amd, ascend, intel, apple


@dataclass(frozen=True)
class Build:
    """What a kernel that compiles or downloads at first use would find."""

    nvcc: str | Literal[False] | Unknown = _unsaid("whether nvcc is installed")
    cxx: bool | Unknown = _unsaid("whether a C++ compiler is installed")
    ninja: bool | Unknown = _unsaid("whether ninja is installed")
    network: bool | Unknown = _unsaid("whether the network can be reached")
    cutlass: bool | Unknown = _unsaid(
        "whether CUTLASS is cached"
    )  # the sources that gptqmodel's Machete kernel compiles, in its cache


@dataclass(frozen=True)
class Facts:
    """Everything known. ``packages`` maps normalised distribution names to a version, or False: known not to be installed."""

    python: Python | Unknown = _unsaid("which Python runs")
    packages: Mapping[str, str | Literal[False] | Unknown] | Unknown = _unsaid("which packages are installed")
    packages_complete: bool = True
    packages_duplicates: Mapping[str, tuple[str, ...]] | Unknown = _unsaid(
        "what is installed twice"
    )  # "2.5.1 (user site)", first wins
    torch: Torch | Unknown = _unsaid("how torch is built")
    driver: Driver | Unknown | None = _unsaid("which driver is installed")
    nvidia: Nvidia | Unknown = _unsaid("what the system shows of NVIDIA's driver")
    gpus: tuple[Gpu, ...] | Unknown = _unsaid("which GPUs there are")
    env: Mapping[str, str] | Unknown = _unsaid("which environment variables are set")
    env_misspelt: Mapping[str, str] | Unknown = _unsaid(
        "which variables are misspelt"
    )  # as written → its value, if a list of numbers
    launch: Launch | Unknown = _unsaid("how the process was started")
    host: Host | Unknown = _unsaid("what the host has")
    build: Build | Unknown = _unsaid("which compilers are installed")
    extensions: Mapping[str, bool | Unknown] | Unknown = _unsaid("which compiled modules load")
    unknown: Mapping[str, str] = field(default_factory=dict, compare=False)  # dotted path → why nobody could establish it

    def to_dict(self) -> dict[str, Any]:
        """The JSON of facts/1. Reasons of unknown values are kept under ``unknown``."""
        reasons: dict[str, str] = {}
        body = {f.name: _plain(getattr(self, f.name), f.name, reasons) for f in fields(self) if f.name != "unknown"}
        return {"schema": SCHEMA, **body, "unknown": reasons}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], origin: str = "facts") -> Facts:
        """Facts out of the JSON of facts/1. Raises InputError naming the first field that does not fit."""
        return _validated(raw, origin)

    @classmethod
    def load(cls, path: str) -> Facts:
        """Facts out of a file written by ``qvl-preflight doctor --save``."""
        try:
            raw = read_json(path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(f"{path}: not readable as JSON facts ({reason}); {_WRITE_IT}") from error
        if isinstance(raw, Mapping) and "schema" not in raw:
            raise InputError(f"{path}: holds no facts: 'schema' is missing, expected {SCHEMA!r}; {_WRITE_IT}")
        return cls.from_dict(raw, path)


class Packages:
    """Answers about installed distributions, three-valued through `Undecided`."""

    def __init__(self, facts: Facts) -> None:
        self._known = facts.packages
        self._complete = facts.packages_complete

    def version(self, name: str) -> str | None:
        """The installed version, None where the distribution is known to be absent. Raises Undecided."""
        found = need(self._known).get(name)
        if found is None:
            if self._complete:
                return None
            raise Undecided(f"whether {name} is installed, and in which version, is not known")
        if found is False:
            return None
        return need(found)

    def release(self, name: str) -> tuple[int, ...] | None:
        """The release as numbers, ``(4, 37, 2)``; None where absent. Raises Undecided where it cannot be read."""
        version = self.version(name)
        if version is None:
            return None
        release = parse(version)
        if release is None:
            raise Undecided(f"{name} has the version {version!r}, which is not a version number")
        return release

    def at_least(self, name: str, *release: int) -> bool:
        """Is it installed, in this release or a later one? Raises Undecided."""
        return (self.release(name) or (0,)) >= release

    def has(self, name: str) -> bool:
        """Is it installed? Raises Undecided."""
        return self.version(name) is not None


def _plain(value: Any, path: str, reasons: dict[str, str]) -> Any:
    if isinstance(value, Unknown):
        if not value.reason.startswith(_UNSAID):
            reasons[path] = value.reason
        return None
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name), f"{path}.{f.name}", reasons) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item, f"{path}.{key}", reasons) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_plain(item, f"{path}.{index}", reasons) for index, item in enumerate(value)]
    return value


def _validated(raw: Any, origin: str) -> Facts:
    if not isinstance(raw, Mapping):
        raise InputError(f"{origin}: facts are a JSON object, this is {type(raw).__name__}")
    if raw.get("schema", SCHEMA) != SCHEMA:
        raise InputError(f"{origin}: schema {raw['schema']!r} is not {SCHEMA!r}; {_WRITE_IT}")
    from qvl_preflight.borders import validate  # only where facts come from outside

    body = {key: value for key, value in raw.items() if key != "schema"}
    no_driver = "driver" in body and body["driver"] is None and body.get("gpus") == []
    reasons: dict[str, str] = validate(Mapping[str, str], body.get("unknown") or {}, origin, ("unknown",))
    for path in reasons:  # a key that is not there is the same as null
        if path in field_names():
            body.setdefault(path, None)
    facts: Facts = validate(Facts, _without_nulls(body, "", reasons), origin)
    if no_driver and isinstance(facts.driver, Unknown) and "driver" not in reasons:
        facts = _replace(facts, driver=None)
    return facts


def _without_nulls(value: Any, path: str, reasons: Mapping[str, str]) -> Any:
    """Nulls dropped, so that defaults (unknown) take their place; with its reason where one was recorded."""
    if isinstance(value, Mapping):
        out = {}
        for key, item in value.items():
            where = f"{path}.{key}" if path else str(key)
            if item is not None:
                out[key] = _without_nulls(item, where, reasons)
            elif where in reasons:
                out[key] = Unknown(reasons[where])
            elif path in ("packages", "extensions"):  # listed without an answer; a name that is not listed is an answer
                out[key] = _unsaid(f"anything about {key}")
        return out
    if isinstance(value, (list, tuple)):
        return [_without_nulls(item, f"{path}.{index}", reasons) for index, item in enumerate(value)]
    return value


def _replace(facts: Facts, **changes: Any) -> Facts:
    return Facts(**{**{f.name: getattr(facts, f.name) for f in fields(facts)}, **changes})


@lru_cache(maxsize=1)
def field_names() -> tuple[str, ...]:
    """The sections, in the order in which a report shows them."""
    return tuple(f.name for f in fields(Facts) if f.name not in ("packages_complete", "unknown"))
