"""Packages that do not go together, as exceptions of a call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack import requirements, torchvision
from qvl_preflight.unknown import need

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation
    from qvl_preflight.stack.requirements import Skew


def imports(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ENVIRONMENT: what stops `import transformers`, its models, and for a training `import peft`."""
    yield from (_raised("QVL603", skew, "import-transformers") for skew in requirements.transformers(situation.packages))
    yield from (_raised("QVL605", skew, "import-transformers") for skew in requirements.torch(situation.packages))
    yield from (_raised("QVL609", skew, "import-transformers") for skew in torchvision.skew(situation.facts))
    if situation.request.purpose in ("lora", "qlora") or situation.request.trainer is not None:
        yield from (_raised("QVL604", skew, "import-peft") for skew in requirements.peft(situation.packages))


def adapters(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """ADAPTERS: a gptqmodel or a torchao that peft refuses. Layers of bitsandbytes are wrapped before it asks for either."""
    if situation.request.purpose not in ("lora", "qlora"):
        return
    quantization = need(draft.quantization)
    packed = quantization is not None and quantization.method in ("gptq", "awq")
    if quantization is None or packed:
        for skew in requirements.gptqmodel_beside_peft(situation.packages):
            yield _raised("QVL606", skew, "no-train", Stage.ADAPTERS)
    if quantization is None or quantization.method in _PLAIN_CLASSES:
        for skew in requirements.torchao_beside_peft(situation.packages):
            yield _raised("QVL606", skew, "no-train", Stage.ADAPTERS)


# Methods whose layers are torch.nn.Linear, or have its `weight`, and have no dispatcher of their own before that of torchao.
_PLAIN_CLASSES = ("quanto", "torchao", "fp8", "mxfp4")


def _raised(code: str, skew: Skew, cause: str, stage: Stage = Stage.ENVIRONMENT) -> WillRaise:
    return WillRaise(code, stage, skew.type, skew.text, cause, skew.why, evidence=skew.evidence)
