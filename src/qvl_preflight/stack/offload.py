"""Parts that a map leaves on the disk: what each release needs for it. All of it was run on a CPU, on transformers 4.32 to 5.23."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.unknown import Unknown
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

_FOLDER: ByRelease[str] = ByRelease(
    "transformers",
    Row("4.28", "5.0", "The current `device_map` had weights offloaded to the disk. Please provide an `offload_folder` for them.", Evidence.RUN, "transformers 4.32.0 to 4.57.1"),
    Row("5.0", None, "The current `device_map` had weights offloaded to the disk, which needed to be re-saved.", Evidence.RUN, "transformers 5.0.0, 5.23.0"),
)  # fmt: skip
# What a model that lies on the disk as a whole meets, by the format of its files; None: it loads.
_WHOLE = ("ValueError", "You are trying to offload the whole model to the disk. Please use the `disk_offload` function instead.")
_WHOLE_SAFETENSORS: ByRelease[tuple[str, str] | None] = ByRelease(
    "transformers",
    Row("4.32", "4.33", ("KeyError", ""), Evidence.RUN, "transformers 4.32.0: the name of a tensor"),
    Row(
        "4.35",
        "4.49",
        _WHOLE,
        Evidence.RUN,
        "transformers 4.35.2 to 4.48.3, accelerate 0.26.1 to 1.2.1 big_modeling.py dispatch_model",
    ),
    Row("4.50", "5.0", ("SafetensorError", "device disk is invalid"), Evidence.RUN, "transformers 4.50.3 to 4.57.1"),
    Row("5.0", None, None, Evidence.RUN, "transformers 5.5.0 to 5.23.0"),
)
_WHOLE_PICKLE: ByRelease[tuple[str, str] | None] = ByRelease(
    "transformers",
    Row("4.32", "4.52", _WHOLE, Evidence.RUN, "transformers 4.32.0 to 4.50.3"),
    Row("4.52", "5.0", ("RuntimeError", "Expected one of cpu, cuda"), Evidence.RUN, "transformers 4.52.4, 4.57.1"),
    Row("5.0", None, None, Evidence.RUN, "transformers 5.23.0"),
)


def to_disk(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: tensors that go to the disk."""
    homes = set() if isinstance(draft.device_map, Unknown) else set(draft.device_map.values())
    if "disk" not in homes:
        return
    safetensors = _is_safetensors(situation)
    if safetensors is False and not situation.request.kwargs.get("offload_folder"):
        row = _FOLDER.row(situation.packages)
        why = "parts of the model go to the disk, and files that are not safetensors must be written anew for that: offload_folder says where"
        yield WillRaise("QVL413", Stage.MATERIALISE, "ValueError", row.value, "disk", why, evidence=row.evidence)
        return
    if homes == {"disk"} and not isinstance(safetensors, Unknown):
        whole = (_WHOLE_SAFETENSORS if safetensors else _WHOLE_PICKLE).row(situation.packages)
        if whole.value is not None:
            why = "the whole model goes to the disk, which this release does not load"
            yield WillRaise("QVL414", Stage.MATERIALISE, *whole.value, "disk", why, evidence=whole.evidence)


def _is_safetensors(situation: Situation) -> bool | Unknown:
    """Are the files that will be read safetensors?"""
    files = situation.checkpoint.files
    return files if isinstance(files, Unknown) else files.choice.format == "safetensors"
