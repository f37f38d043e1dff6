"""optimum looks for the blocks of a GPTQ model by name, and before 2.0 knows them only under the class with a head.

Sources: optimum 1.13.2 to 2.3.0 gptq/constants.py BLOCK_PATTERNS, gptq/utils.py get_block_name_with_pattern. Run with 1.16.2, 2.0.0 and 2.3.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack.gptq_environment import stored_gptq
from qvl_preflight.stack.left_over import class_made
from qvl_preflight.unknown import Unknown
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

_PATTERNS: ByRelease[tuple[str, ...]] = ByRelease(
    "optimum",
    Row("1.13", "1.24", ("transformer.h", "model.decoder.layers", "gpt_neox.layers", "model.layers"), Evidence.RUN, "optimum 1.16.2, 1.23.3 gptq/constants.py:16"),
)  # fmt: skip


_NOT_MATCHED = "Block pattern could not be match. Pass `block_name_to_quantize` argument in `quantize_model`"
# transformers 4.57.1, 5.23.0 models/*/modeling_*.py: base_model_prefix = "transformer" over blocks that are called layers. Run with optimum 2.0.0 and 2.3.0.
_UNDER_ANOTHER_NAME = {
    "LlamaForQuestionAnswering": Evidence.RUN, "Qwen2ForQuestionAnswering": Evidence.SOURCE, "Qwen3ForQuestionAnswering": Evidence.SOURCE,
}  # fmt: skip


def blocks(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """KERNEL: a class without a head, whose modules stand one level higher than in the files."""
    weights, name = situation.checkpoint.weights, class_made(situation)
    if (
        name in _UNDER_ANOTHER_NAME
        and stored_gptq(draft) is not None
        and not (situation.checkpoint.quantization or {}).get("block_name_to_quantize")
    ):
        why = f"{name} calls its base transformer, and optimum looks for the blocks of a GPTQ model under model"
        yield WillRaise("QVL329", Stage.KERNEL, "ValueError", _NOT_MATCHED, "gptq-blocks", why, evidence=_UNDER_ANOTHER_NAME[name])
        return
    if stored_gptq(draft) is None or isinstance(weights, Unknown) or not name.endswith("Model") or situation.checkpoint.remote_code:
        return
    if (situation.packages.release("optimum") or (2,)) >= (2,):
        return
    patterns = _PATTERNS.value(situation.packages)
    if any(pattern in tensor.name.partition(".")[2] for pattern in patterns for tensor in weights.tensors):
        return
    why = f"{name} has no head, and optimum before 2.0 finds the blocks of a GPTQ model only under a class that has one"
    yield WillRaise("QVL329", Stage.KERNEL, "ValueError", _NOT_MATCHED, "gptq-blocks", why, evidence=Evidence.RUN)
