"""A cause that only a log shows: no rule judges it before the load."""

from __future__ import annotations

from dataclasses import dataclass

from qvl_preflight.symptoms import Symptom


@dataclass(frozen=True)
class Entry:
    """One cause, with its page and what to do."""

    code: str
    name: str
    topic: str
    summary: str
    fix: str
    symptoms: tuple[str | Symptom, ...]

    @property
    def page(self) -> str:
        """As `explain` prints it."""
        said = "\n".join(f"- `{item if isinstance(item, str) else item.text or item.type}`" for item in self.symptoms)
        return (
            f"# {self.name} ({self.code})\n\nTopic: {self.topic} · found in logs only, by `qvl-preflight diagnose`\n\n{self.summary}\n\n"
            f"## What to do\n{self.fix}\n\n## What betrays it\n{said}"
        )
