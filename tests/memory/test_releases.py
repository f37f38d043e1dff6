"""A step under older releases of transformers, held against what torch's dispatcher counted there (scripts/count_step_memory.py)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memory_steps import decoder
from qvl_preflight.memory.asked import read_asked
from qvl_preflight.memory.loader import NEWEST
from qvl_preflight.memory.one_gpu import estimate
from qvl_preflight.unknown import Unknown

SIZES = {
    "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 4, "num_attention_heads": 16, "num_key_value_heads": 4, "vocab_size": 32000,
    "tie_word_embeddings": False,
}  # fmt: skip
COUNTED = [
    ((4, 37, 2), "sdpa", 304349184, 892550144), ((4, 37, 2), "eager", 304349184, 1345141760), ((4, 45, 2), "sdpa", 304349184, 891960320),
    ((4, 45, 2), "eager", 304349184, 1344551936), ((4, 48, 3), "sdpa", 107741184, 1002847232), ((4, 48, 3), "eager", 215293440, 1442855936),
    ((4, 57, 1), "sdpa", 107741184, 901897216), ((4, 57, 1), "eager", 216471552, 1345051648), ((5, 23, 0), "sdpa", 107741184, 901897216),
    ((5, 23, 0), "eager", 216471552, 1345051648),
]  # fmt: skip


@pytest.mark.parametrize(("release", "attention", "forward", "training"), COUNTED)
def test_what_a_step_takes_beside_weights(release: tuple[int, ...], attention: str, forward: int, training: int) -> None:
    """Up to 4.45 logits are made float32 at once, up to 4.48 they are copied for the loss, up to 4.53 keys are repeated for each head."""
    sizes = {"batch_size": 2, "sequence_length": 768}
    loader = replace(NEWEST, transformers=release)

    def beside(asked: object) -> int:
        found = estimate(decoder(**SIZES), "bfloat16", None, attention, asked, (9, 0), release5=release >= (5,), loader=loader)  # type: ignore[arg-type]
        assert not isinstance(found.peak_bytes, Unknown)
        return found.peak_bytes - found.weights_bytes - found.workspace_bytes

    assert beside(read_asked({**sizes, "use_cache": True}, None)) == pytest.approx(forward, rel=0.02)
    assert beside(read_asked(None, {**sizes, "method": "full", "optimizer": "sgd"})) == pytest.approx(training, rel=0.04)
