"""What a LoraConfig meets on a model. Every row was run on a CPU with peft 0.8.2 and 0.21.2 but where it says otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.report import Report
from qvl_preflight.request import ConfigObject
from qvl_preflight.testing import STACKS, machine, write_checkpoint

PLAIN, GPTQ = "Qwen/Qwen2-7B-Instruct", "Qwen/Qwen2-7B-Instruct-GPTQ-Int4"
TRAINS = {"device_map": {"": 0}, "quantization_config": ConfigObject("GPTQConfig", {"bits": 4, "backend": "auto_trainable"})}


def report(
    folder: Path | str, peft: dict[str, Any], stack: str = "today", release: str | None = None, trainer: Any = None, **kwargs: Any
) -> Report:
    packages = {**STACKS[stack]["packages"], **({"peft": release} if release else {})}
    kwargs = kwargs or {"device_map": {"": 0}}
    return qvl_preflight.check(
        str(folder), facts=machine("a100", stack, packages=packages), purpose="lora", peft=peft, trainer=trainer, **kwargs
    )


def raised(found: Report) -> tuple[str, str] | None:
    """The first exception of a LoraConfig: its code and type."""
    assert found.plan is not None
    return next(((r.code, r.type) for r in found.plan.raises if r.code.startswith("QVL81")), None)


MISSING = ("QVL811", "NoMatchingPeftModuleError")
CASES: list[tuple[dict[str, Any], tuple[str, str] | None]] = [
    ({"target_modules": ["c_attn"]}, MISSING),
    ({"target_modules": "q_proj"}, MISSING),  # a string is a pattern for the whole name
    ({"target_modules": r".*\.q_proj"}, None),
    ({"target_modules": ["mlp"]}, ("QVL812", "ValueError")),
    ({"target_modules": ["input_layernorm"]}, ("QVL812", "ValueError")),
    ({"target_modules": ["q_proj", "nope"]}, None),
    ({"target_modules": "all-linear"}, None),
    ({"target_modules": ["q_proj"], "r": 0}, ("QVL814", "ValueError")),
    ({"target_modules": ["q_proj"], "task_type": "CAUSAL"}, ("QVL814", "ValueError")),
    ({"target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}, None),
    ({"target_modules": ["q_proj"], "modules_to_save": ["nope"]}, None),
    ({"target_modules": ["q_proj"], "layers_to_transform": [99]}, MISSING),
    ({"target_modules": ["q_proj"], "layers_to_transform": [1]}, None),
    ({"target_modules": None}, None),  # peft has a list for qwen2
    ({"r": 8}, None),  # nothing is said of the layers: nothing is judged
    ({"target_modules": ["lm_head"]}, None),
    ({"target_modules": ["embed_tokens"]}, None),
    ({"target_modules": ["c_attn"], "peft_type": "IA3"}, None),
]


@pytest.mark.parametrize(("peft", "expected"), CASES, ids=[str(peft) for peft, _ in CASES])
def test_plain_weights(checkpoints: Path, peft: dict[str, Any], expected: tuple[str, str] | None) -> None:
    """As peft 0.21.2 says."""
    assert raised(report(checkpoints / PLAIN, peft)) == expected


@pytest.mark.parametrize(("release", "peft", "expected"), [
    ("0.8.2", {"target_modules": ["c_attn"]}, ("QVL811", "ValueError")),
    ("0.8.2", {"target_modules": None}, ("QVL811", "ValueError")),  # qwen2 came with 0.12
    ("0.8.2", {"target_modules": ["q_proj"], "task_type": "CAUSAL"}, None),
    ("0.13.2", {"target_modules": None}, None),
])  # fmt: skip
def test_older_releases(checkpoints: Path, release: str, peft: dict[str, Any], expected: tuple[str, str] | None) -> None:
    """What 0.8.2 does otherwise."""
    assert raised(report(checkpoints / PLAIN, peft, "legacy", release)) == expected


# What was run with each of these releases over a plain model: the setting, then the type and the words, per release.
_OLD, _NEW = ("0.6.2", "0.8.2", "0.11.1", "0.13.2", "0.14.0", "0.16.0", "0.18.0"), ("0.21.2",)
_NO_MODULES = "No `target_modules` passed"
REFUSED: list[tuple[dict[str, Any], tuple[str, ...], str, str]] = [
    ({"target_modules": []}, _OLD[:6], "ValueError", "Target modules set() not found"),
    ({"target_modules": []}, ("0.18.0",), "ValueError", _NO_MODULES),
    ({"target_modules": []}, _NEW, "NoMatchingPeftModuleError", _NO_MODULES),
    ({"target_modules": ""}, _OLD[:6], "ValueError", "Target module"),
    ({"target_modules": ""}, ("0.18.0",), "ValueError", _NO_MODULES),
    ({"target_modules": ["q_proj"], "r": "8"}, _OLD + _NEW, "TypeError", "'<=' not supported"),
    ({"target_modules": ["q_proj"], "r": 8.0}, _OLD + _NEW, "TypeError", "empty(): argument 'size'"),
    ({"target_modules": ["q_proj"], "lora_alpha": "16"}, _OLD + _NEW, "TypeError", "unsupported operand type(s) for /: 'str' and"),
    ({"target_modules": ["q_proj"], "lora_dropout": "0.1"}, _OLD + _NEW, "TypeError", "'>' not supported"),
    ({"target_modules": ["q_proj"], "exclude_modules": ["q_proj"]}, _OLD[4:], "ValueError", "No modules were targeted"),
    ({"target_modules": ["q_proj"], "exclude_modules": ".*q_proj"}, _NEW, "NoMatchingPeftModuleError", "No modules were targeted"),
    ({"target_modules": ["q_proj"], "exclude_modules": "[q"}, _OLD[4:] + _NEW, "error", "unterminated character set"),
    ({"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": "h"}, _OLD, "ValueError", "Target modules "),
    ({"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": ["h", "b"]}, _NEW, "NoMatchingPeftModuleError", "Target modules "),
    ({"target_modules": "[q_proj"}, _OLD + _NEW, "error", "unterminated character set"),
    ({"target_modules": "*q_proj"}, _OLD + _NEW, "error", "nothing to repeat"),
    *[({"target_modules": word}, _OLD, "ValueError", "Target modules ") for word in ("all", "all_linear", "q_proj,v_proj", "q_proj v_proj")],
]  # fmt: skip


@pytest.mark.parametrize(("peft", "releases", "kind", "words"), REFUSED, ids=[str(case[0]) for case in REFUSED])
def test_what_was_run_is_an_error(
    checkpoints: Path, peft: dict[str, Any], releases: tuple[str, ...], kind: str, words: str
) -> None:
    """Each with the words of that release, and certain: an error, not a warning."""
    for release in releases:
        found = report(checkpoints / PLAIN, peft, "legacy", release)
        assert found.plan is not None
        first = next(entry for entry in found.plan.raises if entry.code.startswith("QVL81"))
        assert (first.type, first.text[: len(words)], first.certain) == (kind, words, True), release


@pytest.mark.parametrize("peft", [
    {"target_modules": ["q_proj"], "exclude_modules": ["v_proj"]},
    {"target_modules": ["q_proj", "lm_head"], "exclude_modules": ["q_proj"]},  # a head may be there without a tensor
    {"target_modules": ["q_proj"], "exclude_modules": r".*\.0\..*"},
    {"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": "layers"},
    {"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": ["h", "layers"]},
    {"target_modules": ["q_proj"], "layers_to_transform": 0, "layers_pattern": []},
    {"target_modules": [], "target_parameters": ["q_proj.weight"]},
    {"target_modules": [], "trainable_token_indices": [0]},
    {"target_modules": ["q_proj"], "r": True},
], ids=str)  # fmt: skip
def test_what_runs_is_not_refused(checkpoints: Path, peft: dict[str, Any]) -> None:
    """peft 0.21.2 adds adapters for these, or nothing is known against them."""
    assert raised(report(checkpoints / PLAIN, peft)) is None


def test_a_pattern_that_may_name_a_module_stays_a_warning(checkpoints: Path) -> None:
    """A word can be the name of a module that a class has beside the tensors; its own names can differ from the file's."""
    for wanted in ("score", r"visual\..*proj"):
        found = report(checkpoints / PLAIN, {"target_modules": wanted}).findings
        assert [(f.code, f.severity and f.severity.value) for f in found] == [("QVL811", "warning")]


