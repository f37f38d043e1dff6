"""A word where something takes over a second; nothing where it does not."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_AFTER_S = 1.0


@contextmanager
def progress(text: str, after: float = _AFTER_S) -> Iterator[None]:
    """``qvl-preflight: making a small step …``, then how long it took, on standard error."""
    said, lock = threading.Event(), threading.Lock()
    began, stream = time.monotonic(), sys.stderr

    def say() -> None:
        with lock, suppress(Exception):  # a stream that is closed or full
            stream.write(f"qvl-preflight: {text} …\n")
            stream.flush()
            said.set()

    timer = threading.Timer(after, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        with lock, suppress(Exception):
            if said.is_set():
                stream.write(f"qvl-preflight: {text} took {time.monotonic() - began:.1f} s\n")
                stream.flush()
