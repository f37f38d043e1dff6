"""Which files of a folder's own code are copied to where they are run: up to transformers 5.10 the one that config.json names and those that it
imports itself, not what those import in turn.

Sources: transformers 4.28 to 5.23 dynamic_module_utils.py get_cached_module_file, get_class_in_module. Run on 4.28.1, 4.37.2, 4.41.2, 4.45.2, 4.51.3,
4.57.1 and 5.23.0. Files of a hub's cache are copied one by one, however deep.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.remote_imports import CodeFile, code_file, entries, with_relatives
from qvl_preflight.stack.auto_classes import by_auto_class
from qvl_preflight.unknown import Unknown
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

# What is met: the import of the file that is not there, or, since the files are hashed before they are run, the reading of it.
_IN_PART: ByRelease[tuple[str, str] | None] = ByRelease(
    "transformers",
    Row("4.28", "4.45", ("ModuleNotFoundError", "No module named 'transformers_modules.{folder}.{module}'"), Evidence.RUN, "transformers 4.28.1, 4.37.2, 4.41.2"),
    Row("4.45", "5.0", ("FileNotFoundError", "[Errno 2] No such file or directory: '"), Evidence.RUN, "transformers 4.45.2, 4.51.3, 4.57.1"),
    Row("5.0", "5.11", ("FileNotFoundError", "[Errno 2] No such file or directory: '"), Evidence.SOURCE, "transformers 5.0.0, 5.10.0 dynamic_module_utils.py"),
    Row("5.17", None, None, Evidence.RUN, "transformers 5.23.0; 5.17.0 read"),
)  # fmt: skip


def copied_code(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: a file that is imported two steps away from the one that config.json names."""
    request, checkpoint = situation.request, situation.checkpoint
    local = checkpoint.source is None or not checkpoint.source.hub
    if not request.kwargs.get("trust_remote_code") or not checkpoint.remote_code or not by_auto_class(situation) or not local:
        return
    modules = entries(checkpoint.config, request.loader)
    if isinstance(modules, Unknown) or situation.packages.release("transformers") is None:
        return
    lacking = _lacking(checkpoint.path, modules, executed=not situation.packages.at_least("transformers", 4, 45))
    row = _IN_PART.row(situation.packages) if lacking else None
    if lacking is None or row is None or row.value is None:
        return
    module, by = lacking
    elsewhere = module in _copied(checkpoint.path, _named(checkpoint.config))
    condition = "no copy of it is left from loading something else of this folder" if elsewhere else None
    why = f"{by}.py imports {module}.py, which this release does not copy to where the code is run: it copies what the files in config.json import themselves"
    text = row.value[1].format(folder=os.path.basename(os.path.normpath(request.model)), module=module)
    yield WillRaise("QVL914", Stage.CONFIG, row.value[0], text, "own-code-copies", why, condition, row.evidence)


def _lacking(folder: str, modules: Iterable[str], *, executed: bool) -> tuple[str, str] | None:
    """The first file that is needed and not copied, and the file that imports it. ``executed``: only what is imported at the top counts."""
    copied: set[str] = set()
    for module in modules:
        copied |= _copied(folder, [module])
        for name, file in with_relatives(folder, module).items():
            if not isinstance(file, CodeFile):
                continue
            needed = file.runs_beside if executed else file.relatives
            for other in needed:
                if other not in copied and isinstance(code_file(folder, other), CodeFile):
                    return other, name
    return None


def _copied(folder: str, modules: Iterable[str]) -> set[str]:
    """Each file and those that it imports itself."""
    files = {module: code_file(folder, module) for module in modules}
    return {*files, *(name for file in files.values() if isinstance(file, CodeFile) for name in file.relatives)}


def _named(config: Mapping[str, Any]) -> list[str]:
    """Every module of ``auto_map``: a tokenizer's and a processor's too."""
    found = config.get("auto_map")
    references = [
        each
        for value in (found.values() if isinstance(found, Mapping) else ())
        for each in (value if isinstance(value, list) else [value])
    ]
    return [reference.partition(".")[0] for reference in references if isinstance(reference, str) and "--" not in reference]