ON_GPTQ: list[tuple[dict[str, Any], str | None]] = [
    ({"target_modules": "all-linear"}, "QVL813"),
    ({"target_modules": ["q_proj"], "use_dora": True}, "QVL814"),
    ({"target_modules": ["q_proj"], "init_lora_weights": "pissa"}, "QVL814"),
    ({"target_modules": ["q_proj"], "init_lora_weights": "olora"}, "QVL814"),
    ({"target_modules": ["q_proj"], "init_lora_weights": "gaussian"}, None),
    ({"target_modules": ["q_proj"], "modules_to_save": ["o_proj"]}, None),
]


@pytest.mark.parametrize(("peft", "expected"), ON_GPTQ, ids=[str(peft) for peft, _ in ON_GPTQ])
def test_gptq_weights(checkpoints: Path, peft: dict[str, Any], expected: str | None) -> None:
    """Layers that are no torch.nn.Linear and hold no weight of that name."""
    found = raised(report(checkpoints / GPTQ, peft, **TRAINS))
    assert (found and found[0]) == expected


def test_a_gptq_layer_is_copied_in_vain(checkpoints: Path) -> None:
    """Nothing is raised, and nothing of the copy trains."""
    found = report(checkpoints / GPTQ, {"target_modules": ["q_proj"], "modules_to_save": ["o_proj"]}, **TRAINS)
    assert [(f.code, f.severity.value) for f in found.findings if f.severity and f.code == "QVL815"] == [("QVL815", "warning")]
    found = report(checkpoints / GPTQ, {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}, **TRAINS)
    assert not found.findings


