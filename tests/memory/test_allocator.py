"""The caching allocator's count, by its own rules."""

from __future__ import annotations

from qvl_preflight.memory.allocator import MIB, Allocator, whole


def test_blocks_are_cut_and_join_again() -> None:
    """Small ones from 2 MiB, middle ones from 20 MiB, large ones in steps of 2 MiB."""
    gpu = Allocator()
    small, middle, large = gpu.take(100), gpu.take(2 * MIB), gpu.take(21 * MIB)
    assert gpu.reserved == (2 + 20 + 22) * MIB
    assert gpu.allocated == 512 + 2 * MIB + 22 * MIB  # 1 MiB is too little to split off
    for block in (small, middle, large):
        gpu.give(block)
    assert gpu.allocated == 0
    assert gpu.take(20 * MIB)[0] == 20 * MIB
    assert gpu.reserved == 44 * MIB
    assert gpu.peak == 512 + 24 * MIB


def test_a_block_of_its_own_keeps_what_is_left() -> None:
    assert whole(131072000) == 126 * MIB
    assert whole(9 * MIB + 1) == 9 * MIB + 512
    assert whole(0) == 512
