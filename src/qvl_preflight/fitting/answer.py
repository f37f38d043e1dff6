"""All that ``fit`` says of a call, in one object: text, JSON, a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qvl_preflight.fitting.host import HostNeed, host_need
from qvl_preflight.fitting.limits import Limits, limits
from qvl_preflight.fitting.offers import Offer, offers, other_gpus

if TYPE_CHECKING:
    from qvl_preflight.fitting.question import Question

SCHEMA = "qvl-preflight/fit/1"


@dataclass(frozen=True)
class Fit:
    """Does it fit, on which GPUs, and what would? ``print(fit.text())`` shows it, a notebook draws it; ``ok`` is True, False, or None where nobody knows."""

    model: str
    question: Question
    limits: Limits
    host: HostNeed
    offers: tuple[Offer, ...]
    elsewhere: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """fits, narrowly (with less than 5 % to spare), spills, too large, unknown."""
        return self.question.verdict

    @property
    def ok(self) -> bool | None:
        """Can the step run on these GPUs?"""
        return self.question.holds

    def __repr__(self) -> str:
        """``Fit('Qwen2-7B-Instruct', fits)``"""
        return f"Fit({self.model!r}, {self.verdict})"

    def text(self) -> str:
        """As the command prints it."""
        from qvl_preflight.render.fit import fit_text

        return fit_text(self)

    def to_dict(self) -> dict[str, Any]:
        """As JSON (its schema: ``qvl-preflight schema fit``)."""
        from qvl_preflight.render.fit_json import fit_dict

        return fit_dict(self)

    def svg(self) -> str:
        """A picture that stands alone, for light and dark pages."""
        from qvl_preflight.render.fit_svg import fit_svg

        return fit_svg(self)

    def _repr_html_(self) -> str:
        """In a notebook."""
        return self.svg()


def answered(model: str, question: Question, notes: tuple[str, ...]) -> Fit:
    """All questions asked. Raises Undecided where the weights are not known."""
    return Fit(
        model, question, limits(question), host_need(question), offers(question), other_gpus(question), (*notes, *_notes(question)),
    )  # fmt: skip


def _notes(question: Question) -> tuple[str, ...]:
    """What a reader must know of the figures."""
    call, asked, spread = question.call, question.call.asked, question.spread
    found = []
    length = asked.length + asked.new_tokens
    if call.positions is not None and length > call.positions:
        what = (
            f"{length:,} tokens are asked for"
            if not asked.new_tokens
            else f"{asked.length:,} tokens and {asked.new_tokens:,} new ones are asked for"
        )
        found.append(
            f"{what}, and the model is made for {call.positions:,} (max_position_embeddings): beyond them it fails, or answers badly"
        )
    if (
        call.sharing is not None
        and asked.method is not None
        and (call.sharing.ranks > 1 or call.sharing.stage or call.sharing.fsdp)
    ):
        found.append(
            f"what a rank holds under {call.sharing.kind or 'one rank'} is read from the libraries' sources, not measured: about"
        )
        if call.sharing.ranks > call.sharing.on_host:
            found.append(
                f"{call.sharing.on_host} of the {call.sharing.ranks} ranks are taken to be on this machine, one for each GPU"
            )
        if call.sharing.on_host > len(question.rooms) > 0:
            found.append(
                f"{call.sharing.on_host} ranks are on this machine, and {len(question.rooms)} GPUs: each rank needs one of its own"
            )
    if spread is not None and not hasattr(spread, "reason") and spread.about:
        found.append("where the model is split depends on what is free when it is loaded: about")
    return tuple(found)
