"""bitsandbytes in transformers: what a release asks of the package and of CUDA, in the order in which it asks, and how its import can fail.

Sources: transformers 4.32 to 4.37 modeling_utils.py; later quantizers/quantizer_bnb_*.py, utils/import_utils.py is_bitsandbytes_available,
integrations/bitsandbytes.py validate_bnb_backend_availability. Run without a GPU on 4.36.2, 4.37.2, 4.40.2, 4.45.2, 4.51.3, 4.57.1 and 5.23.0 with
bitsandbytes 0.42.0, 0.44.1, 0.45.5 and 0.50.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from qvl_preflight.plan import Quantization, Stage, WillRaise
from qvl_preflight.request import ConfigObject
from qvl_preflight.stack import cuda
from qvl_preflight.stack.quant_checks import BNB_AND_ACCELERATE, NO_GPU, Check, accelerate, first_refusal
from qvl_preflight.unknown import need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

_FIRST_FOR_ALL_DEVICES = (0, 46)  # of bitsandbytes: features = {"multi_backend"}
_FIRST_WITHOUT_CUDA = (0, 43, 1)  # older ones count as missing where CUDA is not available


def bnb_of(draft: Draft) -> Quantization | None:
    """The bitsandbytes settings of the model, None for any other model. Raises Undecided."""
    quantization = need(draft.quantization)
    return quantization if quantization is not None and quantization.method == "bitsandbytes" else None


def _release(situation: Situation) -> tuple[int, ...] | None:
    return situation.packages.release("bitsandbytes")


# ── the questions ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _absent(situation: Situation, quantization: Quantization) -> str | None:
    return "bitsandbytes is not installed" if _release(situation) is None else None


def _absent_in_4_bit(situation: Situation, quantization: Quantization) -> str | None:
    """The object that is passed asks as well, even where the checkpoint's settings then decide."""
    passed = situation.request.kwargs.get("quantization_config")
    said = passed.fields if isinstance(passed, ConfigObject) else situation.request.kwargs
    asks = bool(said.get("load_in_4bit"))
    if isinstance(passed, ConfigObject) and not asks and not situation.packages.at_least("transformers", 4, 38):
        return None  # the next check comes before the stored settings are read
    return _absent(situation, quantization) if asks or quantization.config.get("load_in_4bit") else None


def _too_old_for_4_bit(situation: Situation, quantization: Quantization) -> str | None:
    release = _release(situation)
    old = release is not None and release < (0, 39) and quantization.config.get("load_in_4bit")
    return "4-bit layers came with bitsandbytes 0.39" if old else None


def _too_old_for_5(situation: Situation, quantization: Quantization) -> str | None:
    release = _release(situation)
    if release is None:
        return "bitsandbytes is not installed"
    return "transformers 5 takes bitsandbytes from 0.46.1 on" if release < (0, 46, 1) else None


def _no_cuda(situation: Situation, quantization: Quantization) -> str | None:
    if cuda.on_a_mac(situation.facts):
        return "bitsandbytes needs CUDA in this release, and no Mac has it"
    if cuda.available(situation):
        return None
    refusal = cuda.refusal(situation)
    return f"bitsandbytes needs CUDA in this release, and {refusal.why if refusal else 'this process has none'}"


def _counts_as_missing(situation: Situation, quantization: Quantization) -> str | None:
    """Before 4.45 any bitsandbytes, later one before 0.43.1."""
    release = _release(situation)
    if release is None:
        return "bitsandbytes is not installed"
    if situation.packages.at_least("transformers", 4, 45) and release >= _FIRST_WITHOUT_CUDA:
        return None
    why = _no_cuda(situation, quantization)
    return f"{why}: the installed bitsandbytes counts as missing then" if why else None


def _old_without_cuda(situation: Situation, quantization: Quantization) -> str | None:
    release = _release(situation)
    return _no_cuda(situation, quantization) if release is not None and release < _FIRST_WITHOUT_CUDA else None


