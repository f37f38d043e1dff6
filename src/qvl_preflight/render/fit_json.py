"""The answer of ``qvl-preflight fit`` as JSON, fit/1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qvl_preflight.fitting.answer import SCHEMA
from qvl_preflight.fitting.host import as_dict
from qvl_preflight.render.fit import described
from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from qvl_preflight.fitting.answer import Fit
    from qvl_preflight.fitting.offers import Offer
    from qvl_preflight.fitting.question import Placed


def fit_dict(found: Fit) -> dict[str, Any]:
    """All of it; null for what is not known."""
    question = found.question
    spread, sharing = question.spread, question.call.sharing
    placed = None if spread is None or isinstance(spread, Unknown) else spread
    return {
        "schema": SCHEMA,
        "model": found.model,
        "call": described(question.call),
        "verdict": found.verdict,
        "estimate": question.estimate.to_dict(),
        "gpus": [_gpu(each, alone=placed is None) for each in question.holdings],
        "device_map": None if placed is None else dict(placed.homes),
        "spilled": [
            {"to": place, "total_bytes": away.total_bytes, "modules": list(away.modules)}
            for place, away in (() if placed is None else placed.away.items())
        ],
        "ranks": None if sharing is None else {"count": sharing.ranks, "on_host": sharing.on_host, "shared_by": sharing.kind},
        "host": dict(as_dict(found.host)),
        "longest_sequence": found.limits.sequence,
        "sequence_ends_at_positions": found.limits.bound,
        "largest_batch": found.limits.batch,
        "would_fit": [_offer(offer) for offer in found.offers],
        "other_gpus": list(found.elsewhere),
        "notes": list(found.notes),
    }


def _gpu(placed: Placed, *, alone: bool) -> dict[str, Any]:
    """The figures of its part, where the model is spread; else they are the same on each, and stand in ``estimate``."""
    room, found = placed.room, placed.estimate
    total = None if found is None or isinstance(found.total_bytes, Unknown) else found.total_bytes
    return {
        "name": room.name,
        "device": room.device,
        "free_bytes": room.free,
        "total_bytes": room.total,
        "measured": room.measured,
        "verdict": placed.verdict,
        "needs_bytes": total,
        "estimate": None if alone or found is None else found.to_dict(),
    }


def _offer(offer: Offer) -> dict[str, Any]:
    return {
        "change": offer.text,
        "total_bytes": offer.needs,
        "saved_bytes": offer.saves,
        "same_result": offer.same,
        "steps": [{"change": text, "saved_bytes": size} for text, size in offer.steps],
    }
