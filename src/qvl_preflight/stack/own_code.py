"""The checkpoint's own code, once it is allowed: what transformers looks for before it runs a file, and what the file asks for when it is run.

Sources: transformers 4.28 to 5.23 dynamic_module_utils.py get_imports, check_imports, get_cached_module_file, get_class_in_module. Run with tiny
checkpoints on 4.28.1, 4.32.0, 4.37.2, 4.39.3, 4.45.2, 4.51.3, 4.57.1 and 5.23.0.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.remote_imports import CodeFile, Import, code_file, entries, exports, with_relatives
from qvl_preflight.stack.auto_classes import by_auto_class
from qvl_preflight.unknown import Undecided, Unknown
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

# How each release reads a file (remote_imports.READINGS).
_READING = ByRelease(
    "transformers",
    Row("4.28", "4.30", "bare-except", Evidence.RUN, "transformers 4.28.1 dynamic_module_utils.py"),
    Row("4.30", "4.45", "try", Evidence.RUN, "transformers 4.32.0, 4.37.2, 4.39.3 dynamic_module_utils.py"),
    Row("4.45", "4.47", "try-flash", Evidence.RUN, "transformers 4.45.2 dynamic_module_utils.py"),
    Row("4.47", "4.51", "try-flash-anywhere", Evidence.SOURCE, "transformers 4.47.1, 4.50.3 dynamic_module_utils.py"),
    Row("4.51", "4.52", "flash-calls", Evidence.RUN, "transformers 4.51.3 dynamic_module_utils.py"),
    Row("4.52", None, "calls", Evidence.RUN, "transformers 4.57.1, 5.23.0 dynamic_module_utils.py"),
)
_SORTED = (4, 51)  # the packages are named in alphabetical order from here on
_MISSING = "This modeling file requires the following packages that were not found in your environment: "
# Up to 4.38 the folder's name becomes part of a dotted module name.
_DOTTED = ByRelease(
    "transformers",
    Row("4.28", "4.39", True, Evidence.RUN, "transformers 4.28.1, 4.32.0, 4.37.2 dynamic_module_utils.py get_class_in_module"),
    Row("4.39", None, False, Evidence.RUN, "transformers 4.39.3, 4.51.3, 5.23.0"),
)
# What is imported from → the distributions that bring it, any of which will do.
PROVIDERS: Mapping[str, tuple[str, ...]] = {
    "PIL": ("pillow", "pillow-simd"), "cv2": ("opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless"),
    "yaml": ("pyyaml",), "sklearn": ("scikit-learn",), "skimage": ("scikit-image",), "open_clip": ("open-clip-torch",), "fla": ("flash-linear-attention",),
    "triton": ("triton", "triton-windows", "pytorch-triton", "pytorch-triton-rocm", "triton-xpu"), "auto_gptq": ("auto-gptq", "autogptq"), "gptqmodel": ("gptqmodel",),
    **{name: (name.replace("_", "-"),) for name in (
        "torch", "torchvision", "torchaudio", "transformers", "numpy", "scipy", "pandas", "einops", "einops_exts", "tiktoken", "timm", "requests", "sentencepiece",
        "accelerate", "peft", "safetensors", "tokenizers", "huggingface_hub", "datasets", "diffusers", "deepspeed", "bitsandbytes", "optimum", "flash_attn",
        "xformers", "transformers_stream_generator", "matplotlib", "decord", "av", "librosa", "soundfile", "packaging", "tqdm", "regex", "ftfy", "mamba_ssm",
        "causal_conv1d", "vector_quantize_pytorch", "vocos", "qwen_vl_utils", "num2words", "backoff", "icecream", "networkx", "psutil", "easydict", "addict",
        "torchdiffeq", "pytorch_lightning", "sentence_transformers", "omegaconf", "loguru", "nltk", "jieba", "kernels", "torchcodec",
    )},
}  # fmt: skip
# A package that asks transformers for names that it no longer has: the name that is missed first.
_TSG: ByRelease[str | None] = ByRelease(
    "transformers",
    Row("4.28", "4.57", None, Evidence.RUN, "transformers-stream-generator 0.0.5 main.py:1 with transformers 4.28.1 to 4.51.3"),
    Row("4.57", "5.0", "BeamSearchScorer", Evidence.RUN, "transformers-stream-generator 0.0.5 with transformers 4.57.1"),
    Row("5.0", None, "DisjunctiveConstraint", Evidence.RUN, "transformers-stream-generator 0.0.5 with transformers 5.23.0"),
)


def own_code(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: the files of the configuration and of the model, in the order in which they are run."""
    request, checkpoint = situation.request, situation.checkpoint
    if not request.kwargs.get("trust_remote_code") or not checkpoint.remote_code or not by_auto_class(situation):
        return
    modules = entries(checkpoint.config, request.loader)
    if isinstance(modules, Unknown) or situation.packages.release("transformers") is None:
        return
    yield from _dotted(situation, modules)
    for module in modules:
        yield from _file(situation, module)