def _cuda_only(situation: Situation, quantization: Quantization) -> str | None:
    release = _release(situation)
    return _no_cuda(situation, quantization) if release is not None and release < _FIRST_FOR_ALL_DEVICES else None


def _for_all_devices(situation: Situation, quantization: Quantization) -> str | None:
    release = _release(situation)
    if release is None or release < _FIRST_FOR_ALL_DEVICES or cuda.available(situation):
        return None
    if situation.packages.has("intel-extension-for-pytorch"):
        return None
    return "bitsandbytes on a CPU needs Intel's IPEX in this release, which is not installed, and CUDA is not available"


def _import_breaks(situation: Situation, quantization: Quantization) -> str | None:
    found = broken_import(situation)
    return found.why if found else None


def _check(
    ask: Callable[[Situation, Quantization], str | None], type_: str, text: str, code: str, cause: str = "bitsandbytes"
) -> Check:
    return Check(ask, type_, text, code, cause, Evidence.RUN)


_METADATA = _check(_absent_in_4_bit, "PackageNotFoundError", "No package metadata was found for bitsandbytes", "QVL309")
_OLD_4_BIT = replace(
    _check(_too_old_for_4_bit, "ValueError", "4 bit quantization requires bitsandbytes>=0.39.0", "QVL309"), evidence=Evidence.SOURCE
)
_NO_GPU = _check(_no_cuda, "RuntimeError", NO_GPU, "QVL332", "no-cuda")
_LATEST = "Using `bitsandbytes` {}-bit quantization requires the latest version of bitsandbytes: `pip install -U bitsandbytes`"
_NEEDS_CUDA = _check(_cuda_only, "RuntimeError", "CUDA is required but not available for bitsandbytes.", "QVL332", "no-cuda")


@cache
def _checks(bits: int) -> ByRelease[tuple[Check, ...]]:
    eight = "Using `bitsandbytes` 8-bit quantization requires Accelerate: `pip install accelerate` and the latest version of bitsandbytes"
    latest = _check(_counts_as_missing, "ImportError", _LATEST.format(bits), "QVL309")
    plain = accelerate(f"Using `bitsandbytes` {bits}-bit quantization requires Accelerate: `pip install accelerate`")
    newer = accelerate(
        f"Using `bitsandbytes` {bits}-bit quantization requires Accelerate: `pip install 'accelerate>=0.26.0'`", "0.26.0"
    )
    frozen = _check(_for_all_devices, "AttributeError", "'frozenset' object has no attribute 'discard'", "QVL332", "no-cuda")
    none = "None of the available devices `available_devices = None` are supported by the bitsandbytes version you have installed"
    ipex = _check(_for_all_devices, "RuntimeError", none, "QVL332", "no-cuda")
    absent = _check(_absent, "ImportError", _LATEST.format(bits), "QVL309")
    old = _check(
        _old_without_cuda, "ImportError", "The installed version of bitsandbytes (<0.43.1) requires CUDA", "QVL332", "no-cuda"
    )
    five = f"Using `bitsandbytes` {bits}-bit quantization requires bitsandbytes: `pip install -U bitsandbytes>=0.46.1`"
    first = (_METADATA, _OLD_4_BIT)
    return ByRelease(
        "transformers",
        Row("4.32", "4.38", (*first, _NO_GPU, _check(_absent, "ImportError", BNB_AND_ACCELERATE, "QVL309")), Evidence.RUN, "transformers 4.37.2 modeling_utils.py:3035"),
        Row("4.38", "4.41", (*first, _check(_counts_as_missing, "ImportError", eight, "QVL309")), Evidence.RUN, "transformers 4.40.2 quantizers/quantizer_bnb_4bit.py:60"),
        Row("4.41", "4.42", (*first, _NO_GPU, _check(_absent, "ImportError", eight, "QVL309")), Evidence.RUN, "transformers 4.41.2 quantizers/quantizer_bnb_4bit.py:60"),
        Row("4.42", "4.45", (*first, _NO_GPU, plain, absent), Evidence.RUN, "transformers 4.42.4 quantizers/quantizer_bnb_4bit.py:60"),
        Row("4.45", "4.50", (*first, newer, latest, _BREAKS_45, frozen, _NEEDS_CUDA), Evidence.RUN, "transformers 4.45.2 integrations/bitsandbytes.py:484"),
        Row("4.50", "4.52", (*first, newer, latest, _BREAKS_45, ipex, _NEEDS_CUDA), Evidence.RUN, "transformers 4.51.3 integrations/bitsandbytes.py:485"),
        Row("4.52", "4.53", (*first, newer, latest, _BREAKS_52, ipex, _NEEDS_CUDA), Evidence.RUN, "transformers 4.52.4 integrations/bitsandbytes.py"),
        Row("4.53", "5.0", (*first, newer, absent, old, _BREAKS_52, _NEEDS_CUDA), Evidence.RUN, "transformers 4.57.1 quantizers/quantizer_bnb_4bit.py:70"),
        Row("5.0", None, (
            replace(accelerate(f"Using `bitsandbytes` {bits}-bit quantization requires accelerate: `pip install 'accelerate>=1.1.0'`", "1.1.0"), evidence=Evidence.RUN),
            _check(_too_old_for_5, "ImportError", five, "QVL309"),
        ), Evidence.RUN, "transformers 5.23.0 quantizers/quantizer_bnb_4bit.py:54"),
    )  # fmt: skip


