"""The GPUs that something may fit on, and the verdict on one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from qvl_preflight.memory.result import MemoryEstimate
    from qvl_preflight.plan import Situation

MARGIN = 0.05  # the estimate's own error, and what the allocator cannot use
# From the best to the worst.
VERDICTS = ("fits", "narrowly", "unknown", "spills", "too large")


@dataclass(frozen=True)
class Room:
    """A GPU, or one that is only thought of. ``free`` is what it has left now; where nobody knows, all of it."""

    name: str
    free: int
    measured: bool
    total: int = 0
    device: str = "cuda:0"


def rooms_of(case: Situation, *, thought_of: bool) -> tuple[Room, ...]:
    """The GPUs that this process sees. One whose memory is not known is left out."""
    if isinstance(case.devices, Unknown):
        return ()
    found = []
    for number, gpu in enumerate(case.devices.visible):
        free, total = gpu.free_bytes, gpu.total_bytes
        size = total if isinstance(free, Unknown) else free
        if not isinstance(size, Unknown):
            name = "" if isinstance(gpu.name, Unknown) else f" {gpu.name}"
            whole = size if isinstance(total, Unknown) else total
            measured = not isinstance(free, Unknown) and not thought_of
            found.append(Room(f"cuda:{number}{name}", size, measured, whole, f"cuda:{number}"))
    return tuple(found)


def verdict(found: MemoryEstimate, room: Room) -> str:
    """fits, narrowly, too large, or unknown: where what it takes at least has room, and what it takes at most has none, or is not known."""
    if isinstance(found.total_bytes, Unknown):
        least, most = found.total_range
        return "too large" if least > room.free else "fits" if most is not None and most <= room.free else "unknown"
    if found.total_bytes > room.free:
        return "too large"
    return "fits" if found.total_bytes * (1 + MARGIN) <= room.free else "narrowly"
