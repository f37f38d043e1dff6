"""What each release does with an attention that is asked for. Rows marked "run" happened on a stack without a GPU; the others were read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.request import Dtype
from qvl_preflight.testing import machine

FLASH = "flash_attention_2"


def config(folder: Path, model: str = "llama", **more: Any) -> str:
    name = {"llama": "LlamaForCausalLM", "opt": "OPTForCausalLM", "gpt2": "GPT2LMHeadModel", "qwen": "QWenLMHeadModel"}[model]
    (folder / "config.json").write_text(
        json.dumps({"model_type": model, "architectures": [name], "torch_dtype": "bfloat16", **more})
    )
    return str(folder)


def first(
    folder: str, transformers: str, hardware: str = "a100", flash: str | None = "2.8.3", cuda: Any = "12.1", **kwargs: Any
) -> tuple[str, str] | None:
    packages = {"transformers": transformers, "torch": "2.4.1", "accelerate": "1.15.0", **({"flash-attn": flash} if flash else {})}
    facts = machine(hardware, packages=packages, torch={"cuda_build": cuda, "hip_build": False})
    plan = qvl_preflight.check(folder, facts=facts, **kwargs).plan
    assert plan is not None
    raised = [entry for entry in plan.raises if entry.cause == "attention"]
    return (raised[0].type, raised[0].text[-60:]) if raised else None


NO_GPU = [
    ("4.37.2", False, "ValueError", "not initialized on GPU and with no GPU available."),  # run: torch built for the CPU
    ("4.44.2", "12.1", "ImportError", "Flash Attention 2 is not available."),
    ("4.51.3", "12.1", "ValueError", "Flash Attention 2 is not available on CPU."),  # run
    ("4.57.1", "12.1", "ValueError", "Flash Attention 2 is not available on CPU."),  # run
    ("5.23.0", "12.1", "ImportError", "FlashAttention2 is not available on CPU."),  # run
]


@pytest.mark.parametrize(("release", "cuda", "kind", "text"), NO_GPU)
def test_without_a_gpu(tmp_path: Path, release: str, cuda: Any, kind: str, text: str) -> None:
    """Each release has words of its own."""
    found = first(config(tmp_path), release, "no-gpu", cuda=cuda, attn_implementation=FLASH)
    assert found is not None
    assert (found[0], found[1].endswith(text)) == (kind, True), found


OLD = [
    ("4.57.1", "2.0.1", True),
    ("4.57.1", "2.2.0", False),
    ("5.2.0", "2.2.0", False),
    ("5.23.0", "2.2.0", True),
    ("5.23.0", "2.3.3", False),
]


@pytest.mark.parametrize(("release", "flash", "refused"), OLD)
def test_the_oldest_flash_attn_that_is_taken(tmp_path: Path, release: str, flash: str, refused: bool) -> None:
    """2.1.0, and 2.3.3 from 5.5 on."""
    assert (
        first(config(tmp_path), release, flash=flash, attn_implementation=FLASH, device_map={"": 0}, torch_dtype=Dtype("bfloat16"))
        is not None
    ) == refused


TAKEN = [
    ("opt", "4.37.2", "sdpa", False), ("opt", "4.51.3", "sdpa", True), ("gpt2", "4.37.2", FLASH, False), ("gpt2", "4.51.3", FLASH, True),
    ("gpt2", "4.37.2", "sdpa", False), ("llama", "4.37.2", "sdpa", True), ("llama", "4.37.2", "eager", True), ("opt", "4.37.2", "eager", True),
]  # fmt: skip


@pytest.mark.parametrize(("model", "release", "asked", "taken"), TAKEN)
def test_which_class_takes_which_attention(tmp_path: Path, model: str, release: str, asked: str, taken: bool) -> None:
    """Run on both releases."""
    found = first(config(tmp_path, model), release, attn_implementation=asked, device_map={"": 0}, torch_dtype=Dtype("bfloat16"))
    assert (found is None) == taken


def test_what_remote_code_takes_is_not_known(tmp_path: Path) -> None:
    """The class in the folder may have what transformers' own has not; Qwen's is known to have neither."""
    auto_map = {"AutoModelForCausalLM": "modeling.Model"}
    call = {"attn_implementation": "sdpa", "trust_remote_code": True, "device_map": {"": 0}}
    assert first(config(tmp_path, "opt", auto_map=auto_map), "4.37.2", **call) is None
    assert first(config(tmp_path, "qwen", auto_map=auto_map), "4.37.2", **call) is not None


def test_a_model_that_is_not_on_the_gpu_yet_is_no_finding(tmp_path: Path) -> None:
    """People move it afterwards; transformers warns."""
    assert first(config(tmp_path), "4.51.3", attn_implementation=FLASH, torch_dtype=Dtype("bfloat16")) is None


def test_float32_under_the_trainers_autocast_is_no_finding(tmp_path: Path) -> None:
    """bf16=True runs the forward in bfloat16."""
    call = {"attn_implementation": FLASH, "torch_dtype": Dtype("float32"), "device_map": {"": 0}}
    assert first(config(tmp_path), "4.51.3", **call) is not None
    assert first(config(tmp_path), "4.51.3", trainer={"bf16": True}, purpose="full", **call) is None


def test_a_registered_name_may_be_known(tmp_path: Path) -> None:
    """From 4.48 on anyone can register one: that is a condition, unless the name is a slip of FlashAttention's."""
    folder, facts = config(tmp_path), machine("a100")
    mine = qvl_preflight.check(folder, facts=facts, device_map={"": 0}, attn_implementation="my_attention").findings
    slip = qvl_preflight.check(folder, facts=facts, device_map={"": 0}, attn_implementation="flash_attn_2").findings
    assert [(f.code, f.severity.value) for f in (*mine, *slip) if f.severity] == [("QVL905", "warning"), ("QVL905", "error")]


