"""Which step the memory of a training is held against."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import Any

import pytest

from qvl_preflight.loaded.expected_memory import question
from qvl_preflight.loaded.record import Loaded, Part
from qvl_preflight.unknown import Undecided

FROZEN = Part("q_proj.weight", "cuda:0", "bfloat16", 64, 128)
ADAPTER = Part("q_proj.lora_A.default.weight", "cuda:0", "float32", 4, 16, trainable=True)
LORA = Loaded("LlamaForCausalLM", "m", (FROZEN, ADAPTER), adapters={"default": "lora, r=8 on q_proj, v_proj"})


def test_a_lora_step_is_asked_for_as_it_is() -> None:
    """Batch and sequence are those that were seen."""
    asked = question(LORA, {"bf16": True, "optim": "adamw_torch_fused", "gradient_checkpointing": True}, (4, 100))
    assert asked["dtype"] == {"__dtype__": "bfloat16"}
    assert asked["training"] == {
        "method": "lora", "batch_size": 4, "sequence_length": 100, "gradient_checkpointing": True, "optimizer": "adamw_torch_fused", "amp": "bf16",
        "lora_rank": 8, "lora_target_modules": ["q_proj", "v_proj"],
    }  # fmt: skip


def test_the_optimizer_goes_by_its_value() -> None:
    """TrainingArguments hold a member of OptimizerNames, whose text is that of the class and the member."""

    class Names(str, Enum):
        FUSED = "adamw_torch_fused"

    assert question(LORA, {"optim": Names.FUSED}, (1, 8))["training"]["optimizer"] == "adamw_torch_fused"


@pytest.mark.parametrize(
    ("loaded", "trainer", "shape"),
    [
        (replace(LORA, parts=(replace(FROZEN, device="cpu"),)), {}, (1, 8)),
        (replace(LORA, parts=(FROZEN, replace(ADAPTER, device="cuda:1"))), {}, (1, 8)),
        (replace(LORA, sharded="FSDP"), {}, (1, 8)),
        (LORA, {"deepspeed": {"a": 1}}, (1, 8)),
        (LORA, {}, None),
        (replace(LORA, adapters={"default": "ia3 on q_proj"}), {}, (1, 8)),
    ],
)
def test_other_steps_are_not_guessed(loaded: Loaded, trainer: dict[str, Any], shape: tuple[int, int] | None) -> None:
    """The CPU, several GPUs, pieces, an unseen batch, other adapters."""
    with pytest.raises(Undecided):
        question(loaded, trainer, shape)
