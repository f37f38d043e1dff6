"""FlashAttention: what transformers asks of the package, and what the package asks of the GPU and the dtype.

Sources: transformers 4.34.1 to 5.23.0 modeling_utils.py and utils/import_utils.py; flash-attn 2.x csrc/flash_attn/flash_api.cpp. Run without a GPU on
4.37.2, 4.51.3, 4.57.1 and 5.23.0 (a package of that name and release was at hand). A model that is not on the GPU yet is warned of by transformers, and is
no fault: people move it afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack import cuda
from qvl_preflight.unknown import Unknown, attempt, need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

VERSIONS = ("flash_attention_2", "flash_attention_3", "flash_attention_4")
_PACKAGES = {"flash_attention_2": "flash-attn", "flash_attention_3": "flash-attn-3", "flash_attention_4": "flash-attn-4"}
_PREFACE = "FlashAttention2 has been toggled on, but it cannot be used due to the following error: "
_MISSING = ByRelease(
    "transformers",
    Row("4.34", "4.35", "Flash Attention 2.0 is not available.", Evidence.SOURCE, "transformers 4.34.1 modeling_utils.py:1271"),
    Row("4.35", "4.36", "Flash Attention 2 is not available.", Evidence.SOURCE, "transformers 4.35.2 modeling_utils.py:1274"),
    Row("4.36", "5.4", _PREFACE + "the package flash_attn seems to be not installed", Evidence.RUN, "transformers 4.37.2, 4.57.1 modeling_utils.py"),
    Row("5.4", None, _PREFACE + "the package for FlashAttention2 doesn't seem to be installed", Evidence.RECORDED, "transformers 5.17.0 modeling_utils.py:1558"),
)  # fmt: skip
_OLDEST: ByRelease[tuple[tuple[int, ...], str]] = ByRelease(
    "transformers",
    Row("4.36", "5.4", ((2, 1), _PREFACE + "you need flash_attn package version to be greater or equal than 2.1.0."), Evidence.RUN, "transformers 4.57.1 modeling_utils.py"),
    Row("5.4", None, ((2, 3, 3), _PREFACE + "FlashAttention2 requires at least version `2.3.3`."), Evidence.RUN, "transformers 5.23.0 modeling_utils.py"),
)  # fmt: skip
# Where torch is built for CUDA, and sees no GPU.
_WITHOUT_GPU = ByRelease(
    "transformers",
    Row("4.36", "4.45", ("ImportError", _PREFACE + "Flash Attention 2 is not available."), Evidence.SOURCE, "transformers 4.36.2, 4.44.2 modeling_utils.py"),
    Row("4.45", "5.4", ("ValueError", _PREFACE + "Flash Attention 2 is not available on CPU."), Evidence.RUN, "transformers 4.51.3, 4.57.1 modeling_utils.py"),
    Row("5.4", None, ("ImportError", _PREFACE + "FlashAttention2 is not available on CPU."), Evidence.RUN, "transformers 5.23.0 modeling_utils.py"),
)  # fmt: skip
_NOWHERE = "You are attempting to use Flash Attention 2.0 with a model not initialized on GPU and with no GPU available."
_DISPATCHED = "You are attempting to use Flash Attention 2.0 with a model dispatched on CPU or disk."
_DTYPE_AT_LOAD = "Flash Attention 2.0 only supports torch.float16 and torch.bfloat16 dtypes. You passed"


def load(situation: Situation, draft: Draft, asked: str) -> Iterator[WillRaise]:
    """MODEL: the package, its release, and whether there is a GPU at all."""
    package = _PACKAGES[asked]
    if not situation.packages.has(package):
        yield from _missing(situation, asked, package)
    elif asked == "flash_attention_2":
        yield from _too_old(situation)
        yield from _without_gpu(situation)
        yield from _as_passed(situation, draft)


def _missing(situation: Situation, asked: str, package: str) -> Iterator[WillRaise]:
    if asked == "flash_attention_4" and not situation.packages.at_least("transformers", 5, 4):
        return  # that name is not known yet
    if situation.packages.at_least("transformers", 4, 57) and situation.packages.has("kernels"):
        return  # falls back to the hub's kernel
    row = _MISSING.row(situation.packages)
    text, version = row.value, asked[-1]
    if version != "2":
        text = text.replace("FlashAttention2", f"FlashAttention{version}").replace("flash_attn ", f"flash_attn_{version} ")
    why = f"{asked} is asked for, and the package {package} is not installed"
    yield WillRaise("QVL904", Stage.MODEL, "ImportError", text, "attention", why, evidence=row.evidence)


def _too_old(situation: Situation) -> Iterator[WillRaise]:
    installed = situation.packages.release("flash-attn")
    if installed is None or not situation.packages.at_least("transformers", 4, 36):
        return
    row = _OLDEST.row(situation.packages)
    oldest, text = row.value
    if installed < oldest:
        shown = ".".join(map(str, installed))
        why = f"flash-attn {shown} is older than {'.'.join(map(str, oldest))}, the oldest that this transformers takes"
        yield WillRaise("QVL933", Stage.MODEL, "ImportError", text, "attention", why, evidence=row.evidence)


def _without_gpu(situation: Situation) -> Iterator[WillRaise]:
    """A torch that is built for the CPU passes the first test up to 5.3, and up to 4.53 meets a later one where no device_map is given."""
    refusal = cuda.refusal(situation)
    if refusal is None or not situation.packages.at_least("transformers", 4, 36):
        return
    why = f"FlashAttention runs on NVIDIA GPUs alone, and {refusal.why}"
    row = _WITHOUT_GPU.row(situation.packages)
    if refusal.cause != "cpu-build" or situation.packages.at_least("transformers", 5, 4):
        type_, text, evidence = *row.value, row.evidence
    elif situation.request.device_map is None and not situation.packages.at_least("transformers", 4, 54):
        type_, text, evidence = "ValueError", _NOWHERE, Evidence.RUN
    else:
        return
    yield WillRaise("QVL934", Stage.MODEL, type_, text, "attention", why, refusal.condition, evidence)


def _as_passed(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """What releases before 4.54 refuse by the arguments alone: parts on the CPU, and in 4.34 and 4.35 a dtype."""
    given, release = situation.request.device_map, situation.packages.release("transformers") or (0,)
    passed = situation.request.kwargs.get("torch_dtype")
    if release < (4, 36) and passed is not None and draft.dtype in ("float32", "float64"):
        why = f"FlashAttention computes in float16 and bfloat16, not in {draft.dtype}"
        yield WillRaise("QVL935", Stage.MODEL, "ValueError", _DTYPE_AT_LOAD, "attention", why)
    if (
        release < (4, 54)
        and isinstance(given, Mapping)
        and {"cpu", "disk"} & {value for value in given.values() if isinstance(value, str)}
    ):
        why = "the device_map puts a part on the CPU or the disk, where FlashAttention does not run"
        yield WillRaise("QVL934", Stage.MODEL, "ValueError", _DISPATCHED, "attention", why, evidence=Evidence.RUN)


def forward(situation: Situation, draft: Draft, asked: str) -> Iterator[WillRaise]:
    """FORWARD: a GPU that flash-attn is not made for, and weights in float32. Whether the package is there is no question of either: without it the
    load fails. What the fourth one asks of them is not known."""
    installed = attempt(lambda: situation.packages.has(_PACKAGES[asked]))
    if draft.failed("attention") or asked == "flash_attention_4" or (not isinstance(installed, Unknown) and not installed):
        return
    gpu = attempt(lambda: cuda.first_below(situation, () if isinstance(draft.devices, Unknown) else draft.devices, cuda.AMPERE))
    if isinstance(gpu, Unknown):
        gpu = None
    if gpu is not None:
        text = "FlashAttention only supports Ampere GPUs or newer."
        why = f"{cuda.describe(gpu)} is older than what FlashAttention is made for, compute capability 8.0"
        yield WillRaise("QVL936", Stage.FORWARD, "RuntimeError", text, "attention", why)
    trainer = situation.request.trainer or {}
    if isinstance(installed, Unknown) and not {"dtype", "torch_dtype"} & situation.request.kwargs.keys():
        return  # a default that hangs on the release, for a package that may not be there
    if (
        need(draft.quantization) is not None
        or draft.dtype not in ("float32", "float64")
        or trainer.get("fp16")
        or trainer.get("bf16")
        or trainer.get("accelerate_mixed_precision")
    ):
        return
    text = "FlashAttention only support fp16 and bf16 data type"
    why = f"the weights are {draft.dtype}, and FlashAttention computes in float16 and bfloat16 alone"
    yield WillRaise("QVL935", Stage.FORWARD, "RuntimeError", text, "attention", why, "the forward is not inside torch.autocast")
