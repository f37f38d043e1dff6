"""AWQ in transformers: the package that loads it.

Sources: transformers 4.35 to 4.37 modeling_utils.py; later quantizers/quantizer_awq.py. Recorded: 4.37.2 without autoawq.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.unknown import need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation


@dataclass(frozen=True)
class _Needs:
    package: str
    text: str


_NEEDS: ByRelease[_Needs] = ByRelease(
    "transformers",
    Row("4.35", "5.0", _Needs("autoawq", "Loading an AWQ quantized model requires auto-awq library (`pip install autoawq`)"), Evidence.RECORDED, "transformers 4.37.2 modeling_utils.py"),
    Row("5.0", None, _Needs("gptqmodel", "Loading an AWQ quantized model requires gptqmodel. Please install it with `pip install gptqmodel`"), Evidence.RECORDED, "transformers 5.17.0 quantizers/quantizer_awq.py"),
)  # fmt: skip


def environment(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ENVIRONMENT: autoawq up to 4.57, gptqmodel in 5.x."""
    quantization = need(draft.quantization)
    if quantization is None or quantization.method != "awq" or not quantization.pre_quantized:
        return
    row = _NEEDS.row(situation.packages)
    if not situation.packages.has(row.value.package):
        why = f"this transformers loads AWQ through {row.value.package}, which is not installed"
        yield WillRaise("QVL301", Stage.ENVIRONMENT, "ImportError", row.value.text, "quant-packages", why, evidence=row.evidence)
