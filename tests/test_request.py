"""The call under inspection: live values become records, records plain values, and edits change copies only."""

from __future__ import annotations

import ast
import copy
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvl_preflight import MISSING
from qvl_preflight.exceptions import InputError
from qvl_preflight.plain_names import FLOATING
from qvl_preflight.request import (
    PURPOSES,
    ConfigObject,
    Dtype,
    LiveObject,
    Request,
    TorchDevice,
    device_name,
    is_plain_form,
    make_request,
    show,
    to_plain,
    to_record,
)


class GPTQConfig:
    """Shaped as transformers' own: fields as attributes, and to_dict."""

    def __init__(self, **fields: Any) -> None:
        self.quant_method = "gptq"
        self.__dict__.update(fields)

    def to_dict(self) -> dict[str, Any]:
        """What marks a configuration object."""
        return dict(vars(self))


class BackConfig:
    """Named like a configuration, without being one."""


class Backend(str, Enum):
    """An enumeration as gptqmodel has it."""

    TRITON = "triton"


class Level(Enum):
    """An enumeration of numbers."""

    HIGH = 3


def torch_value(kind: str, text: str) -> Any:
    """An instance of a class that torch is said to define."""
    return type(kind, (), {"__module__": "torch", "__str__": lambda self: text})()


# ── records ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "record"),
    [
        pytest.param(None, None, id="None"),
        pytest.param(True, True, id="a boolean"),
        pytest.param(0, 0, id="a number"),
        pytest.param("auto", "auto", id="a text"),
        pytest.param(Backend.TRITON, "triton", id="an enumeration of texts"),
        pytest.param(Level.HIGH, 3, id="an enumeration of numbers"),
        pytest.param({"": 0, 1: "cpu"}, {"": 0, 1: "cpu"}, id="a dict keeps its keys"),
        pytest.param((1, 2), [1, 2], id="a tuple"),
        pytest.param({7}, [7], id="a set"),
        pytest.param(torch_value("dtype", "torch.float16"), Dtype("float16"), id="a torch.dtype"),
        pytest.param(torch_value("device", "cuda:0"), TorchDevice("cuda:0"), id="a torch.device"),
        pytest.param(torch_value("Tensor", "tensor(1)"), LiveObject("Tensor"), id="another thing of torch's"),
        pytest.param({"": torch_value("device", "cuda:1")}, {"": TorchDevice("cuda:1")}, id="a torch.device inside of a dict"),
        pytest.param(GPTQConfig(bits=4), ConfigObject("GPTQConfig", {"bits": 4}), id="a configuration object, without its method's name"),
        pytest.param(GPTQConfig(exllama_config={"version": Level.HIGH}), ConfigObject("GPTQConfig", {"exllama_config": {"version": 3}}), id="a configuration object's fields are records too"),
        pytest.param(GPTQConfig(_load_in_4bit=True), ConfigObject("GPTQConfig", {"load_in_4bit": True}), id="a field that is kept privately behind a property"),
        pytest.param(BackConfig(), LiveObject("BackConfig"), id="a class that only sounds like a configuration"),
        pytest.param(Path("/data"), LiveObject(type(Path()).__name__), id="any other object"),
        pytest.param({"__class__": "GPTQConfig", "bits": 4}, ConfigObject("GPTQConfig", {"bits": 4}), id="a configuration in plain form"),
        pytest.param({"__dtype__": "float16"}, Dtype("float16"), id="a dtype in plain form"),
        pytest.param({"__device__": "cuda:0"}, TorchDevice("cuda:0"), id="a device in plain form"),
        pytest.param({"__object__": "Accelerator"}, LiveObject("Accelerator"), id="another object in plain form"),
        pytest.param(Dtype("float16"), Dtype("float16"), id="a record stays"),
    ],
)  # fmt: skip
def test_a_value_becomes_a_record(value: Any, record: Any) -> None:
    """Live objects are known by their class and fields; nothing is imported to find out."""
    made = to_record(value)
    assert made == record
    assert type(made) is type(record)


def test_a_dict_is_not_a_configuration_object() -> None:
    """Releases treat GPTQConfig(bits=4) and {"bits": 4} differently, and so do the records."""
    assert to_record({"bits": 4, "quant_method": "gptq"}) == {"bits": 4, "quant_method": "gptq"}


