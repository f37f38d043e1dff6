"""Which calls stand in a cell, and with which values: read, never run."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest

from qvl_preflight.cell_calls import calls
from qvl_preflight.unknown import Unknown


def only(source: str, **namespace: Any) -> Any:
    found = calls(source, namespace)
    assert len(found) == 1, found
    return found[0]


def kwargs(source: str, **namespace: Any) -> Any:
    return only(source, **namespace).kwargs


def reason(source: str, **namespace: Any) -> str:
    found = kwargs(source, **namespace)
    assert isinstance(found, Unknown), found
    return found.reason


LOAD = "AutoModelForCausalLM.from_pretrained"


def test_literals_names_of_the_namespace_and_names_of_the_cell() -> None:
    """A name that the cell gives a value once, before the call, has it."""
    source = (
        f'name = "m"\nwhere = {{"": 0}}\nmodel = {LOAD}(name, device_map=where, trust_remote_code=True, max_memory=limits, x=-1)'
    )
    call = only(source, limits={0: "10GiB"})
    assert (call.loader, call.line, call.model, call.unsure) == ("AutoModelForCausalLM", 3, "m", "")
    assert call.kwargs == {"device_map": {"": 0}, "trust_remote_code": True, "max_memory": {0: "10GiB"}, "x": -1}
    assert kwargs(f"{LOAD}('m', **more)", more={"device_map": "auto"}) == {"device_map": "auto"}
    assert kwargs(f"{LOAD}('m', **{{'device_map': 'auto'}}, **dict(a=1))") == {"device_map": "auto", "a": 1}


def test_configurations_are_read_and_not_made() -> None:
    """As class and arguments; dtypes and devices by their names."""
    source = f"import torch\nconfig = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16)\n{LOAD}('m', quantization_config=config, device_map=torch.device('cuda'))"
    found = kwargs(source)
    assert found["quantization_config"]["__class__"] == "BitsAndBytesConfig"
    assert found["quantization_config"]["load_in_4bit"] is True
    assert found["device_map"] == {"__device__": "cuda"}
    fake = ModuleType("torch")
    fake.float16 = "half"  # type: ignore[attr-defined]
    assert kwargs(f"{LOAD}('m', dtype=torch.float16)", torch=fake) == {"dtype": "half"}


class Loud:
    """Answers questions by running code, which nobody may ask it to."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError("it was run")

    def __call__(self) -> Any:
        raise AssertionError("it was run")


@pytest.mark.parametrize(
    "source",
    [
        f"{LOAD}('m', device_map=loud.where)",
        f"{LOAD}('m', device_map=loud())",
        f"{LOAD}('m', device_map='au' + 'to')",
        f"{LOAD}('m', device_map=unheard)",
        f"where = 'auto'\nwhere = 'cpu'\n{LOAD}('m', device_map=where)",
        f"{LOAD}('m', device_map=where)\nwhere = 'auto'",
        f"for where in ('auto', 'cpu'):\n    {LOAD}('m', device_map=where)",
        f"def load(where): return {LOAD}('m', device_map=where)",
        f"fill(given)\n{LOAD}('m', **given)",
        f"given['device_map'] = 'auto'\n{LOAD}('m', **given)",
        f"given.update(device_map='auto')\n{LOAD}('m', **given)",
        f"{LOAD}(pick(), device_map='auto')",
        f"{LOAD}(7, device_map='auto')",
        f"{LOAD}('m', None, device_map='auto')",
    ],
)
def test_what_only_running_shows_is_not_known(source: str) -> None:
    """Nothing of it is run to find out, and the call is not checked."""
    assert reason(source, loud=Loud(), given={"device_map": "cpu"}, fill=Loud(), pick=Loud())


def test_other_loads_are_left_alone() -> None:
    """Tokenizers, processors, configurations, and peft's, whose model is loaded already."""
    for name in (
        "AutoTokenizer",
        "LlamaTokenizerFast",
        "AutoProcessor",
        "AutoConfig",
        "PeftModel",
        "AutoPeftModelForCausalLM",
        "StableDiffusionPipeline",
        "loader",
    ):
        assert calls(f"x = {name}.from_pretrained('m')", {}) == []

    class NotAModel:
        pass

    assert calls("ThingModel.from_pretrained('m')", {"ThingModel": NotAModel}) == []
    assert only("Qwen2VLForConditionalGeneration.from_pretrained('m')").model == "m"
    assert only("transformers.AutoModel.from_pretrained(pretrained_model_name_or_path='m')").kwargs == {}


@pytest.mark.parametrize(
    "source",
    [
        f"if small:\n    m = {LOAD}('m')",
        f"try:\n    m = {LOAD}('m')\nexcept Exception: pass",
        f"with here():\n    m = {LOAD}('m')",
        f"def f():\n    return {LOAD}('m')",
        f"m = {LOAD}('m') if small else None",
        f"m = small and {LOAD}('m')",
        f"get_ipython().system('pip install x')\nm = {LOAD}('m')",
        f"import os\nos.environ['CUDA_VISIBLE_DEVICES'] = '0'\nm = {LOAD}('m')",
    ],
)
def test_a_call_that_may_not_be_made_as_it_stands(source: str) -> None:
    """It is checked, and stops nothing."""
    assert only(source).unsure


def test_several_calls_come_in_their_order_and_broken_cells_have_none() -> None:
    """What Python cannot read says so itself when it is run."""
    assert [call.model for call in calls(f"a = {LOAD}('a')\nb = {LOAD}('b')", {})] == ["a", "b"]
    assert calls("a = = b", {}) == calls("", {}) == calls("x = 1\0", {}) == []
