"""What an estimate hands back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qvl_preflight.unknown import Unknown

# Of a process that runs torch on a GPU: driver, kernels, libraries. Seen on an H100 with CUDA 13: 649 MB at first, 729 to 871 MB after a step.
CONTEXT_BYTES = 800_000_000


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on the GPU. What could not be worked out is Unknown, with the reason.

    ``weights_bytes``: what torch.cuda.memory_allocated will show after the load; ``tensor_bytes``: the same tensors without what the allocator rounds up.
    ``peak_bytes``: what torch.cuda.max_memory_allocated will show for the step; where no step is asked for, of the load. The parts do not all meet at that
    moment: it is no more than their sum. ``context_bytes``, about, comes on top. ``adapter_bytes``: LoRA's own weights. ``prepared_bytes``: what
    prepare_model_for_kbit_training adds. ``peak_range``: where the peak is Unknown, what it is at least, and at most (None where that is not known either). ``workspace_bytes``: of cuBLAS. Where ranks share the model, each figure is one rank's: ``gathered_bytes``, weights
    that are put together for their turn, at most; ``bucket_bytes``, gradients on their way; ``ram_bytes``, what it keeps in RAM, and not on the GPU.
    """

    weights_bytes: int
    kv_cache_bytes: int | Unknown = 0
    activation_bytes: int | Unknown = 0
    gradient_bytes: int | Unknown = 0
    optimizer_bytes: int | Unknown = 0
    adapter_bytes: int | Unknown = 0
    prepared_bytes: int = 0
    workspace_bytes: int = 0
    gathered_bytes: int = 0
    bucket_bytes: int = 0
    ram_bytes: int = 0
    peak_bytes: int | Unknown = 0
    peak_range: tuple[int, int | None] | None = None
    tensor_bytes: int = 0
    context_bytes: int = CONTEXT_BYTES
    modules: Mapping[str, int] = field(default_factory=dict)
    devices: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def total_bytes(self) -> int | Unknown:
        """The peak with the context: what the GPU must have free."""
        return self.peak_bytes if isinstance(self.peak_bytes, Unknown) else self.peak_bytes + self.context_bytes

    @property
    def total_range(self) -> tuple[int, int | None]:
        """What the GPU must have free at least, and at most: one figure twice where it is known."""
        if not isinstance(self.peak_bytes, Unknown):
            return self.peak_bytes + self.context_bytes, self.peak_bytes + self.context_bytes
        least, most = self.peak_range or (self.weights_bytes, None)
        return least + self.context_bytes, None if most is None else most + self.context_bytes

    def to_dict(self) -> dict[str, Any]:
        """As JSON: an unknown figure is None, and its reason is among the notes."""
        reasons = sorted({value.reason for value in vars(self).values() if isinstance(value, Unknown)})
        found = {key: None if isinstance(value, Unknown) else value for key, value in vars(self).items()}
        total = None if isinstance(self.total_bytes, Unknown) else self.total_bytes
        return {
            **found,
            "total_bytes": total,
            "modules": dict(self.modules),
            "devices": dict(self.devices),
            "notes": [*self.notes, *reasons],
        }