def _dotted(situation: Situation, modules: Iterable[str]) -> Iterator[WillRaise]:
    name = os.path.basename(os.path.normpath(situation.request.model))
    there = any(isinstance(code_file(situation.checkpoint.path, module), CodeFile) for module in modules)
    if "." not in name.strip(".") or not _local(situation) or not there or not (row := _DOTTED.row(situation.packages)).value:
        return
    text = f"No module named 'transformers_modules.{name.split('.')[0]}'"
    why = f"the folder's name becomes a module's name in this release, and {name} has a dot in it"
    yield WillRaise("QVL912", Stage.CONFIG, "ModuleNotFoundError", text, "dotted-folder", why, evidence=row.evidence)


def _file(situation: Situation, module: str) -> Iterator[WillRaise]:
    """First the packages that transformers looks for, in this file, or on the hub in each that it imports; then what the files run."""
    files = with_relatives(situation.checkpoint.path, module)
    if files[module] is None:
        return  # not in the folder: a config.json alone is a common way to ask
    checked = [module] if _local(situation) else list(files)
    for name in checked:
        if isinstance(file := files[name], CodeFile):
            yield from _looked_for(situation, file)
    for name in reversed(list(files)):  # a file runs after those that it imports
        file = files[name]
        if isinstance(file, Unknown):
            raise Undecided(file.reason)
        if file is None:
            continue
        runs = file.runs
        if isinstance(runs, Unknown):
            raise Undecided(runs.reason)
        for found in runs:
            yield from _run(situation, file, found, named=name in checked)


def _looked_for(situation: Situation, file: CodeFile) -> Iterator[WillRaise]:
    row = _READING.row(situation.packages)
    names = file.looked_for(row.value)
    if isinstance(names, Unknown):
        raise Undecided(names.reason)
    missing, reasons = [], []
    for name in names:
        try:
            if not has_import(situation, name):
                missing.append(name)
        except Undecided as undecided:
            reasons.append(undecided.reason)
    if missing:
        in_order = len(missing) == 1 or (situation.packages.at_least("transformers", *_SORTED) and not reasons)
        text = _MISSING + (", ".join(missing) if in_order else "")
        why = f"{file.module}.py imports {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed"
        yield WillRaise("QVL910", Stage.CONFIG, "ImportError", text, "own-code-packages", why, evidence=row.evidence)
    if "transformers_stream_generator" in names and "transformers_stream_generator" not in missing:
        yield from _stream_generator(situation)
    if reasons and not missing:
        raise Undecided(reasons[0])


def _stream_generator(situation: Situation) -> Iterator[WillRaise]:
    row = _TSG.row(situation.packages)
    installed = situation.packages.release("transformers-stream-generator")
    if row.value and installed is not None and installed <= (0, 0, 5):
        why = f"transformers-stream-generator, which the code imports, asks transformers for {row.value}, which is gone"
        text = f"cannot import name '{row.value}' from 'transformers'"
        yield WillRaise("QVL911", Stage.CONFIG, "ImportError", text, "own-code-names", why, evidence=row.evidence)


def _run(situation: Situation, file: CodeFile, found: Import, *, named: bool) -> Iterator[WillRaise]:
    """One import that a file runs: a package that nobody looked for before, or a name that transformers does not have."""
    top = found.module.partition(".")[0]
    if top == "transformers":
        yield from _asked_of_transformers(situation, file, found)
    elif not named and not has_import(situation, top):
        why = f"{file.module}.py imports {top}, which is not installed"
        yield WillRaise(
            "QVL910",
            Stage.CONFIG,
            "ModuleNotFoundError",
            f"No module named '{top}'",
            "own-code-packages",
            why,
            evidence=Evidence.RUN,
        )


def _asked_of_transformers(situation: Situation, file: CodeFile, found: Import) -> Iterator[WillRaise]:
    release, table = situation.packages.release("transformers") or (), exports()
    where = f"{file.module}.py, line {found.line}"
    if table.has_module(found.module, release) is False:
        why = f"{where} imports {found.module}, which transformers {situation.packages.version('transformers')} does not have: it is in {table.span(found.module)}"
        text = f"No module named '{found.module}'"
        yield WillRaise("QVL911", Stage.CONFIG, "ModuleNotFoundError", text, "own-code-names", why, evidence=Evidence.RUN)
        return
    for name in found.names:
        if table.has_name(found.module, name, release) is False:
            version = situation.packages.version("transformers")
            why = f"{where} imports {name} from {found.module}, which transformers {version} does not have: it is in {table.span(found.module, name)}"
            text = f"cannot import name '{name}' from '{found.module}'"
            yield WillRaise("QVL911", Stage.CONFIG, "ImportError", text, "own-code-names", why, evidence=Evidence.RUN)


def has_import(situation: Situation, name: str) -> bool:
    """Can a module be imported, by the distributions that bring it? Raises Undecided."""
    if name in sys.stdlib_module_names:
        return True
    known = PROVIDERS.get(name)
    found = [situation.packages.has(provider) for provider in known or (name.replace("_", "-").lower(),)]
    if not any(found) and known is None:
        raise Undecided(f"the checkpoint's code imports {name}; which package brings it is not known")
    return any(found)


def _local(situation: Situation) -> bool:
    """Is the model a folder here? Of a hub id the files lie in the cache."""
    source = situation.checkpoint.source
    return source is None or not source.hub
