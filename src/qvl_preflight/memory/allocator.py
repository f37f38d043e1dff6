"""What torch's caching allocator counts as allocated: whole blocks, of which some are larger than what was asked for.

c10/cuda/CUDACachingAllocator.cpp (torch 2.11): sizes are multiples of 512 bytes; up to 1 MiB they are cut from segments of 2 MiB, below 10 MiB from segments of
20 MiB, above from segments of their own in steps of 2 MiB; the smallest free block that holds them is taken, and split only where more than 1 MiB is left (512
bytes among small ones); what is freed joins its free neighbours.
"""

from __future__ import annotations

from bisect import bisect_left, insort

MIB = 2**20
_UNIT = 512
_Block = tuple[int, int, int]  # size, segment, offset


def rounded(size: int) -> int:
    """A size as it is cut."""
    return max(_UNIT, -(-size // _UNIT) * _UNIT)


def whole(size: int) -> int:
    """A size as it is counted where it gets a segment of its own: what is left over stays with it, up to 1 MiB."""
    size = rounded(size)
    segment = -(-size // (2 * MIB)) * 2 * MIB
    return segment if size >= 10 * MIB and segment - size <= MIB else size


class Allocator:
    """One GPU. ``allocated``, ``peak`` and ``reserved`` are what torch.cuda shows by these names."""

    def __init__(self) -> None:
        self.allocated = self.peak = self.reserved = 0
        self._free: dict[bool, list[_Block]] = {False: [], True: []}
        self._segments: dict[int, bool] = {}  # segment → of large blocks?

    def take(self, size: int) -> _Block:
        """A block for a tensor."""
        size = rounded(size)
        large = size > MIB
        free = self._free[large]
        place = bisect_left(free, (size, 0, 0))
        found, segment, offset = free.pop(place) if place < len(free) else self._segment(size, large)
        if found - size > (MIB if large else 0):
            insort(free, (found - size, segment, offset + size))
            found = size
        self.allocated += found
        self.peak = max(self.peak, self.allocated)
        return found, segment, offset

    def give(self, block: _Block) -> None:
        """A tensor is gone."""
        size, segment, offset = block
        self.allocated -= size
        free = self._free[self._segments[segment]]
        for other in [one for one in free if one[1] == segment]:
            if other[2] + other[0] == offset or offset + size == other[2]:
                free.remove(other)
                size, offset = size + other[0], min(offset, other[2])
        insort(free, (size, segment, offset))

    def _segment(self, size: int, large: bool) -> _Block:
        length = 2 * MIB if not large else 20 * MIB if size < 10 * MIB else -(-size // (2 * MIB)) * 2 * MIB
        number = len(self._segments) + 1
        self._segments[number] = large
        self.reserved += length
        return length, number, 0
