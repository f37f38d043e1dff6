"""The answer of ``qvl-preflight fit`` for people: a bar for each GPU, the verdict, what fits, and what would."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.counted import counted
from qvl_preflight.fitting.rooms import MARGIN
from qvl_preflight.render.machine import bytes_text
from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from qvl_preflight.fitting.answer import Fit
    from qvl_preflight.fitting.call import Call
    from qvl_preflight.fitting.offers import Offer
    from qvl_preflight.fitting.question import Placed
    from qvl_preflight.memory.result import MemoryEstimate

PARTS = (
    ("weights", "weights_bytes"), ("gathered weights", "gathered_bytes"), ("keys and values", "kv_cache_bytes"), ("activations", "activation_bytes"),
    ("gradients", "gradient_bytes"), ("their buckets", "bucket_bytes"), ("optimizer", "optimizer_bytes"), ("adapters", "adapter_bytes"),
    ("made float32", "prepared_bytes"), ("cuBLAS", "workspace_bytes"),
)  # fmt: skip
WORDS = {
    "fits": "fits", "narrowly": f"fits, with less than {MARGIN:.0%} to spare".replace("%", " %"), "too large": "does not fit", "unknown": "not known",
    "unused": "nothing is put on it", "spills": "does not fit: parts of it spill from the GPUs",
}  # fmt: skip
_WIDTH = 30
_SHOWN = 6  # modules


def fit_text(found: Fit) -> str:
    """All of it."""
    return "\n".join(_lines(found))


def _lines(found: Fit) -> Iterator[str]:
    question = found.question
    yield f"{found.model}: {described(question.call)}"
    spread = question.spread
    if isinstance(spread, Unknown):
        yield f"where the device_map puts it is not known: {spread.reason}"
    if spread is None:
        yield from _parts(question.estimate, rank=question.call.sharing is not None)
    yield ""
    yield from _gpus(found)
    yield from _away(found)
    yield from _host(found)
    yield from _limits(found)
    for note in found.notes:
        yield f"note: {note}"
    yield from _offers(found)


def _parts(found: MemoryEstimate, *, rank: bool) -> Iterator[str]:
    for text, key in PARTS:
        size = getattr(found, key)
        if not isinstance(size, Unknown) and size:
            yield f"  {text:<16}{bytes_text(size):>11}"
    who = "each rank needs" if rank else "needs"
    if isinstance(found.total_bytes, Unknown):
        least, most = found.total_range
        size = f"at least {bytes_text(least)}" if most is None else f"between {bytes_text(least)} and {bytes_text(most)}"
        yield f"{who} {size}; what the step takes is not known: {found.total_bytes.reason}"
    else:
        yield f"{who} {bytes_text(found.total_bytes)}: {bytes_text(found.peak_bytes)} at the worst moment, and about {bytes_text(found.context_bytes)} of CUDA context"
    for note in found.notes:
        yield f"note: {note}"


def _gpus(found: Fit) -> Iterator[str]:
    for alike in grouped(found):
        room = alike[0].room
        name = room.name if len(alike) == 1 else f"{room.device} to {alike[-1].room.name}, each"
        state = "free" if room.measured else "if it is empty"
        yield f"{name}: {bar(alike[0])}  {held_text(alike[0])} {bytes_text(room.free)} {state}: {WORDS[alike[0].verdict]}"
    if not found.question.rooms:
        yield "no GPU is known here; name one with --gpu 24GiB or --gpu rtx4090"
    elif len(found.question.holdings) > 1 or found.verdict == "spills":
        yield f"{'together' if found.question.spread is not None else 'each rank on its own' if found.question.call.sharing else 'on one of them'}: {WORDS[found.verdict]}"


def grouped(found: Fit) -> list[list[Placed]]:
    """The GPUs in rows of those that follow one another and are alike in all that is said of them."""
    rows: list[list[Placed]] = []
    for placed in found.question.holdings:
        if rows and _said(rows[-1][0]) == _said(placed):
            rows[-1].append(placed)
        else:
            rows.append([placed])
    return rows


def _said(placed: Placed) -> tuple[object, ...]:
    return placed.room.name.partition(" ")[2], placed.room.free, placed.room.measured, needed(placed), placed.verdict


def bar(placed: Placed) -> str:
    """``[######....]``: of what is free, how much is needed; ``>`` where it goes beyond."""
    need = needed(placed)
    share = need / max(placed.room.free, 1)
    filled = min(_WIDTH, round(share * _WIDTH)) if need else 0
    end = ">" if share > 1 else "]"
    return f"[{'#' * filled}{'.' * (_WIDTH - filled)}{end}"


def needed(placed: Placed) -> int:
    """What is known of what this GPU must have."""
    found = placed.estimate
    if found is None:
        return 0
    total = found.total_bytes
    return found.total_range[0] if isinstance(total, Unknown) else total


def held_text(placed: Placed) -> str:
    """``12.1 GiB of``"""
    least = placed.estimate is not None and isinstance(placed.estimate.total_bytes, Unknown)
    return f"{'at least ' * least}{bytes_text(needed(placed))} of"


def _away(found: Fit) -> Iterator[str]:
    spread = found.question.spread
    if spread is None or isinstance(spread, Unknown):
        return
    for place, away in spread.away.items():
        names = ", ".join(away.modules[:_SHOWN]) + (f" and {len(away.modules) - _SHOWN} more" if len(away.modules) > _SHOWN else "")
        yield f"{'spills to the' if found.question.spills else 'on the'} {'CPU' if place == 'cpu' else place}: {bytes_text(away.total_bytes)}, {names}"


def _host(found: Fit) -> Iterator[str]:
    host = found.host
    if isinstance(host.ram_bytes, Unknown):
        yield f"RAM while it loads: not known: {host.ram_bytes.reason}"
    else:
        why = f": {', '.join(host.why)}" if host.why else ""
        mapped = (
            f"; {bytes_text(host.mapped_bytes)} of files are mapped beside that"
            if not isinstance(host.mapped_bytes, Unknown) and host.mapped_bytes
            else ""
        )
        limit = ""
        if not isinstance(host.limit_bytes, Unknown):
            free = f", {bytes_text(host.free_bytes)} of it free" if isinstance(host.free_bytes, int) else ""
            limit = f"; {bytes_text(host.limit_bytes)} may be used{free}: {WORDS[host.ram_verdict] if host.ram_verdict != 'narrowly' else 'fits once others let go of some'}"
        yield f"RAM while it loads: about {bytes_text(host.ram_bytes)}{why}{mapped}{limit}"
    if not isinstance(host.disk_bytes, Unknown) and host.disk_bytes:
        room = "" if isinstance(host.disk_free_bytes, Unknown) else f" of {bytes_text(host.disk_free_bytes)} free"
        yield f"disk for the offload: {bytes_text(host.disk_bytes)}{room}: {WORDS[host.disk_verdict]}"


def _limits(found: Fit) -> Iterator[str]:
    most = found.limits
    if most.sequence:
        end = ", which is all that the model has positions for" if most.bound else ""
        yield f"longest sequence that fits: {most.sequence:,} tokens{end}"
    if most.batch:
        yield f"largest batch that fits: {most.batch:,}"


def _offers(found: Fit) -> Iterator[str]:
    first = found.question.holdings[0].room.device if found.question.holdings else ""
    for device in found.elsewhere[:1]:
        yield f'what would help: {device} in place of {first}: device_map={{"": {device.partition(":")[2]}}}'
    if not found.offers:
        if found.ok is False:
            yield "nothing that is known here would make it fit on these GPUs"
        return
    yield "what would fit:" if any(offer.steps for offer in found.offers) else "what would fit, each alone:"
    for number, offer in enumerate(found.offers, 1):
        yield from _offer(number, offer)


def _offer(number: int, offer: Offer) -> Iterator[str]:
    result = "" if offer.same else "; the result is another"
    if not offer.steps:
        yield f"  {number}. {offer.text}: {bytes_text(offer.needs)}{saved(offer.saves)}{result}"
        return
    yield f"  {number}. together, {bytes_text(offer.needs)} then{result}:"
    for text, size in offer.steps:
        yield f"     - {text}{saved(size)}"


def saved(size: int) -> str:
    """``, 1.2 GiB less``"""
    return f", {bytes_text(size)} less" if size > 0 else ""


def described(call: Call) -> str:
    """The call in a line."""
    asked, how, sharing = call.asked, call.quantization, call.sharing
    bits = "" if how is None or isinstance(how, Unknown) else f" in {how.bits} bits ({how.method})"
    what = {None: "generate" if asked.new_tokens else "forward pass", "lora": "LoRA", "full": "full fine-tuning"}[asked.method]
    size = f"{asked.batch} × {asked.length:,} tokens" + (f" and {asked.new_tokens:,} new ones" if asked.new_tokens else "")
    size += f" with {counted(asked.images, 'image')}" if asked.images else ""
    more = [f"{call.attention} attention"] if call.attention not in ("sdpa", None) else []
    if asked.method is not None:
        more += ["gradient checkpointing"] * asked.checkpointing + [asked.optimizer] * (asked.optimizer != "adamw_torch")
    if sharing is not None:
        away = " with its weights in RAM" if sharing.weights_away else " with its states in RAM" if sharing.states_away else ""
        more.append(f"{sharing.kind} over {sharing.ranks} rank{'s' * (sharing.ranks > 1)}{away}")
    if call.device_map is not None:
        more.append(f"device_map={call.device_map!r}" if isinstance(call.device_map, (str, int)) else "a device_map")
    return ", ".join([what, size, f"{call.dtype} weights{bits}", *more])
