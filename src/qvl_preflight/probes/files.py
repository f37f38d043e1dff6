"""Files of the system that may or may not be there."""

from __future__ import annotations


def read_text(path: str) -> str | None:
    """The text of a file, whatever its bytes; None where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None
