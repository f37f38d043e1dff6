"""Which CUDA library bitsandbytes loads, and whether it brings it.

Sources: bitsandbytes 0.39.0 to 0.50.2 cextension.py get_cuda_bnb_library_path; the lists are those of the wheels' RECORD. What follows where the
library is missing was read, not met.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack import cuda
from qvl_preflight.stack.bnb_environment import bnb_of
from qvl_preflight.unknown import Undecided, Unknown, need
from qvl_preflight.versions import ByRelease, Evidence, Row, parse

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

PREFIX = "libbitsandbytes_cuda"


def _wheel(version: str, names: str) -> Row[tuple[str, ...]]:
    until = version.rpartition(".")
    return Row(version, f"{until[0]}.{int(until[2]) + 1}", tuple(names.split()), Evidence.SOURCE, f"bitsandbytes {version} RECORD")


# Of the releases whose wheels were looked into; the others are undecided, unless the files themselves were seen.
BRINGS: ByRelease[tuple[str, ...]] = ByRelease(
    "bitsandbytes",
    _wheel("0.39.0", "111 112 113 115 116 117 118 120 121"),
    _wheel("0.41.3", "110 111 114 115 117 118 120 121 122"),
    _wheel("0.42.0", "110 111 114 115 117 118 120 121 122 123"),
    _wheel("0.43.3", "117 118 120 121 122 123 124 125"),
    _wheel("0.44.1", "117 118 120 121 122 123 124 125"),
    _wheel("0.45.1", "117 118 120 121 122 123 124 125 126"),
    _wheel("0.45.3", "117 118 120 121 122 123 124 125 126 128"),
    _wheel("0.45.5", "117 118 120 121 122 123 124 125 126 128"),
    _wheel("0.46.1", "118 120 121 122 123 124 125 126 128 129"),
    _wheel("0.49.2", "118 120 121 122 123 124 125 126 128 129 130"),
    _wheel("0.50.2", "118 121 124 126 128 130 132"),
)
_TAKES_NEIGHBOURS = (0, 50)  # of the same major release of CUDA
_RAISES: ByRelease[tuple[str, str]] = ByRelease(
    "bitsandbytes",
    Row("0.39", "0.43", ("RuntimeError", ""), Evidence.SOURCE, "bitsandbytes 0.42.0 cextension.py"),
    Row("0.43", "0.46", ("AttributeError", ""), Evidence.SOURCE, "bitsandbytes 0.45.5 cextension.py: the library for the CPU lacks the functions"),
    Row("0.46", None, ("RuntimeError", ""), Evidence.SOURCE, "bitsandbytes 0.46.1, 0.50.2 cextension.py ErrorHandlerMockBNBNativeLibrary"),
)  # fmt: skip


def brought(situation: Situation) -> tuple[str, ...]:
    """The CUDA releases for which a library is there, ``126``. Raises Undecided."""
    found = situation.facts.extensions
    seen = (
        ()
        if isinstance(found, Unknown)
        else tuple(name for name, there in found.items() if name.startswith(PREFIX) and there is True)
    )
    if seen:
        return tuple(sorted(name.removeprefix(PREFIX).partition("_")[0] for name in seen))
    try:
        return BRINGS.value(situation.packages)
    except Undecided:
        return _of_neighbours(situation)


def _of_neighbours(situation: Situation) -> tuple[str, ...]:
    """Of a release between two that were looked into: what either of them brings. New ones come and old ones go, none comes and goes in between.

    Raises Undecided.
    """
    release = situation.packages.release("bitsandbytes")
    before = [row for row in BRINGS.rows if release is not None and (parse(row.since) or ()) < release]
    after = [row for row in BRINGS.rows if release is not None and (parse(row.since) or ()) > release]
    if not before or not after:
        raise Undecided("which CUDA libraries this bitsandbytes brings")
    return tuple(sorted({*before[-1].value, *after[0].value}))


def wanted(situation: Situation) -> tuple[str, str]:
    """The CUDA release whose library is loaded, ``126``, and who says so. Raises Undecided."""
    env, torch = situation.facts.env, need(situation.facts.torch)
    override = "" if isinstance(env, Unknown) else env.get("BNB_CUDA_VERSION", "")
    if override:
        return override, f"BNB_CUDA_VERSION={override}"
    build = need(torch.cuda_build)
    match = re.match(r"(\d+)\.(\d+)", build) if isinstance(build, str) else None
    if match is None:
        raise Undecided("for which CUDA torch is built")
    return "".join(match.groups()), f"torch is built for CUDA {build}"


def missing(situation: Situation) -> str | None:
    """Why no library fits, None where one does. Raises Undecided."""
    if not cuda.available(situation):
        return None
    release, (name, who) = situation.packages.release("bitsandbytes") or (0,), wanted(situation)
    there = brought(situation)
    neighbours = release >= _TAKES_NEIGHBOURS and not who.startswith("BNB_") and any(other[:2] == name[:2] for other in there)
    if name in there or neighbours:
        return None
    shown = ", ".join(f"{other[:2]}.{other[2:]}" for other in there if other[:2] >= "12") or "none"
    return f"{who}, and the installed bitsandbytes brings no library for it (of CUDA 12 and later: {shown})"


def library(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: the first weight that is quantised calls into a library that is not there."""
    if bnb_of(draft) is None:
        return
    why = missing(situation)
    if why is not None:
        row = _RAISES.row(situation.packages)
        yield WillRaise("QVL335", Stage.MATERIALISE, *row.value, "bitsandbytes", why, evidence=row.evidence)
