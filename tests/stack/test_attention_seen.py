"""What the model classes of three releases take, as each said when it was asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.report import Severity
from qvl_preflight.testing import STACKS, machine

ASKED = [
    ("gemma2", "sdpa"), ("deberta-v2", "sdpa"), ("t5", "sdpa"), ("electra", "sdpa"), ("swin", "sdpa"), ("clip", "sdpa"), ("vit", "sdpa"), ("wav2vec2", "sdpa"), ("llama", "sdpa"),
    ("gpt2", "flex_attention"), ("bloom", "flex_attention"), ("falcon", "flex_attention"), ("codegen", "flex_attention"), ("t5", "flex_attention"), ("bert", "flex_attention"),
    ("llama", "sdpa_paged"), ("llama", "paged|sdpa"), ("llama", "paged|eager"), ("llama", "eager_paged"), ("llama", True), ("llama", "SDPA"), ("llama", "xformers"),
]  # fmt: skip
# What was refused; gemma2 is not in 4.37.
REFUSED = {
    "4.37.2": {*ASKED} - {("gemma2", "sdpa"), ("llama", "sdpa")},
    "4.57.1": {*ASKED[1:5], *ASKED[9:15], ("llama", "paged|sdpa"), ("llama", "paged|eager"), *ASKED[19:]},
    "5.23.0": {*ASKED[:2], *ASKED[9:13], ("llama", "sdpa_paged"), ("llama", "eager_paged"), *ASKED[19:]},
}


@pytest.mark.parametrize(("model_type", "asked"), ASKED)
@pytest.mark.parametrize("release", REFUSED)
def test_the_release_answers_as_it_did(tmp_path: Path, release: str, model_type: str, asked: Any) -> None:
    """An error where it refused, silence where it did not."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type, "architectures": ["Model"]}))
    facts = machine(packages={**STACKS["legacy"]["packages"], "transformers": release})
    report = qvl_preflight.check(str(tmp_path), facts=facts, loader="AutoModel", attn_implementation=asked)
    errors = [found for found in report.findings if found.code in ("QVL905", "QVL932") and found.severity is Severity.ERROR]
    if (model_type, asked) != ("gemma2", "sdpa") or release != "4.37.2":
        assert bool(errors) is ((model_type, asked) in REFUSED[release])
