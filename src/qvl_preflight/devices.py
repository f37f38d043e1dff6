"""Which GPUs this process sees, in its own numbering, and which of them is its own.

CUDA_VISIBLE_DEVICES is read as the CUDA runtime reads it (recorded on an H100, driver 580): a number is read as strtol reads it, so
blanks before it, leading zeros and whatever follows it are skipped ("0 7" and "0-3" are GPU 0); a UUID may be shortened, and has no
blanks before it; the list ends at the first entry that names no device or is of another kind; a repeated entry is an error. A
CUDA_DEVICE_ORDER that is neither of its two values breaks CUDA altogether.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qvl_preflight.unknown import Undecided, Unknown, attempt, need

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qvl_preflight.facts import Facts, Gpu, Launch

REPEATED = "CUDA_VISIBLE_DEVICES names a device twice"
BAD_ORDER = "CUDA_DEVICE_ORDER is neither PCI_BUS_ID nor FASTEST_FIRST"
NO_SLICE = "MIG is on, and the GPU has no MIG instance"
_LAUNCHERS_OF_RANKS = ("torchrun", "accelerate", "deepspeed", "slurm", "mpi")


@dataclass(frozen=True)
class Devices:
    """The NVIDIA GPUs that this process would see."""

    visible: tuple[Gpu, ...]
    physical: tuple[Gpu, ...]
    setting: str | None  # CUDA_VISIBLE_DEVICES as given
    order_known: bool  # False: mixed models without CUDA_DEVICE_ORDER=PCI_BUS_ID, CUDA may number them otherwise than NVML
    broken: str | None = None  # why the runtime refuses every device
    unread: tuple[str, ...] = ()  # the entries of the setting from the first that names no device
    late: bool = False  # the setting came after CUDA had started in this process, and is not read

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
    found = _as_set(facts)
    started = None if isinstance(facts.torch, Unknown) else facts.torch.device_count
    if not isinstance(started, int) or started == len(found.visible):
        return found
    # CUDA runs in this process already, and what it started with counts (recorded on an H100 with torch 2.11).
    if started == len(found.physical) and not any(gpu.mig is True for gpu in found.physical):
        return Devices(found.physical, found.physical, found.setting, found.order_known, late=True)
    raise Undecided(f"CUDA found {started} GPUs when it started in this process, with settings that have changed since")


def _as_set(facts: Facts) -> Devices:
    """What a process would see that starts CUDA now."""
    gpus = need(facts.gpus)
    env = facts.variables
    setting, order = env.get("CUDA_VISIBLE_DEVICES"), env.get("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    alike = len(gpus) <= 1 or (len({str(gpu.name) for gpu in gpus}) == 1 and isinstance(gpus[0].name, str))
    known = order == "PCI_BUS_ID" or alike
    if order not in ("PCI_BUS_ID", "FASTEST_FIRST"):
        return Devices((), gpus, setting, True, BAD_ORDER)
    if setting is None:
        return _with_slices(Devices(gpus, gpus, None, known))
    chosen: list[Gpu] = []
    entries = setting.split(",")
    for position, entry in enumerate(entries):
        gpu = named(entry, gpus) if kind_of(entry) == kind_of(entries[0]) else None
        if gpu is None:
            return _with_slices(Devices(tuple(chosen), gpus, setting, known, unread=tuple(entries[position:])))
        if gpu in chosen:
            return Devices((), gpus, setting, True, REPEATED)
        chosen.append(gpu)
    return _with_slices(Devices(tuple(chosen), gpus, setting, known))


def _with_slices(devices: Devices) -> Devices:
    """What CUDA shows of a partitioned GPU: its first instance. One process sees one instance (MIG user guide, "Device enumeration")."""
    partitioned = [gpu for gpu in devices.visible if gpu.mig is True]
    if not partitioned or any(isinstance(gpu.slices, Unknown) for gpu in partitioned):
        return devices
    if len(devices.visible) > len(partitioned):
        raise Undecided("some GPUs are partitioned (MIG) and some are not: which of them CUDA shows is not known")
    found = [(gpu, piece) for gpu in partitioned for piece in need(gpu.slices)]
    if not found:
        return replace(devices, visible=(), broken=NO_SLICE)
    first, piece = found[0]
    shown = replace(first, uuid=piece.uuid, name=piece.name, total_bytes=piece.total_bytes, free_bytes=piece.free_bytes, mig=False)
    return replace(devices, visible=(shown,))


def kind_of(entry: str) -> str:
    """What an entry of CUDA_VISIBLE_DEVICES is: a number, GPU, MIG, or nothing."""
    if re.match(r"\s*[+-]?\d", entry):
        return "number"
    return entry[:3] if re.match(r"(GPU|MIG)-.", entry) else "nothing"


def named(entry: str, gpus: tuple[Gpu, ...]) -> Gpu | None:
    """The GPU that one entry names. Raises Undecided where that takes a UUID that is not known."""
    kind = kind_of(entry)
    if kind == "number":
        ordinal = int(re.findall(r"[+-]?\d+", entry)[0])
        return gpus[ordinal] if 0 <= ordinal < len(gpus) else None
    if kind == "nothing":
        return None
    if kind == "MIG" and any(gpu.mig is not False for gpu in gpus):
        return _slice(entry, gpus)
    if any(isinstance(gpu.uuid, Unknown) for gpu in gpus):
        raise Undecided(f"CUDA_VISIBLE_DEVICES names {entry}: the UUIDs of the GPUs are not known")
    return _only(gpu for gpu in gpus if isinstance(gpu.uuid, str) and _begins(gpu.uuid, entry))


def _begins(uuid: str, entry: str) -> bool:
    """A shortened UUID names its device; what follows a whole one is not read."""
    return uuid.startswith(entry) or entry.startswith(uuid)


def _only(found: Iterable[Gpu]) -> Gpu | None:
    matches = list(found)
    return matches[0] if len(matches) == 1 else None


def _slice(entry: str, gpus: tuple[Gpu, ...]) -> Gpu | None:
    """The partitioned GPU with this instance alone."""
    if any(isinstance(gpu.mig, Unknown) or (gpu.mig and isinstance(gpu.slices, Unknown)) for gpu in gpus) or entry.startswith(
        "MIG-GPU-"
    ):
        raise Undecided(f"CUDA_VISIBLE_DEVICES names {entry}: which slices the partitioned GPU has is not known")
    return _only(
        replace(gpu, slices=(piece,))
        for gpu in gpus
        for piece in (() if isinstance(gpu.slices, Unknown) else gpu.slices)
        if isinstance(piece.uuid, str) and _begins(piece.uuid, entry)
    )


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
    if isinstance(current, int) and 0 <= current < len(gpus):
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
        return _home(gpus, local_rank, f"LOCAL_RANK {local_rank}") if 0 <= local_rank < len(gpus) else None
    slurm = facts.variables.get("SLURM_LOCALID", "")
    if slurm.isdecimal() and int(slurm) < len(gpus):
        return _home(gpus, int(slurm), f"SLURM_LOCALID {slurm}")
    return None


def _home(gpus: tuple[Gpu, ...], ordinal: int, why: str) -> Home:
    name = gpus[ordinal].name
    return Home(ordinal, "GPU" if isinstance(name, Unknown) else name, why)
