"""Corrected kwargs come back as they were given: live where they were live, plain where they were plain."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight import MISSING
from qvl_preflight.exceptions import InputError
from qvl_preflight.live import apply_changes, to_live
from qvl_preflight.report import Change
from qvl_preflight.request import ConfigObject, Dtype, LiveObject, Request, TorchDevice, make_request, to_plain, to_record
from qvl_preflight.testing import machine


class GPTQConfig:
    """Shaped as transformers' own."""

    def __init__(self, bits: int = 4, **fields: Any) -> None:
        self.quant_method = "gptq"
        self.bits = bits
        self.__dict__.update(fields)

    def to_dict(self) -> dict[str, Any]:
        """What marks a configuration object."""
        return dict(vars(self))


class BitsAndBytesConfig:
    """Keeps a field privately and checks it when it is set, as transformers' own does."""

    def __init__(self, load_in_4bit: bool = False) -> None:
        self._load_in_4bit = load_in_4bit

    @property
    def load_in_4bit(self) -> bool:
        """The private field."""
        return self._load_in_4bit

    @load_in_4bit.setter
    def load_in_4bit(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise TypeError("load_in_4bit must be a boolean")
        self._load_in_4bit = value

    def to_dict(self) -> dict[str, Any]:
        """What marks a configuration object."""
        return {"load_in_4bit": self.load_in_4bit}


def change(path: str, after: Any) -> tuple[Change, ...]:
    """One change of a call; only path and value matter here."""
    return (Change(path, MISSING, after, "QVL000", "safe", "because"),)


@pytest.fixture
def transformers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A transformers that defines one configuration class, and a torch with a dtype and devices."""
    module = ModuleType("transformers")
    module.GPTQConfig = GPTQConfig  # type: ignore[attr-defined]
    torch = ModuleType("torch")
    torch.float16 = "the dtype float16"  # type: ignore[attr-defined]
    torch.device = lambda name: f"the device {name}"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "transformers", module)
    monkeypatch.setitem(sys.modules, "torch", torch)
    return module


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python in which neither torch nor transformers can be imported."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.setitem(sys.modules, "torch", None)


# ── changes ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kwargs", "path", "after", "fixed"),
    [
        pytest.param({"device_map": None}, "device_map", {"": 0}, {"device_map": {"": 0}}, id="a kwarg set"),
        pytest.param({}, "device_map", "auto", {"device_map": "auto"}, id="a kwarg added"),
        pytest.param({"device_map": "auto", "revision": "main"}, "device_map", MISSING, {"revision": "main"}, id="a kwarg removed"),
        pytest.param({}, "device_map", MISSING, {}, id="a kwarg removed that was not there"),
        pytest.param({"quantization_config": {"bits": 4}}, "quantization_config.bits", 8, {"quantization_config": {"bits": 8}}, id="a key of a dict set"),
        pytest.param({"quantization_config": {"bits": 4}}, "quantization_config.sym", True, {"quantization_config": {"bits": 4, "sym": True}}, id="a key of a dict added"),
        pytest.param({"quantization_config": {"bits": 4, "sym": True}}, "quantization_config.sym", MISSING, {"quantization_config": {"bits": 4}}, id="a key of a dict removed"),
    ],
)  # fmt: skip
def test_a_change_is_made_in_a_copy(bare: None, kwargs: dict[str, Any], path: str, after: Any, fixed: dict[str, Any]) -> None:
    """What was passed in stays as it was, deep down, and JSON values need no library."""
    before = copy.deepcopy(kwargs)
    assert apply_changes(kwargs, change(path, after)) == fixed
    assert kwargs == before


def test_no_change_hands_the_same_objects_back(bare: None) -> None:
    """Whatever was live comes back itself, in a dict of its own."""
    config, hook = GPTQConfig(), object()
    kwargs = {"quantization_config": config, "hook": hook}
    fixed = apply_changes(kwargs, ())
    assert fixed == kwargs
    assert fixed is not kwargs
    assert fixed["quantization_config"] is config


def test_a_live_object_is_copied_and_the_copy_changed(bare: None) -> None:
    """The person's own GPTQConfig keeps its fields; what comes back is a GPTQConfig, with the others as they were."""
    tokenizer = object()
    config = GPTQConfig(bits=4, use_exllama=True, tokenizer=tokenizer)
    before = dict(vars(config))
    fixed = apply_changes({"quantization_config": config}, change("quantization_config.use_exllama", False))["quantization_config"]
    assert type(fixed) is GPTQConfig
    assert vars(fixed) == {**before, "use_exllama": False}
    assert vars(config) == before
    assert vars(fixed)["tokenizer"] is tokenizer


def test_a_field_removed_from_a_live_object_is_none(bare: None) -> None:
    """Attributes have no way to be absent: None is what they default to."""
    config = GPTQConfig(bits=4, backend="exllama_v2")
    fixed = apply_changes({"quantization_config": config}, change("quantization_config.backend", MISSING))["quantization_config"]
    assert fixed.backend is None
    assert config.backend == "exllama_v2"  # type: ignore[attr-defined]


def test_a_field_behind_a_property_is_set_through_it(bare: None) -> None:
    """A private attribute is called in records what the property is called, and is changed in the copy only."""
    config = BitsAndBytesConfig(load_in_4bit=True)
    assert to_record(config) == ConfigObject("BitsAndBytesConfig", {"load_in_4bit": True})
    fixed = apply_changes({"quantization_config": config}, change("quantization_config.load_in_4bit", False))["quantization_config"]
    assert (fixed.load_in_4bit, config.load_in_4bit) == (False, True)


@pytest.mark.parametrize("form", ["live", "plain", "record"])
def test_a_value_inside_of_a_field_is_changed_there(bare: None, form: str) -> None:
    """A path of three names means the same here as in Request.with_edits, and nothing of the original is touched."""
    config: Any = {
        "live": GPTQConfig(bits=4, exllama_config={"version": 1}),
        "plain": {"__class__": "GPTQConfig", "bits": 4, "exllama_config": {"version": 1}},
        "record": ConfigObject("GPTQConfig", {"bits": 4, "exllama_config": {"version": 1}}),
    }[form]
    kwargs = {"quantization_config": config}
    fixed = apply_changes(kwargs, change("quantization_config.exllama_config.version", 2))
    expected = make_request("m", kwargs).with_edits({"quantization_config.exllama_config.version": 2})
    assert expected.get("quantization_config.exllama_config.version") == 2
    assert make_request("m", fixed) == expected
    assert make_request("m", kwargs).get("quantization_config.exllama_config.version") == 1


def test_plain_form_stays_plain(bare: None) -> None:
    """Where some input was plain, what is added is plain too: no library is needed."""
    kwargs = {"quantization_config": {"__class__": "GPTQConfig", "bits": 4}}
    changes = change("quantization_config.use_exllama", False) + change("torch_dtype", Dtype("float16"))
    assert apply_changes(kwargs, changes) == {
        "quantization_config": {"__class__": "GPTQConfig", "bits": 4, "use_exllama": False}, "torch_dtype": {"__dtype__": "float16"},
    }  # fmt: skip
    assert kwargs == {"quantization_config": {"__class__": "GPTQConfig", "bits": 4}}


@pytest.mark.parametrize(("after", "fields"), [(8, {"bits": 8}), (MISSING, {})], ids=["a field set", "a field removed"])
def test_records_stay_records(bare: None, after: Any, fields: dict[str, Any]) -> None:
    """A ConfigObject that was passed in is copied with the change."""
    config = ConfigObject("GPTQConfig", {"bits": 4})
    assert apply_changes({"quantization_config": config}, change("quantization_config.bits", after)) == {
        "quantization_config": ConfigObject("GPTQConfig", fields)
    }
    assert config == ConfigObject("GPTQConfig", {"bits": 4})


def test_changes_are_made_in_order(bare: None) -> None:
    """An object that one change adds can be filled by the next."""
    kwargs = {"torch_dtype": {"__dtype__": "float16"}}
    changes = change("quantization_config", ConfigObject("GPTQConfig", {"bits": 4})) + change(
        "quantization_config.backend", "auto_trainable"
    )
    fixed = apply_changes(kwargs, changes)
    assert fixed["quantization_config"] == {"__class__": "GPTQConfig", "bits": 4, "backend": "auto_trainable"}


def test_live_kwargs_get_live_objects(transformers: ModuleType) -> None:
    """Where nothing was plain, a configuration that must be added is made, and so is a dtype."""
    changes = change("quantization_config", ConfigObject("GPTQConfig", {"bits": 8, "dtype": Dtype("float16")})) + change(
        "torch_dtype", Dtype("float16")
    )
    fixed = apply_changes({"device_map": "auto"}, changes)
    assert isinstance(fixed["quantization_config"], GPTQConfig)
    assert vars(fixed["quantization_config"]) == {"quant_method": "gptq", "bits": 8, "dtype": "the dtype float16"}
    assert fixed["torch_dtype"] == "the dtype float16"


def test_what_cannot_be_made_comes_in_plain_form(bare: None) -> None:
    """Without torch and transformers a call of JSON values still is corrected; the objects to be added are described."""
    changes = change("quantization_config", ConfigObject("GPTQConfig", {"bits": 4})) + change("torch_dtype", Dtype("float16"))
    assert apply_changes({"device_map": "auto"}, changes) == {
        "device_map": "auto", "quantization_config": {"__class__": "GPTQConfig", "bits": 4}, "torch_dtype": {"__dtype__": "float16"},
    }  # fmt: skip


def test_what_the_installed_release_cannot_make_comes_in_plain_form(transformers: ModuleType) -> None:
    """A class that this transformers lacks, or that refuses its fields, does not lose the other corrections."""
    changes = change("quantization_config", ConfigObject("NoSuchConfig", {"bits": 4})) + change("device_map", {"": 0})
    assert apply_changes({}, changes) == {"quantization_config": {"__class__": "NoSuchConfig", "bits": 4}, "device_map": {"": 0}}


def test_who_gets_plain_form_without_asking_is_told(bare: None, checkpoints: Path) -> None:
    """from_pretrained does not take it: what to pass in its place is said wherever the corrected call is shown."""
    call: dict[str, Any] = {"purpose": "qlora", "facts": machine("a100", "legacy"), "device_map": {"": 0}}
    fixed = qvl_preflight.fix_kwargs(str(checkpoints / "Qwen/Qwen2-7B-Instruct-GPTQ-Int4"), **call)
    assert fixed["quantization_config"]["__class__"] == "GPTQConfig"
    assert fixed.in_plain_form == ("quantization_config",)
    (note,) = (note for note in fixed.remaining.notes if "plain form" in note)
    assert note.startswith(
        "quantization_config is in plain form, since its object cannot be made in this environment; pass GPTQConfig(bits=4"
    )
    assert repr(fixed).endswith("in plain form: quantization_config)")
    assert "plain form" in fixed.text()
    asked = qvl_preflight.fix_kwargs(
        str(checkpoints / "Qwen/Qwen2-7B-Instruct-GPTQ-Int4"), **call, torch_dtype={"__dtype__": "float16"}
    )
    assert asked["quantization_config"]["__class__"] == "GPTQConfig"
    assert asked.in_plain_form == ()
    assert not any("plain form" in note for note in asked.remaining.notes)


def test_a_live_call_holds_nothing_in_plain_form(transformers: ModuleType, checkpoints: Path) -> None:
    fixed = qvl_preflight.fix_kwargs(
        str(checkpoints / "Qwen/Qwen2-7B-Instruct-GPTQ-Int4"), purpose="qlora", facts=machine("a100", "legacy"), device_map={"": 0}
    )
    assert isinstance(fixed["quantization_config"], GPTQConfig)
    assert (fixed.in_plain_form, "plain form" in repr(fixed)) == ((), False)


def test_the_changed_call_is_the_edited_request(bare: None) -> None:
    """What apply_changes returns, read again, is what Request.with_edits computed."""
    kwargs = {"device_map": None, "quantization_config": {"__class__": "GPTQConfig", "bits": 4, "disable_exllama": True}}
    edits = {"device_map": {"": 0}, "quantization_config.disable_exllama": MISSING, "quantization_config.use_exllama": False}
    fixed = apply_changes(kwargs, tuple(item for path, after in edits.items() for item in change(path, after)))
    assert make_request("m", fixed) == make_request("m", kwargs).with_edits(edits)
    assert isinstance(make_request("m", fixed), Request)


# ── records made live ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("record", "value"),
    [
        pytest.param({"": 0}, {"": 0}, id="JSON values stay"),
        pytest.param(["auto", None], ["auto", None], id="lists stay"),
        pytest.param({"torch_dtype": Dtype("float16")}, {"torch_dtype": "the dtype float16"}, id="a dtype inside of a dict"),
        pytest.param([TorchDevice("cuda:0")], ["the device cuda:0"], id="a device inside of a list"),
    ],
)
def test_records_become_what_they_stand_for(transformers: ModuleType, record: Any, value: Any) -> None:
    """torch's own values, however far in."""
    assert to_live(record) == value


