"""What a diagnosis says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Diagnosis:
    """One possible cause. ``confidence`` is between 0 and 1; ``evidence`` the line that betrayed it; ``tell`` what shows whether it is this one."""

    code: str
    topic: str
    title: str
    message: str
    confidence: float
    fix: str
    evidence: str
    tell: str = ""

    @property
    def certainty(self) -> str:
        """The confidence in words."""
        return "nearly certain" if self.confidence >= 0.85 else "likely" if self.confidence >= 0.6 else "possible"

    def to_dict(self) -> dict[str, Any]:
        """An element of ``diagnose --json``."""
        return asdict(self)
