"""Maps name modules of the model, headers name tensors of the file: where the two differ, nothing is claimed.

What happens on such calls was seen on transformers 4.37.2 and 5.23.0 with tiny gpt2 and bert checkpoints.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.testing import machine, write_checkpoint

SHAPE = ("F32", (64, 64))
PARTS = ("wte.weight", "wpe.weight", "h.0.attn.c_attn.weight", "h.1.attn.c_attn.weight", "ln_f.weight")
GPT2_LM = {f"transformer.{name}": SHAPE for name in PARTS}
GPT2_BASE = dict.fromkeys(PARTS, SHAPE)
BERT_MLM = dict.fromkeys(("bert.embeddings.word_embeddings.weight", "bert.encoder.layer.0.output.dense.weight", "cls.predictions.transform.dense.weight"), SHAPE)  # fmt: skip
LM = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}
BERT = {"model_type": "bert", "architectures": ["BertForMaskedLM"]}
QWEN = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
QWEN_FILE = dict.fromkeys(("model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight", "model.norm.weight", "lm_head.weight"), SHAPE)  # fmt: skip


def codes(folder: Path, config: dict[str, Any], tensors: Any, loader: str | None, stack: str, *names: str) -> set[str]:
    """What is found about a map that puts modules on the CPU."""
    write_checkpoint(str(folder), config, [tensors])
    device_map = dict.fromkeys(names, "cpu")
    report = qvl_preflight.check(str(folder), facts=machine("a100", stack), loader=loader, device_map=device_map)
    return {finding.code for finding in report.findings} & {"QVL404", "QVL408"}


@pytest.mark.parametrize("stack", ["legacy", "today"])
@pytest.mark.parametrize(
    ("config", "tensors", "loader", "names"),
    [
        pytest.param(LM, GPT2_LM, "AutoModel", ("wte", "wpe", "h", "ln_f"), id="AutoModel drops the prefix"),
        pytest.param(LM, GPT2_LM, None, ("wte", "wpe", "h", "ln_f"), id="a class that is not named may be AutoModel"),
        pytest.param(LM, GPT2_BASE, "AutoModelForCausalLM", ("transformer", "lm_head"), id="the file of gpt2 itself has no prefix"),
        pytest.param(LM, GPT2_BASE, None, ("transformer.wte", "transformer.h"), id="a prefix and more"),
        pytest.param(BERT, BERT_MLM, "AutoModelForSequenceClassification", ("bert", "classifier"), id="a head that the file lacks"),
        pytest.param(BERT, BERT_MLM, "AutoModel", ("embeddings", "encoder", "pooler"), id="a base model without the file's head"),
        pytest.param(LM, GPT2_LM, "GPT2Model", ("wte", "wpe", "h", "ln_f"), id="a base class by its name"),
        pytest.param({**QWEN, "text_config": {}}, QWEN_FILE, "AutoModelForCausalLM", ("model.language_model", "lm_head"), id="modules that a release renamed"),
    ],
)  # fmt: skip
def test_names_that_differ_are_not_held_against_the_map(
    tmp_path: Path, config: dict[str, Any], tensors: Any, loader: str | None, names: tuple[str, ...], stack: str
) -> None:
    """Neither a hole nor a module that is not there: these maps are whole."""
    assert codes(tmp_path, config, tensors, loader, stack, *names) == set()


@pytest.mark.parametrize(
    ("config", "tensors", "loader", "names"),
    [
        pytest.param(QWEN, QWEN_FILE, None, ("model.embed_tokens", "model.layers", "lm_head"), id="a module that was forgotten"),
        pytest.param(QWEN, QWEN_FILE, "AutoModelForCausalLM", ("model.embed_tokens", "model.layers", "lm_head"), id="by the class that wrote it"),
        pytest.param(QWEN, QWEN_FILE, "AutoModelForCausalLM", ("embed_tokens", "layers", "norm"), id="a prefix that this class does not drop"),
        pytest.param(LM, GPT2_LM, "GPT2LMHeadModel", ("transformer.wte", "transformer.h"), id="by its class's own name"),
        pytest.param(QWEN, QWEN_FILE, "AutoModelForCausalLM", ("model.embed_tokens", "model.layer", "model.norm", "lm_head"), id="a slip further in"),
    ],
)  # fmt: skip
def test_holes_where_the_names_are_those_of_the_file(
    tmp_path: Path, config: dict[str, Any], tensors: Any, loader: str | None, names: tuple[str, ...]
) -> None:
    """4.37 refuses these, as recorded: "… doesn't have any device set."."""
    assert "QVL404" in codes(tmp_path, config, tensors, loader, "legacy", *names)


def test_an_unknown_release_is_judged_by_the_names_of_the_classes(tmp_path: Path) -> None:
    """The tables of Auto classes need a release; "ForCausalLM" says enough without one."""
    write_checkpoint(str(tmp_path), LM, [GPT2_LM])
    for loader, silent in (("AutoModel", True), ("AutoModelForCausalLM", False)):
        facts = machine("a100", "legacy", packages={"transformers": None, "torch": "2.2.2", "accelerate": "0.26.1"})
        report = qvl_preflight.check(str(tmp_path), facts=facts, loader=loader, device_map={"h": "cpu", "wte": "cpu", "wpe": "cpu"})
        assert bool([finding for finding in report.findings if finding.code == "QVL408"]) is not silent