@pytest.mark.parametrize(
    ("record", "module"),
    [
        pytest.param(ConfigObject("GPTQConfig", {"bits": 4}), "transformers", id="a configuration"),
        pytest.param(Dtype("float16"), "torch", id="a dtype"),
        pytest.param(TorchDevice("cuda:0"), "torch", id="a device"),
    ],
)
def test_a_library_that_is_not_there_is_an_input_error(bare: None, record: Any, module: str) -> None:
    """The message says what had to be made, what is missing, and the way around."""
    with pytest.raises(InputError) as caught:
        to_live(record)
    message = str(caught.value)
    assert message.startswith(f"{record} has to be made, and {module} cannot be imported here")
    assert "pass the call in plain form" in message
    assert "\n" not in message


def test_an_object_known_by_its_class_alone_cannot_be_made(bare: None) -> None:
    """It is refused in words, not made empty."""
    with pytest.raises(InputError, match=r"^<Accelerator> is known by its class alone and cannot be made anew$"):
        to_live(LiveObject("Accelerator"))


@pytest.mark.parametrize("record", [ConfigObject("NoSuchConfig", {}), Dtype("float999")], ids=["a configuration", "a dtype"])
def test_a_name_that_the_installed_release_lacks_is_an_input_error(transformers: ModuleType, record: Any) -> None:
    """A class of another release, or a typing mistake, is named in one line."""
    with pytest.raises(InputError) as caught:
        to_live(record)
    assert str(record) in str(caught.value)


def test_fields_that_the_installed_class_refuses_are_an_input_error(transformers: ModuleType) -> None:
    """A field of another release is named in one line with its object, and the class's own words."""
    record = ConfigObject("GPTQConfig", {"bits": 4, "quantizer": 1})

    class Strict(GPTQConfig):
        """Takes no field that it does not know."""

        def __init__(self, bits: int = 4) -> None:
            super().__init__(bits)

    transformers.GPTQConfig = Strict  # type: ignore[attr-defined]
    with pytest.raises(InputError) as caught:
        to_live(record)
    assert str(record) in str(caught.value)
    assert "unexpected keyword argument 'quantizer'" in str(caught.value)


def test_live_and_plain_meet_in_the_record(transformers: ModuleType) -> None:
    """What is made live reads back as the record that it was made from."""
    record = ConfigObject("GPTQConfig", {"bits": 8, "use_exllama": False})
    assert to_record(to_live(record)) == record
    assert to_record(to_plain(record)) == record
