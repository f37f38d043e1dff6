"""The check where the call happens: from_pretrained is looked at before it runs, in a script that does not change.

    with qvl_preflight.guard("fix", purpose="qlora"):
        model = AutoModelForCausalLM.from_pretrained("Qwen/Qwen-VL-Chat-Int4", device_map=None)

Whatever goes wrong in here, the script does what it would have done without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qvl_preflight.guarding import active
from qvl_preflight.guarding.active import Settings, made_of
from qvl_preflight.guarding.patches import PATCHES


@contextmanager
def guard(mode: str = "warn", purpose: str | None = None) -> Iterator[None]:
    """Look at every from_pretrained of the ``with`` block before it runs, in this thread.

    ``mode``: ``warn`` says what it finds and goes on; ``fix`` corrects the arguments of calls that are written in your own code, and says what and
    where; ``check`` raises PreflightStopped before weights are loaded where the call will fail. ``purpose``: as in `check`; where it is not given it is taken
    from what was made in this process, and said. Guards nest: the innermost counts.
    """
    settings = made_of(mode, purpose)
    PATCHES.hold()
    try:
        with active.within(settings):
            yield
    finally:
        PATCHES.release()


def install_guard(mode: str = "warn", purpose: str | None = None) -> None:
    """Look at every from_pretrained of this process from now on, in all threads. A second call replaces the first; modes as in `guard`."""
    install(made_of(mode, purpose))


def install(settings: Settings) -> None:
    """The same, with all that ``qvl-preflight run`` can ask for."""
    if active.everywhere(settings) is None:
        PATCHES.hold()


def uninstall_guard() -> None:
    """End what install_guard began, and put every method back as it was. Does nothing where there is none."""
    if active.everywhere(None) is not None:
        PATCHES.release()


__all__ = ["guard", "install_guard", "uninstall_guard"]
