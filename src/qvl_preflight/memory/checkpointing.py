"""Gradient checkpointing on a tape."""

from __future__ import annotations

from collections.abc import Callable

from qvl_preflight.memory.tape import Node, Storage, Tape, Value


def checkpoint(tape: Tape, one: Value, block: Callable[[Value], Value]) -> Value:
    """torch.utils.checkpoint: only the input is kept, and the block is run again on the way back."""
    tape.grad, tape.shadow = False, tape.keeps_shadow
    out = block(one)
    tape.grad, tape.shadow = True, False
    kept = one.storage
    size, width, amp = one.count, one.width, tape.amp

    def back(gradient: Storage) -> list[Storage | None]:
        tape.amp, tape.again = amp, True
        start = Value(kept, size, width, Node((), (True,), lambda _: ()))
        again = block(start)
        tape.leave_autocast()
        tape.amp, tape.again = 0, False
        again.storage = None
        return [tape.backward(again, gradient)]

    return tape.record(out, [one], [one], back)