@pytest.mark.parametrize(
    ("record", "plain"),
    [
        pytest.param(ConfigObject("GPTQConfig", {"bits": 4, "dtype": Dtype("float16")}), {"__class__": "GPTQConfig", "bits": 4, "dtype": {"__dtype__": "float16"}}, id="a configuration"),
        pytest.param({"": TorchDevice("cuda:0")}, {"": {"__device__": "cuda:0"}}, id="a device inside of a dict"),
        pytest.param([LiveObject("Accelerator")], [{"__object__": "Accelerator"}], id="an object inside of a list"),
        pytest.param(MISSING, {"__missing__": True}, id="what is not there"),
        pytest.param({0: (1, 2)}, {0: [1, 2]}, id="a tuple"),
    ],
)  # fmt: skip
def test_a_record_becomes_plain(record: Any, plain: Any) -> None:
    """The JSON of the contract."""
    assert to_plain(record) == plain


NAMES = st.text("abc_.", max_size=4).filter(lambda name: not name.startswith("__"))
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=4),
    st.builds(Dtype, st.sampled_from(FLOATING)), st.builds(TorchDevice, NAMES), st.builds(LiveObject, NAMES),
)  # fmt: skip
RECORDS = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(NAMES | st.integers(0, 9), inner, max_size=3)
        | st.builds(ConfigObject, NAMES, st.dictionaries(NAMES, inner, max_size=3))
    ),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None)
@given(RECORDS)
def test_records_survive_the_trip_through_plain_form(record: Any) -> None:
    """to_record undoes to_plain, and leaves a record as it is."""
    assert to_record(to_plain(record)) == record
    assert to_record(record) == record


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        pytest.param({"__class__": "GPTQConfig"}, True, id="a configuration in plain form"),
        pytest.param({"a": [{"b": {"__dtype__": "float16"}}]}, True, id="a dtype in plain form, far in"),
        pytest.param({"__device__": "cpu"}, True, id="a device in plain form"),
        pytest.param({"__object__": "X"}, True, id="an object in plain form"),
        pytest.param(Dtype("float16"), True, id="a record"),
        pytest.param((ConfigObject("GPTQConfig"),), True, id="a record in a tuple"),
        pytest.param({"": 0, "lm_head": "cpu"}, False, id="a device_map"),
        pytest.param("float16", False, id="a text"),
        pytest.param(GPTQConfig(), False, id="a live object"),
        pytest.param([], False, id="an empty list"),
    ],
)
def test_plain_form_is_recognised(value: Any, plain: bool) -> None:
    """It decides in which form corrected kwargs come back; JSON values alone decide nothing."""
    assert is_plain_form(value) is plain


# ── texts ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("record", "text"),
    [
        pytest.param({"": 0, 1: "cpu"}, '{"": 0, 1: "cpu"}', id="a dict"),
        pytest.param([True, None, 0.5], "[True, None, 0.5]", id="a list"),
        pytest.param('say "cheese"', r'"say \"cheese\""', id="quotes within a text"),
        pytest.param(Dtype("float16"), "torch.float16", id="a dtype"),
        pytest.param(TorchDevice("cuda:0"), 'torch.device("cuda:0")', id="a device"),
        pytest.param(LiveObject("Accelerator"), "<Accelerator>", id="an object"),
        pytest.param(MISSING, "MISSING", id="what is not there"),
        pytest.param(ConfigObject("GPTQConfig", {"bits": 4, "backend": "triton", "x": {"a": Dtype("int8")}}), 'GPTQConfig(bits=4, backend="triton", x={"a": torch.int8})', id="a configuration"),
    ],
)  # fmt: skip
def test_a_record_is_shown_as_python(record: Any, text: str) -> None:
    """What a person would type."""
    assert show(record) == text


@settings(max_examples=150, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=6), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3), max_leaves=8))  # fmt: skip
def test_what_is_shown_can_be_typed(value: Any) -> None:
    """Python reads the text as the value, whatever quotes, backslashes and line ends are in it."""
    assert ast.literal_eval(show(value)) == value


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (0, "cuda:0"), ("0", "cuda:0"), ("cuda:1", "cuda:1"), ("cuda", "cuda"), ("cpu", "cpu"), ("disk", "disk"), (TorchDevice("cuda:0"), "cuda:0"),
        (True, None), (None, None), (0.5, None), ({"": 0}, None), (LiveObject("X"), None),
    ],
)  # fmt: skip
def test_devices_have_one_name(value: Any, name: str | None) -> None:
    """Numbers, texts and torch.device alike; True is no device 1."""
    assert device_name(value) == name


