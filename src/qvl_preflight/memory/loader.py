"""What of the installed packages decides how weights lie in memory, beside dtype and quantisation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Buffer:
    """A tensor that a class makes for itself and no checkpoint holds: tables of positions, masks. ``width``: bytes of a value, as the class makes it."""

    name: str
    count: int
    width: int
    floating: bool

    def total_bytes(self, width: int) -> int:
        """With ``width`` the bytes of the dtype that is loaded in: what is made while it is the default comes in it; frequencies are float32 in any
        case, and so are all the tables of GPT-NeoX."""
        own = not self.floating or self.name.endswith(("inv_freq", "embed_positions")) or self.name.startswith("gpt_neox.")
        kept = own and not self.name.endswith("masked_bias") and not self.name.endswith("norm_factor")
        return self.count * (self.width if kept else width)


@dataclass(frozen=True)
class Loader:
    """``buffers``: None where the class is not known. ``strays``: tensors of old files that the class makes for itself (the number of a block is ``*``).
    ``tied``: does the class tie its output layer where config.json says nothing? ``always_biased``: GPTQ layers have a bias whatever the class says
    (optimum up to 1.19). ``table_bytes``: shifts that a GPTQ kernel keeps for each layer. ``dequantises``: fp8 becomes the model's dtype."""

    transformers: tuple[int, ...] = (5, 23)
    buffers: tuple[Buffer, ...] | None = None
    strays: frozenset[str] = frozenset()
    tied: bool = False
    always_biased: bool = False
    table_bytes: int = 0
    dequantises: bool = False
    notes: tuple[str, ...] = ()  # what is not sure of the buffers


NEWEST = Loader()
