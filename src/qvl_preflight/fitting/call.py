"""A call and its step as all questions of ``fit`` see it, and the one estimate that answers them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from qvl_preflight.memory.loader import NEWEST, Loader
from qvl_preflight.memory.one_gpu import Part, estimate
from qvl_preflight.memory.weights import in_memory
from qvl_preflight.plan import Quantization

if TYPE_CHECKING:
    from qvl_preflight.checkpoint import Checkpoint
    from qvl_preflight.memory.asked import Asked
    from qvl_preflight.memory.ranks import Sharing
    from qvl_preflight.memory.result import MemoryEstimate
    from qvl_preflight.memory.weights import Stored
    from qvl_preflight.plan import Situation
    from qvl_preflight.unknown import Unknown

FOUR_BITS = Quantization("bitsandbytes", {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, pre_quantized=False)


@dataclass(frozen=True)
class Call:
    """A load and the step after it. ``sharing``: how the ranks of a job hold it; None for one process."""

    case: Situation
    dtype: str
    quantization: Quantization | Unknown | None
    attention: str | None
    asked: Asked
    capability: tuple[int, int] | None = None
    release5: bool = True
    sharing: Sharing | None = None
    loader: Loader = NEWEST

    @property
    def checkpoint(self) -> Checkpoint:
        """The files."""
        return self.case.checkpoint

    @property
    def device_map(self) -> Any:
        """As the call gives it."""
        return self.case.request.device_map

    @property
    def positions(self) -> int | None:
        """The longest sequence that the model is made for, where its configuration says so."""
        text = self.checkpoint.config.get("text_config")
        for config in (self.checkpoint.config, text if isinstance(text, dict) else {}):
            found = config.get("max_position_embeddings")
            if isinstance(found, int) and not isinstance(found, bool) and found > 0:
                return found
        return None

    def estimate(self, part: Part | None = None) -> MemoryEstimate:
        """On one GPU; of a rank, where there are several. Raises Undecided where the weights are not known."""
        return estimate(
            self.checkpoint, self.dtype, self.quantization, self.attention, self.asked, self.capability, release5=self.release5,
            sharing=self.sharing, loader=self.loader, part=part,
        )  # fmt: skip

    def stored(self) -> tuple[Stored, ...]:
        """The tensors as they will lie in memory. Raises Undecided."""
        return in_memory(self.checkpoint, self.dtype, self.quantization, self.loader)

    def step(self, **changed: Any) -> Call:
        """The same with another step."""
        return replace(self, asked=replace(self.asked, **changed))

    def with_kwargs(self, **edits: Any) -> Call:
        """The same with other arguments of from_pretrained."""
        return replace(self, case=self.case.as_corrected(self.case.request.with_edits(edits)))
