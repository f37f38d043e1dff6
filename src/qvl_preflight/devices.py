"""Which GPUs this process sees, in its own numbering, and which of them is its own.

CUDA_VISIBLE_DEVICES is read as the CUDA runtime reads it (recorded on an H100, driver 580, torch 2.11): blanks around an entry
and leading zeros are skipped, the list ends at the first entry that names no device, a repeated entry is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvl_preflight.unknown import Undecided, Unknown, attempt, need

if TYPE_CHECKING:
    from qvl_preflight.facts import Facts, Gpu, Launch

REPEATED = "CUDA_VISIBLE_DEVICES names a device twice"
_LAUNCHERS_OF_RANKS = ("torchrun", "accelerate", "deepspeed", "slurm", "mpi")


@dataclass(frozen=True)
class Devices:
    """The NVIDIA GPUs that this process would see."""

    visible: tuple[Gpu, ...]
    physical: tuple[Gpu, ...]
    setting: str | None  # CUDA_VISIBLE_DEVICES as given
    order_known: bool  # False: mixed models without CUDA_DEVICE_ORDER=PCI_BUS_ID, CUDA may number them otherwise than NVML
    broken: str | None = None  # why the runtime refuses the whole list

    @property
    def hidden(self) -> bool:
        """There are GPUs, and this process sees none."""
        return bool(self.physical) and not self.visible


@dataclass(frozen=True)
class Home:
    """The GPU that belongs to this process."""

    ordinal: int
    name: str
    why: str

    def __str__(self) -> str:
        return f"cuda:{self.ordinal} ({self.name}; {self.why})"


def visible_devices(facts: Facts) -> Devices | Unknown:
    """The GPUs of this process by CUDA ordinal."""
    return attempt(lambda: _visible_devices(facts))


def _visible_devices(facts: Facts) -> Devices:
    gpus = need(facts.gpus)
    env = {} if isinstance(facts.env, Unknown) else facts.env
    setting = env.get("CUDA_VISIBLE_DEVICES")
    by_bus = env.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    alike = len(gpus) <= 1 or (len({str(gpu.name) for gpu in gpus}) == 1 and isinstance(gpus[0].name, str))
    if setting is None:
        return Devices(gpus, gpus, None, by_bus or alike)
    chosen: list[Gpu] = []
    for entry in setting.split(","):
        gpu = _named(entry, gpus)
        if gpu is None:
            break
        if gpu in chosen:
            return Devices((), gpus, setting, True, REPEATED)
        chosen.append(gpu)
    return Devices(tuple(chosen), gpus, setting, by_bus or alike)


def _named(entry: str, gpus: tuple[Gpu, ...]) -> Gpu | None:
    """The GPU that one entry names: an ordinal as strtol reads it, a UUID, or a prefix of exactly one UUID."""
    entry = entry.strip()
    if number := re.match(r"\d+", entry):
        ordinal = int(number.group())
        return gpus[ordinal] if ordinal < len(gpus) else None
    if not entry.startswith(("GPU-", "MIG-")):
        return None
    if entry.startswith("MIG-") and any(gpu.mig is not False for gpu in gpus):
        raise Undecided(f"CUDA_VISIBLE_DEVICES names {entry}: which slices the partitioned GPU has is not known")
    if any(isinstance(gpu.uuid, Unknown) for gpu in gpus):
        raise Undecided(f"CUDA_VISIBLE_DEVICES names {entry}: the UUIDs of the GPUs are not known")
    matches = [gpu for gpu in gpus if isinstance(gpu.uuid, str) and gpu.uuid.startswith(entry)]
    return matches[0] if len(matches) == 1 else None


def is_rank(launch: Launch | Unknown) -> bool:
    """Is this one of several processes of a launch? Unknown counts as no: nothing is placed by rank on a guess."""
    if isinstance(launch, Unknown):
        return False
    several = not isinstance(launch.world_size, Unknown) and launch.world_size > 1
    return several and launch.launcher in _LAUNCHERS_OF_RANKS


def may_be_rank(launch: Launch | Unknown) -> bool:
    """Was this started by a launcher of ranks, with nobody saying how many there are?"""
    return not isinstance(launch, Unknown) and launch.launcher in _LAUNCHERS_OF_RANKS and isinstance(launch.world_size, Unknown)


def home(facts: Facts, devices: Devices | Unknown, needed_bytes: int = 0) -> Home | None:
    """The GPU on which this process should put a model of ``needed_bytes``; None where none is visible or nothing is known.

    A rank: the only visible one (``srun --gpus-per-task=1``), else its LOCAL_RANK, else SLURM_LOCALID. One process: where CUDA is
    initialised its current device, else the first that has room, else the one with most free memory.
    """
    if isinstance(devices, Unknown) or not devices.visible:
        return None
    gpus = devices.visible
    if is_rank(facts.launch):
        return _home_of_rank(facts, gpus)
    if not devices.order_known:
        return Home(0, "the GPU that CUDA numbers 0", "models are mixed, and CUDA may number them otherwise than nvidia-smi")
    current = facts.torch.current_device if not isinstance(facts.torch, Unknown) else None
    if isinstance(current, int) and current < len(gpus):
        return _home(gpus, current, "the current device of this process")
    free = [gpu.free_bytes if isinstance(gpu.free_bytes, int) else None for gpu in gpus]
    for ordinal, room in enumerate(free):
        if room is None or room >= needed_bytes:
            return _home(
                gpus, ordinal, "the only GPU" if len(gpus) == 1 else "the first GPU with room" if needed_bytes else "the first GPU"
            )
    most = max(range(len(gpus)), key=lambda ordinal: free[ordinal] or 0)
    return _home(gpus, most, "the GPU with most free memory")


def _home_of_rank(facts: Facts, gpus: tuple[Gpu, ...]) -> Home | None:
    if len(gpus) == 1:
        return _home(gpus, 0, "the only GPU that this rank sees")
    local_rank = facts.launch.local_rank if not isinstance(facts.launch, Unknown) else None
    if isinstance(local_rank, int):
        return _home(gpus, local_rank, f"LOCAL_RANK {local_rank}") if local_rank < len(gpus) else None
    slurm = "" if isinstance(facts.env, Unknown) else facts.env.get("SLURM_LOCALID", "")
    if slurm.isdigit() and int(slurm) < len(gpus):
        return _home(gpus, int(slurm), f"SLURM_LOCALID {slurm}")
    return None


def _home(gpus: tuple[Gpu, ...], ordinal: int, why: str) -> Home:
    name = gpus[ordinal].name
    return Home(ordinal, "GPU" if isinstance(name, Unknown) else name, why)
