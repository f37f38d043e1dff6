"""Weight files that are missing, cut off, or no weights at all, and .bin files that a release refuses to unpickle: in which words a load stops.

Run on transformers 4.28.1, 4.32.0, 4.37.2, 4.41.2, 4.45.2, 4.51.3, 4.57.1, 5.23.0 and safetensors 0.4.0, 0.5.3, 0.6.2, 0.7.0, 0.8.0.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.counted import counted, verb
from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack import hub
from qvl_preflight.unknown import Undecided, Unknown, attempt
from qvl_preflight.versions import ByRelease, Evidence, Row
from qvl_preflight.weight_files import SAFETENSORS, with_variant

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation
    from qvl_preflight.stand_ins import StandIn
    from qvl_preflight.weight_files import WeightFiles

_HEADER = "Error while deserializing header: "
_SAFETENSORS: ByRelease[dict[str, str]] = ByRelease(
    "safetensors",
    Row("0.3", "0.6", {"large": "HeaderTooLarge", "small": "HeaderTooSmall", "cut": "InvalidHeaderLength", "short": "MetadataIncompleteBuffer"}, Evidence.RUN, "safetensors 0.4.0, 0.5.3"),
    Row("0.6", None, {"large": "header too large", "small": "header too small", "cut": "invalid header length", "short": "incomplete metadata, file not fully covered"}, Evidence.RUN, "safetensors 0.6.2, 0.7.0, 0.8.0"),
)  # fmt: skip
_UNABLE = ("OSError", "Unable to load weights from pytorch checkpoint file for '{path}'")
_TORCH = ("UnpicklingError", "Weights only load failed.")
_BIN: ByRelease[dict[str, tuple[str, str]]] = ByRelease(
    "transformers",
    Row("4.28", "5.0", {"pointer": ("OSError", "You seem to have cloned a repository without having git-lfs installed."), "empty": _UNABLE, "page": _UNABLE, "short": _UNABLE}, Evidence.RUN, "transformers 4.28.1, 4.37.2, 4.45.2, 4.57.1 modeling_utils.py load_state_dict"),
    Row("5.0", None, {"pointer": _TORCH, "empty": ("EOFError", ""), "page": _TORCH, "short": ("RuntimeError", "PytorchStreamReader failed reading zip archive")}, Evidence.RUN, "transformers 5.23.0, torch 2.14.1"),
)  # fmt: skip
_EMPTY_INDEX: ByRelease[bool] = ByRelease(
    "transformers",
    Row("4.37", "4.38", True, Evidence.RUN, "transformers 4.37.2"),
    Row("4.57", "5.0", False, Evidence.RUN, "transformers 4.57.1, which initialises every weight at random"),
    Row("5.0", None, True, Evidence.RUN, "transformers 5.23.0"),
)
_NO_METADATA: ByRelease[bool] = ByRelease(
    "transformers",
    Row("4.28", "4.37", True, Evidence.SOURCE, "transformers 4.28.1 to 4.36.2 modeling_utils.py load_state_dict"),
    Row("4.37", "4.38", True, Evidence.RUN, "transformers 4.37.2 modeling_utils.py load_state_dict"),
    Row("4.38", "4.48", True, Evidence.SOURCE, "transformers 4.38.2 to 4.47.1 modeling_utils.py load_state_dict"),
    Row("4.48", None, False, Evidence.RUN, "transformers 4.57.1, 5.23.0 modeling_utils.py; 4.48.3 asks for it where there is some"),
)
_REFUSED = "Due to a serious vulnerability issue in `torch.load`, even with `weights_only=True`, we now require users to upgrade torch to at least v2.6"
_REFUSES: ByRelease[bool] = ByRelease(
    "transformers",
    Row("4.28", "4.52", False, Evidence.SOURCE, "transformers 4.51.3 modeling_utils.py load_state_dict"),
    Row("4.52", None, True, Evidence.RUN, "transformers 4.57.1, 5.23.0 utils/import_utils.py check_torch_load_is_safe, with the version of torch replaced by 2.5.1"),
)  # fmt: skip


def unpickling(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: .bin files and a torch before 2.6 (CVE-2025-32434). weights_only=False is a way around it up to 4.57."""
    files = _files(situation)
    if files is None or files.choice.format != "bin":
        return
    row = _REFUSES.row(situation.packages)
    torch = situation.packages.release("torch")
    trusted = situation.request.kwargs.get("weights_only") is False and not situation.packages.at_least("transformers", 5)
    if not row.value or torch is None or torch >= (2, 6) or trusted:
        return
    why = f"the weights are .bin files, and with torch {'.'.join(map(str, torch[:3]))} this release refuses to unpickle them"
    yield WillRaise("QVL953", Stage.MATERIALISE, "ValueError", _REFUSED, "unpickling", why, _others_at_hub(situation), row.evidence)


