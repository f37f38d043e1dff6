"""The sections of the facts, one record each: what can be known of the machine and the process. Every field is a value or `Unknown`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from qvl_preflight.unknown import Unknown

UNSAID = "the facts do not say "


def unsaid(what: str) -> Unknown:
    """The default of a field: nobody was asked, or nobody wrote it down."""
    return Unknown(UNSAID + what)


RELEASE = r"[0-9]{1,9}(\.[0-9]{1,9})*"  # 12.2, 580.95.05


def _release(what: str) -> Any:
    """A field that holds a release in numbers; the border refuses any other text."""
    return field(default=unsaid(what), metadata={"pattern": RELEASE, "such as": "12.2"})


@dataclass(frozen=True)
class Python:
    """The interpreter that will run the call."""

    version: str | Unknown = unsaid("the version")
    implementation: str | Unknown = unsaid("the implementation")
    platform: str | Unknown = unsaid("the platform")  # linux-x86_64, win-amd64, macos-arm64, linux-x86_64-wsl
    environment: str | Unknown = unsaid("what kind of environment Python runs in")  # conda, venv, system


@dataclass(frozen=True)
class Torch:
    """The installed torch, read from its files."""

    cuda_build: str | Literal[False] | Unknown = _release("which CUDA torch is built for")  # "12.1"; False: built without CUDA
    hip_build: str | Literal[False] | Unknown = unsaid("whether torch is built for ROCm")
    arch_list: tuple[str, ...] | Unknown = unsaid("for which GPUs torch is built")  # as torch.cuda.get_arch_list() gives it
    current_device: int | Unknown = unsaid("the current device")  # of this process, where it has initialised CUDA
    xpu_build: str | Literal[False] | Unknown = unsaid("whether torch is built for Intel GPUs")
    device_count: int | Unknown = unsaid("how many GPUs this process has found")  # where it has initialised CUDA


@dataclass(frozen=True)
class Driver:
    """The NVIDIA kernel driver."""

    version: str | Unknown = unsaid("the version")
    cuda: str | Unknown = _release("which CUDA the driver runs")  # the newest CUDA it can run, "12.2"


@dataclass(frozen=True)
class Nvidia:
    """What the system shows of NVIDIA's driver: the parts that NVML needs before it can answer."""

    kernel_module: str | Literal[False] | Unknown = _release("whether the NVIDIA kernel module is loaded")  # its version
    libcuda: str | Literal[False] | Unknown = unsaid("where libcuda is")  # the file that a process would load
    nodes: tuple[str, ...] | Unknown = unsaid("which device nodes there are")  # of /dev: nvidia0, nvidiactl, nvidia-uvm, dxg
    locked_nodes: tuple[str, ...] | Unknown = unsaid("which device nodes this user may open")  # those that it may not
    nvml_error: int | Literal[False] | Unknown = unsaid("whether NVML starts")  # nvmlReturn_t; False: it starts
    lost: tuple[int, ...] | Unknown = unsaid("whether a GPU was lost")  # NVML indices of GPUs that fell off the bus
    cards: int | Unknown = unsaid("how many NVIDIA cards are on the PCI bus")
    bound_to: str | Unknown = unsaid("which kernel driver holds the NVIDIA cards")  # nvidia, nouveau, vfio-pci; "" none
    secure_boot: bool | Unknown = unsaid("whether Secure Boot is on")


@dataclass(frozen=True)
class Process:
    """Another process on a GPU. In a container its number may be the host's, and its name unknown."""

    pid: int
    name: str | Unknown = unsaid("the name of a process")
    used_bytes: int | Unknown = unsaid("the memory of a process")


@dataclass(frozen=True)
class Slice:
    """One MIG instance of a partitioned GPU."""

    uuid: str | Unknown = unsaid("a slice's UUID")
    name: str | Unknown = unsaid("a slice's name")
    total_bytes: int | Unknown = unsaid("a slice's memory")
    free_bytes: int | Unknown = unsaid("a slice's free memory")


@dataclass(frozen=True)
class Gpu:
    """One physical device, before CUDA_VISIBLE_DEVICES, by NVML index."""

    index: int
    uuid: str | Unknown = unsaid("a GPU's UUID")
    name: str | Unknown = unsaid("a GPU's name")
    capability: tuple[int, int] | Unknown = unsaid("a GPU's compute capability")
    total_bytes: int | Unknown = unsaid("a GPU's memory")
    free_bytes: int | Unknown = unsaid("a GPU's free memory")
    mig: bool | Unknown = unsaid("whether MIG is on")
    slices: tuple[Slice, ...] | Unknown = unsaid("which MIG instances a GPU has")
    bus_id: str | Unknown = unsaid("where a GPU is on the PCI bus")
    compute_mode: str | Unknown = unsaid("a GPU's compute mode")  # default, exclusive-process, prohibited
    processes: tuple[Process, ...] | Unknown = unsaid("which processes use a GPU")  # this one is left out
    ecc_errors: int | Literal[False] | Unknown = unsaid("a GPU's memory errors")  # uncorrected, since it started; False: no ECC
    row_remap: str | Unknown = unsaid("whether a GPU must replace rows of its memory")  # none, pending, failed


@dataclass(frozen=True)
class Launch:
    """How this process was started, and which of how many it is."""

    launcher: str | Unknown = unsaid("what started the process")  # python, notebook, torchrun, accelerate, deepspeed, slurm
    world_size: int | Unknown = unsaid("how many ranks there are")
    rank: int | Unknown = unsaid("the rank")
    local_rank: int | Unknown = unsaid("the local rank")
    local_world_size: int | Unknown = unsaid("how many ranks this host has")
    notebook: bool | Unknown = unsaid("whether this is a notebook")
    deepspeed_zero: int | Literal[False] | Unknown = unsaid("the ZeRO stage")  # False: known not to be in use
    fsdp: bool | Unknown = unsaid("whether FSDP is in use")


@dataclass(frozen=True)
class Host:
    """What this process may use of the host: RAM is bounded by cgroup and Slurm."""

    cpu_count: int | Unknown = unsaid("how many CPUs there are")
    ram_total_bytes: int | Unknown = unsaid("how much RAM there is")
    ram_available_bytes: int | Unknown = unsaid("how much RAM is free")
    disk_free_bytes: int | Unknown = unsaid("how much disk is free")
    cpu_flags: tuple[str, ...] | Unknown = unsaid("what the CPU can do")
    container: str | Literal[False] | Unknown = unsaid("whether this is a container")  # docker, podman, kubernetes, apptainer, lxc
    service: str | Literal[False] | Unknown = unsaid("whether this is a hosted notebook")  # colab, kaggle, sagemaker
    other_gpus: tuple[str, ...] | Unknown = unsaid("which other GPUs there are")  # amd, ascend, intel, apple


@dataclass(frozen=True)
class Build:
    """What a kernel that compiles or downloads at first use would find."""

    nvcc: str | Literal[False] | Unknown = unsaid("whether nvcc is installed")
    cxx: bool | Unknown = unsaid("whether a C++ compiler is installed")
    ninja: bool | Unknown = unsaid("whether ninja is installed")
    network: bool | Unknown = unsaid("whether the network can be reached")
    cutlass: bool | Unknown = unsaid(
        "whether CUTLASS is cached"
    )  # the sources that gptqmodel's Machete kernel compiles, in its cache