# ── the request ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given_", "purpose", "named"),
    [
        pytest.param({}, "inference", False, id="nothing else: inference"),
        pytest.param({"peft": {"r": 8}}, "lora", False, id="an adapter: lora"),
        pytest.param({"peft": {}}, "lora", False, id="an adapter with defaults"),
        pytest.param({"trainer": {}}, "full", False, id="a trainer with defaults: full"),
        pytest.param({"trainer": {}, "peft": {}}, "lora", False, id="both: lora"),
        pytest.param({"purpose": "qlora"}, "qlora", True, id="named"),
        pytest.param({"purpose": "inference", "trainer": {}}, "inference", True, id="a named purpose wins"),
    ],
)
def test_the_purpose_is_named_or_inferred(given_: dict[str, Any], purpose: str, named: bool) -> None:
    """An inferred purpose says that it is one."""
    request = make_request("m", {}, **given_)
    assert (request.purpose, request.purpose_named) == (purpose, named)


@pytest.mark.parametrize(
    ("purpose", "trains"), [("inference", False), ("lora", True), ("qlora", True), ("full", True), ("quantize", False)]
)
def test_which_purposes_train(purpose: str, trains: bool) -> None:
    """Quantising is no training."""
    assert make_request("m", {}, purpose=purpose).trains is trains


def test_an_unknown_purpose_is_refused() -> None:
    """The message lists those that there are."""
    with pytest.raises(InputError) as caught:
        make_request("m", {}, purpose="finetune")
    assert str(caught.value) == f"purpose 'finetune' is not known; expected one of {', '.join(PURPOSES)}"


@pytest.mark.parametrize(("loader", "name"), [(None, None), ("AutoModel", "AutoModel"), (GPTQConfig, "GPTQConfig")])
def test_the_loader_by_its_name(loader: Any, name: str | None) -> None:
    """The class itself or its name."""
    assert make_request("m", {}, loader=loader).loader == name


def test_a_loader_that_is_no_class_is_refused() -> None:
    """One line that says what was expected."""
    with pytest.raises(InputError, match="loader"):
        make_request("m", {}, loader=5)


class TrainingArguments:
    """Shaped as transformers' own."""

    def __init__(self) -> None:
        self.fp16 = True
        self.deepspeed = None
        self.optim = Backend.TRITON
        self._n_gpu = 1


@pytest.mark.parametrize("argument", ["trainer", "peft"])
def test_settings_are_taken_from_objects_and_mappings(argument: str) -> None:
    """Public attributes or keys, as records."""

    def read(settings: Any) -> Any:
        given_: dict[str, Any] = {argument: settings}
        return getattr(make_request("m", {}, **given_), argument)

    assert read(TrainingArguments()) == {"fp16": True, "deepspeed": None, "optim": "triton"}
    assert read({"fp16": True, "optim": Backend.TRITON}) == {"fp16": True, "optim": "triton"}
    assert read({}) == {}
    assert read(None) is None


@pytest.mark.parametrize("argument", ["trainer", "peft"])
@pytest.mark.parametrize("value", ["args.json", 5, [], TrainingArguments], ids=["a text", "a number", "a list", "the class itself"])
def test_settings_of_another_kind_are_refused(argument: str, value: Any) -> None:
    """The message names the argument and the kind."""
    with pytest.raises(InputError, match=f"{argument} is a {type(value).__name__}; expected a mapping or a configuration object"):
        make_request("m", {}, **{argument: value})


@pytest.mark.parametrize(
    ("device_map", "expected"),
    [
        ("cpu", True), (TorchDevice("cpu"), True), ({"": "cpu"}, True), ({"": TorchDevice("cpu")}, True), ({"a": "cpu", "b": "cpu"}, True),
        ({"a": "cpu", "b": "disk"}, False), ({"a": "cpu", "b": 0}, False), ("auto", False), (None, False), ({}, False), (0, False),
    ],
)  # fmt: skip
def test_asking_for_the_cpu(device_map: Any, expected: bool) -> None:
    """Only the whole model, said in so many words."""
    assert Request("m", {"device_map": device_map}).asks_for_cpu is expected


