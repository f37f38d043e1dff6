"""Parts that a map leaves on the disk: what each release needs for it. All of it was run on a CPU, on transformers 4.32 to 5.23."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack.accelerate import STRATEGIES
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


# A map that names the rest of the model ("") and has anything on the disk: the list of what lies there is made by names of modules.
_REST: ByRelease[bool] = ByRelease(
    "transformers",
    Row("4.32", "4.33", True, Evidence.RUN, "transformers 4.32.0"),
    Row("4.33", None, False, Evidence.RUN, "transformers 4.35.2 to 5.23.0"),
)
_NO_VALUE = "weight is on the meta device, we need a `value` to put in on"


def to_disk(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: tensors that go to the disk."""
    found = {} if isinstance(draft.device_map, Unknown) else draft.device_map
    if "disk" not in found.values():
        return
    safetensors = _is_safetensors(situation)
    if safetensors is False and not situation.request.kwargs.get("offload_folder"):
        row = _FOLDER.row(situation.packages)
        why = "parts of the model go to the disk, and files that are not safetensors must be written anew for that: offload_folder says where"
        yield WillRaise("QVL413", Stage.MATERIALISE, "ValueError", row.value, "disk", why, evidence=row.evidence)
    elif not isinstance(safetensors, Unknown):
        if not draft.parts_are_guessed:  # another split may leave some of it elsewhere
            yield from _whole(situation, found, safetensors)
        if situation.request.device_map not in STRATEGIES:  # these place no module inside of another
            yield from _inside(situation, found)


def _whole(situation: Situation, found: Mapping[str, str], safetensors: bool) -> Iterator[WillRaise]:
    """The whole model, or all that is not named."""
    if safetensors and "" in found and (rest := _REST.row(situation.packages)).value:
        why = 'a map with "" and a part on the disk breaks in this release'
        yield WillRaise("QVL414", Stage.MATERIALISE, "KeyError", _first_name(situation), "disk", why, evidence=rest.evidence)
    read_there = safetensors and found.get("") == "disk" and (4, 50) <= (situation.packages.release("transformers") or ()) < (5,)
    if set(found.values()) == {"disk"} or read_there:
        whole = (_WHOLE_SAFETENSORS if safetensors else _WHOLE_PICKLE).row(situation.packages)
        if whole.value is not None:
            why = f"the whole model goes to the disk, which this release does not load{', nor what no entry names' * read_there}"
            text = whole.value[1] or _first_name(situation)
            yield WillRaise("QVL414", Stage.MATERIALISE, whole.value[0], text, "disk", why, evidence=whole.evidence)


def _first_name(situation: Situation) -> str:
    """How a KeyError shows the first tensor that is looked up; nothing where the names are not known."""
    weights = situation.checkpoint.weights
    return "" if isinstance(weights, Unknown) or not weights.tensors else repr(min(tensor.name for tensor in weights.tensors))


def _inside(situation: Situation, found: Mapping[str, str]) -> Iterator[WillRaise]:
    """A part on the disk inside of a module that is placed as a whole (accelerate hooks.py attach_align_device_hook_on_blocks, AlignDevicesHook.init_hook)."""
    weights = situation.checkpoint.weights
    if isinstance(weights, Unknown):
        return
    gpu = any(home.startswith("cuda") for home in found.values())
    for name, home in found.items():
        placed = home.startswith("cuda") or (home == "cpu" and not gpu)
        for part, other in found.items():
            apart = part != name and (name == "" or part.startswith(f"{name}."))
            clash = apart and ((placed and other == "disk") or (name == "" and home == "disk" and other == "cpu" and not gpu))
            if clash and any(tensor.name.startswith(f"{part}.") for tensor in weights.tensors):
                whole = f'"{name}"' if name else 'what no other entry names ("")'
                why = f'the map gives {whole} the device {home} and "{part}", which is part of it, {other}: the tensors on the disk are to be moved and have no values'
                evidence = Evidence.RECORDED if gpu else Evidence.RUN
                text = f"q{_NO_VALUE}" if gpu and situation.checkpoint.quant_method == "awq" else _NO_VALUE
                yield WillRaise("QVL421", Stage.MATERIALISE, "ValueError", text, "disk", why, evidence=evidence)
                return


def _is_safetensors(situation: Situation) -> bool | Unknown:
    """Are the files that will be read safetensors?"""
    files = situation.checkpoint.files
    return files if isinstance(files, Unknown) else files.choice.format == "safetensors"
