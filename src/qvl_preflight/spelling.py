"""Names of environment variables that are almost those that somebody reads."""

from __future__ import annotations

from collections.abc import Iterable

# Long names that people type by hand; short ones (HF_HOME, RANK) are near to too much that is meant as it is.
_KNOWN = (
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES", "PYTORCH_CUDA_ALLOC_CONF", "TRANSFORMERS_OFFLINE", "HF_HUB_OFFLINE",
)  # fmt: skip
_OTHERS = ("MUSA_VISIBLE_DEVICES",)  # near, and read by another vendor's runtime
_SHORTEST = min(map(len, _KNOWN)) - 2


def meant(name: str) -> str | None:
    """The known name that ``name`` is a slip of: at most two letters off, or in other case. None where it is right or something else."""
    if len(name) < _SHORTEST or "_" not in name or name in _KNOWN or name in _OTHERS:
        return None
    written = name.upper()
    return next((known for known in _KNOWN if _may_be_near(written, known) and distance(written, known) <= 2), None)


def _may_be_near(one: str, other: str) -> bool:
    """What two letters off allows at most: asked first, since every variable is looked at when the doctor starts."""
    return abs(len(one) - len(other)) <= 2 and len({*one} ^ {*other}) <= 4


def distance(one: str, other: str) -> int:
    """The edit distance of two words: letters put in, left out, changed, or swapped with their neighbour."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        two_before, before, row = before, row, [i]
        for j, counterpart in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != counterpart))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == counterpart:
                cost = min(cost, two_before[j - 2] + 1)
            row.append(cost)
    return row[-1]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that ``name`` is most likely a slip of: in other case, or a letter in four off. None where nothing is near."""
    written, most = name.lower().replace("-", "_"), max(1, len(name) // 4)
    near = [(distance(written, other.lower()), other) for other in known if abs(len(other) - len(name)) <= most]
    off, other = min(near, default=(most + 1, ""))
    return other if off <= most else None
