"""A transformers that is newer than the tables: what its own files ask of other packages (utils/import_utils.py NAME_MIN_VERSION, read by ast).

An older package counts there as one that is not installed. Where the tables hold the release they say so themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.unknown import need
from qvl_preflight.versions import Evidence, parse

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

# The packages that a quantisation method is loaded with, the code of the page on each.
_OF_METHOD = {"bitsandbytes": ("bitsandbytes", "QVL309"), "hqq": ("hqq", "QVL301"), "torchao": ("torchao", "QVL301"), "compressed-tensors": ("compressed-tensors", "QVL301"), "vptq": ("vptq", "QVL301")}  # fmt: skip


def minima(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ENVIRONMENT: a package that this call needs is older than the installed transformers takes."""
    asked = situation.auto_classes.minima if situation.auto_classes is not None else {}
    if not asked:
        return
    quantization = need(draft.quantization)
    if situation.request.device_map is not None or quantization is not None:
        yield from _too_old(situation, "accelerate", asked.get("accelerate"), "QVL601", "accelerate")
    if quantization is not None and quantization.method in _OF_METHOD:
        package, code = _OF_METHOD[quantization.method]
        yield from _too_old(situation, package, asked.get(package), code, "quant-packages")


def _too_old(situation: Situation, package: str, oldest: str | None, code: str, cause: str) -> Iterator[WillRaise]:
    release, wanted = situation.packages.release(package), parse(oldest) if oldest else None
    if release is None or wanted is None or release >= wanted:
        return
    installed = situation.packages.version("transformers")
    why = f"transformers {installed} takes {package} from {oldest} on, as its files say, and {situation.packages.version(package)} is installed"
    yield WillRaise(code, Stage.ENVIRONMENT, "ImportError", "", cause, why, evidence=Evidence.SOURCE)