_BREAKS_45 = _check(
    _import_breaks,
    "RuntimeError",
    "Failed to import transformers.integrations.bitsandbytes because of the following error",
    "QVL334",
)
_BREAKS_52 = _check(_import_breaks, "ModuleNotFoundError", "Could not import module 'validate_bnb_backend_availability'.", "QVL334")


def environment(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ENVIRONMENT: the package, its release, its import, and CUDA."""
    quantization = bnb_of(draft)
    if quantization is not None:
        yield from first_refusal(_checks(quantization.bits).value(situation.packages), situation, quantization)


# ── a bitsandbytes that cannot be imported ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Break:
    """Why ``import bitsandbytes`` fails."""

    module: str
    why: str


def broken_import(situation: Situation) -> Break | None:
    """None where nothing speaks against it. Raises Undecided.

    Run: 0.42.0, 0.43.3, 0.44.1 and 0.45.0 with triton 3.8 lack triton.ops, 0.45.1 and 0.45.5 do not; 0.39.0 and 0.41.3 lack scipy first.
    """
    release = _release(situation)
    if release is None or release >= (0, 45, 1):
        return None
    if release < (0, 42) and not situation.packages.has("scipy"):
        return Break("scipy", "bitsandbytes before 0.42 imports scipy, which it does not bring along and which is not installed")
    triton = situation.packages.release("triton")
    if triton is not None and triton >= (3, 2):
        why = "bitsandbytes up to 0.45.0 imports triton.ops, which triton has no longer from 3.2 (torch 2.6) on"
        return Break("triton.ops", why)
    return None


def adapters(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ADAPTERS: peft imports bitsandbytes wherever it is installed, so the break reaches every other model, too (run: 0.13.2 to 0.21.2)."""
    if situation.request.purpose not in ("lora", "qlora") or situation.packages.release("bitsandbytes") is None:
        return
    found = broken_import(situation)
    if found is not None and (situation.packages.release("peft") or (0,)) >= (0, 10):
        text = f"No module named '{found.module}'"
        why = f"peft imports the installed bitsandbytes, whatever the model is: {found.why}"
        yield WillRaise("QVL334", Stage.ADAPTERS, "ModuleNotFoundError", text, "bitsandbytes", why, evidence=Evidence.RUN)