def _others_at_hub(situation: Situation) -> str | None:
    """.bin files in a cache: safetensors come first, where the hub has them and may be asked."""
    source, variant = situation.checkpoint.source, situation.checkpoint.asked.variant
    if source is None or source.hub is None or hub.is_offline(situation.facts, situation.packages, situation.checkpoint.asked):
        return None
    names = (with_variant(SAFETENSORS + index, variant) for index in ("", ".index.json"))
    return None if all(map(source.known_absent, names)) else "the hub has no safetensors files of this model"


def missing(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: shards that the index of a folder names and that are not there."""
    files = _files(situation)
    if files is None or not files.missing or _in_cache(situation):
        return
    path = _path(situation, files.missing[0])
    text = (
        f"No such file or directory: {path}"
        if files.choice.format == "safetensors"
        else f"[Errno 2] No such file or directory: '{path}'"
    )
    count = len(files.missing)
    which = files.missing[0] if count == 1 else f"{files.missing[0]} and {counted(count - 1, 'more shard')}"
    why = f"{which}, which the index names, {verb(count, 'is', 'are')} not there"
    yield WillRaise("QVL901", Stage.MATERIALISE, "FileNotFoundError", text, "shards", why, evidence=Evidence.RUN)


def damaged(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: files that are cut off, and what lies in place of others."""
    files = _files(situation)
    if files is None:
        return
    for name, lacking in files.short.items():
        safe = files.choice.format == "safetensors"
        kind, text, evidence = _told(situation, files, "short" if lacking or not safe else "cut", name)
        how = (
            f"{lacking:,} bytes are missing"
            if lacking
            else "it ends in its header"
            if safe
            else "the end of the archive is missing"
        )
        yield WillRaise("QVL901", Stage.MATERIALISE, kind, text, f"file-{name}", f"{name} is cut off: {how}", evidence=evidence)
    for name, surplus in list(files.long.items())[:1]:
        kind, text, evidence = _told(situation, files, "short", name)
        why = f"{name} has {counted(surplus, 'byte')} behind its last tensor"
        yield WillRaise("QVL901", Stage.MATERIALISE, kind, text, f"file-{name}", why, evidence=evidence)
    for name, found in list(files.stand_ins.items())[:1]:
        kind, text, evidence = _told(situation, files, _what(found), name)
        others = f", and so {verb(more, 'is', 'are')} {more} more" if (more := len(files.stand_ins) - 1) else ""
        why = f"{name} is no file of weights but {found.what}{others}"
        yield WillRaise("QVL957", Stage.MATERIALISE, kind, text, f"file-{name}", why, evidence=evidence)


def nothing_said(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MATERIALISE: an index that names no file, and safetensors files without the metadata that old releases look into."""
    files = _files(situation)
    if files is None:
        return
    if not files.names:
        row = _EMPTY_INDEX.row(situation.packages)
        if not row.value:
            raise Undecided(f"{files.choice.name} names no weights, and this release starts from random ones")
        why = f"the weight_map of {files.choice.name} is empty"
        yield WillRaise("QVL901", Stage.MATERIALISE, "IndexError", "list index out of range", "shards", why, evidence=row.evidence)
    elif files.undescribed and (asks := _NO_METADATA.row(situation.packages)).value:
        why = f"{files.undescribed[0]} has no metadata, and this release looks there for its format"
        text = "'NoneType' object has no attribute 'get'"
        yield WillRaise("QVL901", Stage.MATERIALISE, "AttributeError", text, "metadata", why, evidence=asks.evidence)


def _what(found: StandIn) -> str:
    return "pointer" if found.is_pointer else "empty" if found.is_empty else "page"


def _told(situation: Situation, files: WeightFiles, what: str, name: str) -> tuple[str, str, Evidence]:
    """Type and beginning of the text, and how they are known."""
    if files.choice.format == "bin":
        row = _BIN.row(situation.packages)
        return row.value[what][0], row.value[what][1].format(path=_path(situation, name)), row.evidence
    words = attempt(lambda: _SAFETENSORS.value(situation.packages))
    ending = "" if isinstance(words, Unknown) else words[{"empty": "small", "short": "short", "cut": "cut"}.get(what, "large")]
    return "SafetensorError", _HEADER + ending, Evidence.RUN


def _files(situation: Situation) -> WeightFiles | None:
    """The weight files as far as they are known; another step says where they are not."""
    try:
        files = situation.checkpoint.files
    except Undecided:  # config.json itself is not there
        return None
    return None if isinstance(files, Unknown) else files


def _in_cache(situation: Situation) -> bool:
    source = situation.checkpoint.source
    return source is not None and source.hub is not None


def _path(situation: Situation, name: str) -> str:
    """As the message has it: the folder as the call names it."""
    return os.path.join(situation.request.model, situation.checkpoint.asked.subfolder, name)
