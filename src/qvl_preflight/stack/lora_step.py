"""The first step over adapters, and the merge after the last: what a frozen base and quantised weights do not allow.

Sources: transformers 4.37.2 to 5.23.0 modeling_utils.py gradient_checkpointing_enable; peft 0.5 to 0.21 tuners/lora/model.py. Run on a CPU with 4.37.2 and
peft 0.8.2 (raises), 5.23.0 and peft 0.21.2 (passes, of either kind); the merge on both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack.lora import config
from qvl_preflight.unknown import need
from qvl_preflight.versions import Evidence

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

_NO_GRAD = "element 0 of tensors does not require grad and does not have a grad_fn"


def checkpointing(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """STEP: gradient checkpointing that Trainer switches on over a frozen base. Since 5.0 it is not the reentrant kind any more."""
    request, trainer = situation.request, situation.request.trainer or {}
    if (
        request.purpose not in ("lora", "qlora")
        or trainer.get("gradient_checkpointing") is not True
        or need(draft.quantization) is not None
    ):
        return
    how = trainer.get("gradient_checkpointing_kwargs")
    reached = [*((config(situation) or {}).get("target_modules") or ()), *((config(situation) or {}).get("modules_to_save") or ())]
    if (isinstance(how, Mapping) and how.get("use_reentrant") is False) or any(
        str(name) in ("embed_tokens", "wte", "embed_in") for name in reached
    ):
        return
    if situation.packages.at_least("transformers", 5):
        return
    why = "gradient checkpointing of the reentrant kind needs an input that requires a gradient, and with adapters the embeddings are frozen"
    condition, evidence = "nothing calls model.enable_input_require_grads()", Evidence.RUN
    yield WillRaise("QVL818", Stage.STEP, "RuntimeError", _NO_GRAD, "lora-checkpointing", why, condition, evidence)


_MERGE = "Cannot merge LORA layers when the model is gptq quantized"


def merged_afterwards(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """STEP: a merge that the training's settings ask for afterwards, as those of ms-swift and axolotl do."""
    trainer = situation.request.trainer or {}
    quantization = need(draft.quantization)
    if situation.request.purpose not in ("lora", "qlora") or quantization is None:
        return
    if quantization.method not in ("gptq", "awq"):
        return
    asked = next((key for key in ("merge_lora", "merge_adapter", "merge_and_unload") if trainer.get(key) is True), None)
    if asked:
        why = f"{asked}=True asks to merge the adapters into {quantization.method.upper()} weights, which peft does not do"
        # Run: peft 0.20.0 and 0.21.2 over layers of gptqmodel, which have no merge at all.
        type_, text = ("ValueError", _MERGE) if quantization.method == "gptq" else ("NotImplementedError", "")
        yield WillRaise("QVL819", Stage.STEP, type_, text, "lora-merge", why, evidence=Evidence.RUN)
