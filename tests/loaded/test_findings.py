"""What is said of a loaded model, by what was seen in it; on records alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight import strict
from qvl_preflight.diagnosis.entries import ENTRIES
from qvl_preflight.exceptions import InputError
from qvl_preflight.loaded import check as checking
from qvl_preflight.loaded.causes import CAUSES
from qvl_preflight.loaded.check import judged
from qvl_preflight.loaded.record import Gradients, Layer, Loaded, Part
from qvl_preflight.request import Request
from qvl_preflight.rule import all_rules, is_known


def part(name: str, device: str = "cuda:0", dtype: str = "float16", **more: Any) -> Part:
    return Part(name, device, dtype, 16, 32, **more)


FROZEN = (part("model.layers.0.self_attn.q_proj.weight"), part("model.embed_tokens.weight"))
LORA_B = part("model.layers.0.self_attn.q_proj.lora_B.default.weight", dtype="float32", trainable=True)
EXLLAMA = Layer("model.layers.0.self_attn.q_proj", "exllama", "QuantLinear", "auto-gptq")
TRAINS = Loaded("LlamaForCausalLM", "m", (*FROZEN, LORA_B), adapters={"default": "lora"})


def codes(loaded: Loaded, purpose: str = "lora", **trainer: Any) -> list[str]:
    found, _ = judged(loaded, Request("m", {}, purpose, True, trainer=trainer or None))
    return [f"{each.code} {each.severity.value}" for each in found if each.severity]


def test_a_model_with_adapters_that_train_is_left_alone() -> None:
    """Frozen half-precision weights and float32 adapters: nothing, also under fp16=True."""
    assert codes(TRAINS) == codes(TRAINS, fp16=True) == codes(TRAINS, "inference") == []


def test_meta_is_an_error_only_where_no_hook_brings_the_data() -> None:
    """Offloaded weights show meta as well, as do the pieces of FSDP."""
    lost = replace(TRAINS, parts=(*TRAINS.parts, part("lm_head.weight", "meta")))
    assert codes(lost) == codes(lost, "inference") == ["QVL851 error"]
    assert codes(replace(TRAINS, parts=(*TRAINS.parts, part("lm_head.weight", "meta", offloaded=True)), hooked=True)) == []
    assert codes(replace(lost, sharded="FSDP")) == []


def test_several_devices_without_hooks_are_a_warning() -> None:
    """Buffers may lie anywhere; hooks move the data."""
    split = replace(TRAINS, parts=(*TRAINS.parts, part("lm_head.weight", "cpu")))
    assert codes(split) == ["QVL852 warning"]
    assert codes(replace(split, hooked=True)) == []
    assert codes(replace(TRAINS, parts=(*TRAINS.parts, part("rope.inv_freq", "cpu", parameter=False)))) == []


def test_a_kernel_that_says_it_does_not_train() -> None:
    """Only where it is to be trained; a class that does not say is not accused."""
    layer = Layer("q_proj", "marlin", "MarlinLinear", "gptqmodel", trains=False)
    assert codes(replace(TRAINS, layers=(layer,)), "qlora") == ["QVL801 error"]
    assert codes(replace(TRAINS, layers=(layer,)), "inference") == []
    assert codes(replace(TRAINS, layers=(replace(layer, trains=None),)), "qlora") == []


def test_exllama_of_auto_gptq_passes_no_gradient() -> None:
    """An error where every adapter is below it; gptqmodel's kernel of that name answers for itself."""
    assert codes(replace(TRAINS, layers=(EXLLAMA,)), "qlora") == ["QVL802 error"]
    other = part("model.layers.0.mlp.down_proj.lora_B.default.weight", trainable=True)
    assert codes(replace(TRAINS, layers=(EXLLAMA,), parts=(*TRAINS.parts, other)), "qlora") == ["QVL802 warning"]
    assert codes(replace(TRAINS, layers=(replace(EXLLAMA, backend="gptqmodel", trains=True),)), "qlora") == []


def test_nothing_requires_a_gradient() -> None:
    """Frozen adapters are named as such. Inference asks for none."""
    frozen = replace(TRAINS, parts=FROZEN)
    assert codes(frozen) == ["QVL853 error"]
    assert codes(frozen, "inference") == []
    found, _ = judged(frozen, Request("m", {}, "lora", True))
    assert found[0].fix is not None
    assert "is_trainable=True" in found[0].fix.title