def test_kwargs_become_records_and_are_left_alone() -> None:
    """The person's objects stay theirs."""
    config = GPTQConfig(bits=4)
    kwargs = {"quantization_config": config, "max_memory": {0: "20GiB"}, "device_map": None}
    before = copy.deepcopy(kwargs["max_memory"]), dict(vars(config))
    request = make_request("m", kwargs)
    assert request.kwargs == {
        "quantization_config": ConfigObject("GPTQConfig", {"bits": 4}), "max_memory": {0: "20GiB"}, "device_map": None,
    }  # fmt: skip
    assert kwargs["quantization_config"] is config
    assert (kwargs["max_memory"], vars(config)) == before


# ── edits ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

CALL = {
    "device_map": {"": 0}, "max_memory": {0: "20GiB"}, "quantization_config": ConfigObject("GPTQConfig", {"bits": 4, "exllama_config": {"version": 1}}),
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("device_map", MISSING, id="a kwarg removed"),
        pytest.param("device_map", "auto", id="a kwarg set"),
        pytest.param("torch_dtype", Dtype("float16"), id="a kwarg added"),
        pytest.param("quantization_config.bits", 8, id="a field set"),
        pytest.param("quantization_config.use_exllama", False, id="a field added"),
        pytest.param("quantization_config.bits", MISSING, id="a field removed"),
        pytest.param("quantization_config.absent", MISSING, id="a field removed that was not there"),
        pytest.param("quantization_config.exllama_config.version", 2, id="a value inside of a field"),
        pytest.param("quantization_config.exllama_config.version", MISSING, id="a value inside of a field removed"),
    ],
)
def test_an_edit_changes_one_place_of_a_copy(path: str, value: Any) -> None:
    """The new request has the value at that path and all else as before; the old request, deep down, is as it was."""
    original = Request("m", copy.deepcopy(CALL), purpose="qlora", purpose_named=True)
    edited = original.with_edits({path: value})
    assert edited.get(path) == value
    assert original == Request("m", CALL, purpose="qlora", purpose_named=True)
    assert (edited.model, edited.purpose, edited.purpose_named) == ("m", "qlora", True)
    root = path.split(".")[0]
    assert {key: item for key, item in edited.kwargs.items() if key != root} == {
        key: item for key, item in CALL.items() if key != root
    }
    back = edited.with_edits({path: original.get(path)})
    assert back.kwargs == CALL


def test_several_edits_are_made_in_order() -> None:
    """An object that one edit adds can be filled by the next."""
    edits = {"quantization_config": ConfigObject("GPTQConfig", {}), "quantization_config.bits": 4, "device_map": MISSING}
    assert Request("m", {"device_map": None}).with_edits(edits).kwargs == {
        "quantization_config": ConfigObject("GPTQConfig", {"bits": 4})
    }


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("device_map", {"": 0}), ("quantization_config.bits", 4), ("quantization_config.exllama_config.version", 1),
        ("absent", MISSING), ("quantization_config.absent", MISSING), ("quantization_config.bits.deeper", MISSING), ("absent.deeper", MISSING),
    ],
)  # fmt: skip
def test_a_value_is_found_by_its_path(path: str, value: Any) -> None:
    """MISSING where there is none, however far the path goes on."""
    assert Request("m", CALL).get(path) == value


def test_a_kwarg_of_none_is_not_a_missing_one() -> None:
    """device_map=None was said; leaving it out was not."""
    assert Request("m", {"device_map": None}).get("device_map") is None
    assert Request("m", {}).get("device_map") is MISSING
    assert Request("m", {}).device_map is None


@settings(max_examples=80, deadline=None)
@given(
    kwargs=st.dictionaries(st.sampled_from("abc"), RECORDS, max_size=3),
    key=st.sampled_from("abcd"),
    value=RECORDS | st.just(MISSING),
)
def test_no_edit_mutates_its_request(kwargs: dict[str, Any], key: str, value: Any) -> None:
    """Compared deeply, the request before the edit is the one it was."""
    before = copy.deepcopy(kwargs)
    request = Request("m", kwargs)
    assert request.with_edits({key: value}).get(key) == value
    assert request.kwargs == before