def test_bitsandbytes_keeps_what_it_is_told_to(checkpoints: Path) -> None:
    """lm_head is not quantised by default, and llm_int8_skip_modules names more."""
    for skipped, save, expected in (
        (None, ["o_proj"], "QVL815"),
        (["o_proj"], ["o_proj"], None),
        (None, ["lm_head", "embed_tokens"], None),
    ):
        config = ConfigObject(
            "BitsAndBytesConfig", {"load_in_4bit": True, **({"llm_int8_skip_modules": skipped} if skipped else {})}
        )
        call = {"device_map": {"": 0}, "quantization_config": config}
        found = raised(report(checkpoints / PLAIN, {"target_modules": ["q_proj"], "modules_to_save": save}, "today-bnb", **call))
        assert (found and found[0]) == expected


def test_experts_and_incomplete_files_are_not_judged(tmp_path: Path, checkpoints: Path) -> None:
    """A release may fuse experts while it loads; a shard that is missing may hold any name; neither says that a layer is not there."""
    experts = {f"model.layers.0.mlp.experts.{n}.gate_proj.weight": ("BF16", (64, 64)) for n in range(2)}
    write_checkpoint(str(tmp_path), {"model_type": "qwen2_moe", "architectures": ["Qwen2MoeForCausalLM"]}, [experts])
    assert raised(report(tmp_path, {"target_modules": ["c_attn"]})) is None
    assert raised(report(checkpoints / "broken/missing-shard", {"target_modules": ["c_attn"]})) is None
    assert raised(report(checkpoints / "Qwen/Qwen-VL-Chat", {"target_modules": ["q_proj"]}, trust_remote_code=True)) is None


def test_the_message_names_what_is_meant(checkpoints: Path) -> None:
    """A slip gets the nearest name, a string gets the list that works."""
    texts = [report(checkpoints / PLAIN, {"target_modules": target}).findings[0].message for target in (["q_porj"], "q_proj")]
    assert "q_proj" in texts[0]
    assert '["q_proj"]' in texts[1]


@pytest.mark.parametrize(("stack", "how", "said"), [
    ("legacy", None, True), ("legacy", {"use_reentrant": True}, True), ("legacy", {"use_reentrant": False}, False), ("today", None, False),
])  # fmt: skip
def test_checkpointing_is_worth_a_note_before_5(checkpoints: Path, stack: str, how: Any, said: bool) -> None:
    """Run with Trainer: 4.37.2 raises unless it is of the other kind, 5.23.0 never does. Scripts may see to it: no more than a note."""
    trainer = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": how}
    found = report(checkpoints / PLAIN, {"target_modules": ["q_proj"]}, stack, trainer=trainer)
    assert [f.severity.value for f in found.findings if f.code == "QVL818" and f.severity] == (["note"] if said else [])