FOREIGN = [
    ("4.33.3", "llama", None, None),  # imports no flash-attn yet
    ("4.37.2", "llama", None, "RuntimeError"),  # run
    ("4.37.2", "qwen2", None, "RuntimeError"),
    ("4.36.2", "qwen2", None, None),  # not there yet, and no module that imports it
    ("4.46.3", "llama", None, "RuntimeError"),  # run
    ("4.46.3", "bloom", None, None),  # its module does not import it
    ("4.51.3", "bloom", None, "RuntimeError"),  # modeling_utils does
    ("4.54.1", "llama", None, "ImportError"),  # run
    ("4.55.4", "llama", None, None),  # run: loads
    ("4.57.1", "llama", FLASH, "ImportError"),  # run
    ("4.57.1", "llama", "sdpa", None),
    ("5.23.0", "llama", FLASH, "ImportError"),  # run
    ("5.23.0", "llama", None, None),  # run: loads
]


@pytest.mark.parametrize(("release", "model", "asked", "kind"), FOREIGN)
def test_a_flash_attn_for_another_torch(tmp_path: Path, release: str, model: str, asked: str | None, kind: str | None) -> None:
    """Which release meets it, and which model, whether or not the call asks for it; without a GPU none does."""
    folder = config(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model, "architectures": ["LlamaForCausalLM"]}))
    packages = {"transformers": release, "torch": "2.4.1", "accelerate": "1.15.0", "flash-attn": "2.5.8"}
    kwargs = {"attn_implementation": asked} if asked else {}
    for hardware, expected in (("a100", kind), ("no-gpu", None)):
        for loads in (False, True):
            facts = machine(
                hardware,
                packages=packages,
                torch={"cuda_build": "12.1", "hip_build": False},
                extensions={"flash_attn_2_cuda": loads},
            )
            plan = qvl_preflight.check(folder, facts=facts, **kwargs).plan
            assert plan is not None
            met = [entry.type for entry in plan.raises if entry.code == "QVL937"]
            assert met == ([expected] if expected and not loads else []), (hardware, loads)


@pytest.mark.parametrize(("release", "said"), [
    ("5.3.0", ("ValueError", '="flash_attention_4"` is not supported.')),
    ("5.4.0", ("ImportError", "the package for FlashAttention4 doesn't seem to be installed")),
    ("5.17.0", ("ImportError", "the package for FlashAttention4 doesn't seem to be installed")),  # recorded
])  # fmt: skip
def test_the_fourth_flash_attention(tmp_path: Path, release: str, said: tuple[str, str]) -> None:
    """transformers 5.4 knows its name, and asks for a package of its own; the second one does not stand in for it."""
    found = first(config(tmp_path), release, attn_implementation="flash_attention_4", device_map={"": 0})
    assert found is not None
    assert (found[0], found[1].endswith(said[1])) == (said[0], True), found
