"""What would make it fit: the same call with something changed, asked of the same estimate. What leaves the result as it is comes first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qvl_preflight.fitting.call import FOUR_BITS
from qvl_preflight.unknown import Undecided, Unknown

if TYPE_CHECKING:
    from qvl_preflight.fitting.call import Call
    from qvl_preflight.fitting.question import Question

_Change = Callable[["Question"], "Question"]
_PAGED = ("adamw_torch", "adamw_torch_fused", "adamw_hf")  # optimizers that have a paged kin
_SPARE = 256 * 2**20  # beside what a GPU computes with, left by a max_memory


@dataclass(frozen=True)
class Offer:
    """What to change, and what that gives. ``needs``: bytes on the GPU that has most to hold, with the context; ``saves``: how many less than as asked;
    ``steps``: what each of several changes saves on top of those before it. ``same``: does the result stay as it is?"""

    text: str
    question: Question
    needs: int
    saves: int
    same: bool
    steps: tuple[tuple[str, int], ...] = ()


def offers(question: Question) -> tuple[Offer, ...]:
    """Each that is enough alone; where none is, one on top of the other. None where it fits, or nobody knows."""
    before = _size(question)
    if before is None or not question.rooms or question.holds is not False:
        return ()
    enough: list[Offer] = []
    for text, same, change in _changes(question):
        if change is _balanced and enough:
            continue  # the map that "auto" works out by itself is enough
        found = _tried(text, same, question, change, before)
        if found is not None and found.question.holds:
            enough.append(found)
    if any(offer.same for offer in enough):
        return tuple(enough)
    if kept := _together(question, before, keeping=True):
        return (*kept, *enough)
    if enough:
        return tuple(enough)
    return _together(question, before, keeping=False)


def _together(question: Question, before: int, *, keeping: bool) -> tuple[Offer, ...]:
    """One change on top of the other, until it fits. ``keeping``: of those alone that leave the result as it is."""
    now, size, same = question, before, True
    steps: list[tuple[str, int]] = []
    tried: set[str] = set()
    while found := next(
        ((text, keeps, change) for text, keeps, change in _changes(now) if text not in tried and (keeps or not keeping)), None
    ):
        text, keeps, change = found
        tried.add(text)
        changed = _applied(change, now)
        after = None if changed is None else _size(changed)
        if changed is None or after is None or after >= size or "ZeRO-2" in text:  # ZeRO-3 saves what it does, and more
            continue
        steps.append((text, size - after))
        now, size, same = changed, after, same and keeps
        if now.holds and isinstance(now.needs, int):
            return (Offer(", ".join(text for text, _ in steps), now, now.needs, before - size, same, tuple(steps)),)
    return ()


def other_gpus(question: Question) -> tuple[str, ...]:
    """The GPUs that would hold it, where the one that a call takes by itself does not."""
    if question.call.device_map is not None or question.call.sharing is not None or len(question.holdings) < 2:
        return ()
    first, *rest = question.holdings
    if first.verdict not in ("too large", "narrowly"):
        return ()
    better = sorted((one for one in rest if one.verdict == "fits"), key=lambda one: -one.room.free)
    return tuple(one.room.device for one in better)


def _size(question: Question) -> int | None:
    """What is compared: the most that one GPU holds, and what lies beside the GPUs."""
    needs, spread = question.needs, question.spread
    if isinstance(needs, Unknown) or isinstance(spread, Unknown):
        return None
    return needs + (sum(away.total_bytes for away in spread.away.values()) if spread is not None else 0)


def _applied(change: _Change, question: Question) -> Question | None:
    try:
        return change(question)
    except Undecided:
        return None


def _tried(text: str, same: bool, question: Question, change: _Change, before: int) -> Offer | None:
    changed = _applied(change, question)
    after = None if changed is None else _size(changed)
    if changed is None or after is None or not isinstance(changed.needs, int) or (after >= before and not changed.holds):
        return None
    return Offer(text, changed, changed.needs, before - after, same)


def _changes(question: Question) -> Iterator[tuple[str, bool, _Change]]:
    """Text, whether the result stays as it is, and the change; in the order in which they are worth it."""
    call = question.call
    asked = call.asked
    yield from _of_the_devices(question)
    if asked.method is not None and not asked.checkpointing:
        yield "gradient checkpointing", True, _step(checkpointing=True)
    if call.attention == "eager":
        yield "attention by sdpa", True, _with(attention="sdpa")
    if asked.batch > 1:
        yield (
            f"batch size 1{', with gradient accumulation' if asked.method else ''}",
            True,
            _step(batch=1, images=-(-asked.images // asked.batch)),
        )
    yield from _of_the_ranks(call)
    if asked.method is not None and asked.optimizer in _PAGED and (call.sharing is None or call.sharing.kind == "DDP"):
        yield "optimizer paged_adamw_32bit, whose states may lie in RAM", True, _step(optimizer="paged_adamw_32bit")
        yield "optimizer paged_adamw_8bit", False, _step(optimizer="paged_adamw_8bit")
    if call.quantization is None and asked.method != "full" and not (call.sharing and call.sharing.stage):
        yield "4-bit weights (nf4)", False, _with(quantization=FOUR_BITS)
    for length in (asked.length // 2, asked.length // 4):
        if length >= 128:
            yield f"sequences of {length:,} tokens", False, _step(length=length)
    if asked.method == "full" and call.quantization is None and not (call.sharing and call.sharing.stage == 3):
        yield "LoRA over 4-bit weights instead (qlora)", False, _adapters


def _of_the_devices(question: Question) -> Iterator[tuple[str, bool, _Change]]:
    """More of the GPUs that are there, or another split over them."""
    call, count = question.call, len(question.rooms)
    if call.sharing is not None:
        return
    if call.device_map is None and count > 1:
        yield f'{count} GPUs, by device_map="auto"', True, _kwargs(device_map="auto")
        yield f"{count} GPUs, by a max_memory that leaves each room to compute", True, _balanced
    elif isinstance(call.device_map, str) and count > 1:
        yield "a max_memory that leaves each GPU room to compute", True, _balanced
        yield 'device_map="sequential"', True, _kwargs(device_map="sequential")


def _of_the_ranks(call: Call) -> Iterator[tuple[str, bool, _Change]]:
    sharing = call.sharing
    if sharing is None or call.asked.method is None or sharing.ranks < 2:
        return
    if not sharing.fsdp and sharing.stage < 3 and call.quantization is None:
        for stage in (2, 3):
            if stage > sharing.stage:
                yield f"ZeRO-{stage} over the {sharing.ranks} ranks", True, _shared(stage=stage)
    if sharing.stage and not sharing.states_away:
        yield "the optimizer's states in RAM (offload_optimizer)", True, _shared(states_away=True)
    if sharing.fsdp and not sharing.weights_away:
        yield "weights and states in RAM (offload_params)", True, _shared(weights_away=True, states_away=True)


def _balanced(question: Question) -> Question:
    """max_memory: what each GPU has free, less what it computes with. Raises Undecided."""
    spread = question.of(question.call.with_kwargs(device_map="auto")).spread
    if spread is None or isinstance(spread, Unknown):
        raise Undecided("where the model goes")
    limits: dict[Any, int] = {}
    for number, room in enumerate(question.rooms):
        share = spread.shares.get(room.device)
        total = 0 if share is None else share.total_bytes
        if isinstance(total, Unknown):
            raise Undecided(total.reason)
        computes = 0 if share is None else total - share.weights_bytes
        limits[number] = max(0, (room.free - computes - _SPARE) // 2**20)
    sizes = {number: f"{size}MiB" for number, size in limits.items()}
    return question.of(question.call.with_kwargs(device_map="auto", max_memory={**sizes, "cpu": "1000GiB"}))


def _adapters(question: Question) -> Question:
    changed = question.step(method="lora", amp=True)
    return changed.of(replace(changed.call, quantization=FOUR_BITS))


def _step(**changed: Any) -> _Change:
    return lambda question: question.step(**changed)


def _with(**changed: Any) -> _Change:
    return lambda question: question.of(replace(question.call, **changed))


def _kwargs(**edits: Any) -> _Change:
    return lambda question: question.of(question.call.with_kwargs(**edits))


def _shared(**changed: Any) -> _Change:
    def change(question: Question) -> Question:
        assert question.call.sharing is not None
        return question.of(replace(question.call, sharing=replace(question.call.sharing, **changed)))

    return change