def test_float16_weights_under_the_scaler() -> None:
    """On a GPU alone: on the CPU the Trainer refuses fp16. DeepSpeed scales by itself."""
    half = replace(TRAINS, parts=(*FROZEN, replace(LORA_B, dtype="float16")))
    assert codes(half, fp16=True) == ["QVL810 error"]
    assert codes(half, bf16=True) == codes(half) == codes(half, fp16=True, deepspeed={"a": 1}) == []
    assert codes(replace(half, parts=tuple(replace(each, device="cpu") for each in half.parts)), fp16=True) == []


def test_what_the_small_step_showed() -> None:
    """Zero everywhere is an error; made-up text that reached nothing is a warning; one that arrived is enough."""
    zero = Gradients((), ("a", "b"), (), 0.0, True)
    assert codes(replace(TRAINS, gradients=zero)) == ["QVL854 error"]
    assert codes(replace(TRAINS, gradients=replace(zero, zero=(), missing=("a",)))) == ["QVL854 warning"]
    assert codes(replace(TRAINS, gradients=replace(zero, zero=(), missing=("a",), made_up=False))) == ["QVL854 error"]
    assert codes(replace(TRAINS, gradients=replace(zero, arrived=("c",)))) == []
    assert codes(replace(TRAINS, gradients=zero, layers=(EXLLAMA,)), "qlora") == ["QVL802 error"]


def test_a_judgement_that_breaks_takes_no_other_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said as a note, and the rest is judged."""

    def broken(loaded: Loaded, request: Request) -> Any:
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr(checking, "JUDGES", (broken, *checking.JUDGES))
    strict.ON = False
    assert codes(replace(TRAINS, parts=FROZEN)) == ["QVL000 note", "QVL853 error"]


def test_codes_are_their_own_and_have_pages() -> None:
    """No rule and no entry has them; select, ignore and explain know them."""
    others = {rule.code for rule in all_rules()} | {entry.code for entry in ENTRIES}
    for cause in CAUSES:
        assert cause.code not in others
        assert is_known(cause.code)
        assert is_known(cause.name)
        assert cause.summary in qvl_preflight.explain(cause.code) == qvl_preflight.explain(cause.name)


class Tensor:
    """What can be asked of a tensor."""

    def __init__(self, device: str = "cpu", trainable: bool = False) -> None:
        self.device, self.dtype, self.requires_grad = device, "torch.float16", trainable

    def numel(self) -> int:
        return 4

    def element_size(self) -> int:
        raise RuntimeError("a tensor of a class that does not say")


class Module:
    """A model of an unknown kind: it can be asked for its tensors, and that is all."""

    config = None

    def named_parameters(self) -> list[tuple[str, Tensor]]:
        return [("weight", Tensor()), ("other", Tensor("meta"))]

    def named_buffers(self) -> list[tuple[str, Tensor]]:
        return []

    def named_modules(self) -> list[tuple[str, Any]]:
        return [("", self)]


def test_a_model_of_an_unknown_kind_is_looked_at_as_far_as_it_goes() -> None:
    """The report reads, in text and as JSON; arguments of a call are refused."""
    report = qvl_preflight.check(Module())
    assert [each.code for each in report.findings] == ["QVL851"]
    assert "nothing: none of 2 parameters requires a gradient" in report.text()
    assert report.to_dict()["loaded"]["class"] == "Module"
    assert qvl_preflight.check(Module(), ignore=["meta-tensor"]).left_out == 1
    assert qvl_preflight.check(Module(), select=["QVL853"]).verdict == "ok"
    with pytest.raises(InputError, match="device_map belongs to a call"):
        qvl_preflight.check(Module(), device_map="auto")
    with pytest.raises(InputError, match="gradients takes a model that is loaded"):
        qvl_preflight.check("m", gradients=True)
    with pytest.raises(InputError, match="purpose 'train' is not known"):
        qvl_preflight.check(Module(), purpose="train")


def test_a_step_that_cannot_be_made_leaves_the_check_incomplete() -> None:
    """Why is said."""

    class Trains(Module):
        def named_parameters(self) -> list[tuple[str, Tensor]]:
            return [("weight", Tensor(trainable=True))]

    report = qvl_preflight.check(Trains(), gradients=True)
    assert report.verdict == "incomplete"
    assert "whether gradients arrive" in report.text()
