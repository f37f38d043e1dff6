"""A call held against GPUs: one figure for each device, and one verdict on all of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from qvl_preflight.fitting.rooms import VERDICTS, Room, verdict
from qvl_preflight.fitting.spread import Spread, homes_of, spread_of
from qvl_preflight.stack.accelerate import STRATEGIES
from qvl_preflight.unknown import Unknown, attempt

if TYPE_CHECKING:
    from qvl_preflight.fitting.call import Call
    from qvl_preflight.memory.result import MemoryEstimate


@dataclass(frozen=True)
class Placed:
    """What one GPU would hold. ``estimate`` is None where the map puts nothing on it."""

    room: Room
    estimate: MemoryEstimate | None

    @property
    def verdict(self) -> str:
        """On this GPU alone."""
        return "unused" if self.estimate is None else verdict(self.estimate, self.room)


@dataclass(frozen=True)
class Question:
    """Does this call fit on these GPUs? Without a device_map each is asked alone; with ranks, each holds one."""

    call: Call
    rooms: tuple[Room, ...]
    placed: tuple[Mapping[str, str], bool] | Unknown | None = None

    @cached_property
    def spread(self) -> Spread | Unknown | None:
        """Where a device_map puts it; None where there is none. Raises Undecided where the weights are not known."""
        if self.call.device_map is None:
            return None
        placed = self.placed if self.placed is not None else attempt(lambda: homes_of(self.call))
        return placed if isinstance(placed, Unknown) else spread_of(self.call, placed)

    @cached_property
    def estimate(self) -> MemoryEstimate:
        """All of it on one GPU, or of one rank. Raises Undecided where the weights are not known."""
        return self.call.estimate()

    @cached_property
    def holdings(self) -> tuple[Placed, ...]:
        """GPU by GPU."""
        spread = self.spread
        if spread is None:
            return tuple(Placed(room, self.estimate) for room in self.rooms)
        shares = {} if isinstance(spread, Unknown) else spread.shares
        return tuple(Placed(room, shares.get(room.device)) for room in self.rooms)

    @cached_property
    def verdict(self) -> str:
        """fits, narrowly, unknown, spills, too large."""
        spread, each = self.spread, [found.verdict for found in self.holdings if found.estimate is not None]
        if isinstance(spread, Unknown):
            return "unknown"
        if spread is not None:
            worst = max(each, key=VERDICTS.index, default="unknown")
            missing = set(spread.shares) - {room.device for room in self.rooms}
            return worst if worst == "too large" else "spills" if self.spills else "unknown" if missing else worst
        if not each:
            return "unknown"
        return (max if self.call.sharing is not None else min)(each, key=VERDICTS.index)

    @property
    def spills(self) -> bool:
        """Does a strategy leave parts beside the GPUs? What a map names itself is meant so."""
        spread = self.spread
        away = isinstance(spread, Spread) and bool(spread.away)
        return away and bool(self.rooms) and self.call.device_map in STRATEGIES

    @property
    def holds(self) -> bool | None:
        """Can it run? None where nobody knows."""
        return {"fits": True, "narrowly": True, "unknown": None}.get(self.verdict, False)

    @property
    def needs(self) -> int | Unknown:
        """Bytes on the GPU that has most of it to hold, with the context."""
        spread = self.spread
        if spread is None or isinstance(spread, Unknown):
            return self.estimate.total_bytes
        totals = [share.total_bytes for share in spread.shares.values()]
        known = [total for total in totals if not isinstance(total, Unknown)]
        return max(known, default=0) if len(known) == len(totals) else next(total for total in totals if isinstance(total, Unknown))

    def of(self, call: Call) -> Question:
        """The same GPUs, another call. A map holds as long as nothing of the load changes."""
        same = call.case is self.call.case and call.quantization is self.call.quantization and call.dtype == self.call.dtype
        known = self.placed
        if same and known is None and call.device_map is not None:
            found = self.spread
            known = found if isinstance(found, Unknown) or found is None else (found.homes, found.about)
        return Question(call, self.rooms, known if same else None)

    def step(self, **changed: Any) -> Question:
        """The same load, another step."""
        return self.of(self.call.step(**changed))
