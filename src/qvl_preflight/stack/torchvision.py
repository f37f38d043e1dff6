"""torchvision whose compiled part does not load: it says nothing, and its import ends in "operator torchvision::nms does not exist".

transformers imports it from 4.46 on while it builds any model, text alone or not, wherever Pillow is installed (torchvision brings Pillow).

Sources: torchvision 0.24.1 extension.py (a library that does not load is passed over) and _meta_registrations.py:163; transformers 4.46.3
image_transforms.py:56, 4.57.1 image_utils.py:55, 5.23.0 image_utils.py:59. Run with torchvision 0.24.1 and 0.19.1 beside torch 2.13 and 2.14 on transformers
4.37.2, 4.41.2, 4.45.2 (load), 4.46.3, 4.47.1, 4.48.3, 4.50.3 to 4.57.1, 5.0.0, 5.5.0, 5.10.0, 5.23.0 (raise); without Pillow 4.57.1 and 5.23.0 load.
"""

from __future__ import annotations

from collections.abc import Iterator

from qvl_preflight.facts import Facts, Packages
from qvl_preflight.stack.requirements import Skew
from qvl_preflight.versions import ByRelease, Evidence, Row

LIBRARY = "torchvision._C"
_TEXT: ByRelease[tuple[str, str] | None] = ByRelease(
    "transformers",
    Row("4.0", "4.46", None, Evidence.RUN, "transformers 4.45.2"),
    Row("4.46", "4.52", ("RuntimeError", "Failed to import transformers.models."), Evidence.RUN, "transformers 4.46.3 to 4.51.3"),
    Row("4.52", None, ("ModuleNotFoundError", "Could not import module '"), Evidence.RUN, "transformers 4.52.4 to 5.23.0"),
)
_FIRST = 15  # torchvision 0.15 came with torch 2.0, 0.16 with 2.1, … 0.29 with 2.14 (their Requires-Dist)


def skew(facts: Facts) -> Iterator[Skew]:
    """What its broken library does to this transformers. Nothing where that is not known."""
    packages = Packages(facts)
    if facts.extension(LIBRARY) is not False or not packages.has("torchvision"):
        return
    row = _TEXT.row(packages)
    if row.value is None or (packages.at_least("transformers", 4, 47) and not packages.has("pillow")):
        return
    torch = packages.release("torch")
    wanted = f"torchvision==0.{torch[1] + _FIRST}.*" if torch is not None and torch[0] == 2 else "torchvision"
    why = "the installed torchvision is compiled for another torch, and transformers imports it with every model (operator torchvision::nms does not exist)"
    yield Skew(*row.value, why, (f"'{wanted}'",), row.evidence)
