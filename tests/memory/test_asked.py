"""What a step may be asked with."""

from __future__ import annotations

from typing import Any

import pytest

from qvl_preflight.exceptions import InputError
from qvl_preflight.memory.asked import read_asked


@pytest.mark.parametrize(
    ("inference", "training"),
    [
        ({"batch": 1}, None), ({"batch_size": 0}, None), ({"batch_size": True}, None), ({"sequence_length": "2k"}, None), ({"max_new_tokens": -1}, None),
        (3, None), ({}, {}), (None, {"method": "qlora"}), (None, {"amp": "fp8"}), (None, {"lora_target_modules": 3}), (None, {"sequence_length": 2**40}),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(inference: Any, training: Any) -> None:
    with pytest.raises(InputError):
        read_asked(inference, training)


def test_defaults_and_foreign_keys() -> None:
    """TrainingArguments' other keys are left alone; nothing asked is nothing answered."""
    asked = read_asked(None, {"method": "lora", "weight_decay": 0.1})
    assert asked is not None
    assert (asked.batch, asked.length, asked.optimizer, asked.targets) == (1, 2048, "adamw_torch", None)
    assert read_asked(None, None) is None
