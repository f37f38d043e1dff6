"""estimate_memory, as it is called."""

from __future__ import annotations

from pathlib import Path

import pytest

import qvl_preflight
from qvl_preflight.testing import checkpoints


def test_without_weights_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(qvl_preflight.InputError, match="the size of the weights is not known"):
        qvl_preflight.estimate_memory(tmp_path)


def test_not_a_model() -> None:
    with pytest.raises(qvl_preflight.InputError):
        qvl_preflight.estimate_memory("/nowhere/at/all")


def test_a_folder_on_this_machine_or_another(tmp_path: Path) -> None:
    """The dtype is that of the checkpoint's release; what is asked for counts."""
    folder = checkpoints.checkpoint("Qwen/Qwen2-7B-Instruct", tmp_path)
    facts = {"schema": "qvl-preflight/facts/1", "packages": {"transformers": "5.17.0", "torch": "2.11.0"}}
    half = qvl_preflight.estimate_memory(folder, dtype={"__dtype__": "bfloat16"}, inference={"sequence_length": 512}, facts=facts)
    whole = qvl_preflight.estimate_memory(folder, dtype={"__dtype__": "float32"}, inference={"sequence_length": 512}, facts=facts)
    assert isinstance(half.peak_bytes, int)
    assert half.weights_bytes == pytest.approx(whole.weights_bytes / 2, rel=1e-4)
    assert half.to_dict()["total_bytes"] == half.peak_bytes + half.context_bytes
