"""Facts: JSON in, JSON out, without losing what is unknown or why; and what is installed, three-valued."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qvl_preflight.exceptions import InputError
from qvl_preflight.facts import (
    SCHEMA,
    Build,
    Driver,
    Facts,
    Gpu,
    Host,
    Launch,
    Nvidia,
    Packages,
    Process,
    Python,
    Slice,
    Torch,
    field_names,
)  # fmt: skip
from qvl_preflight.unknown import Undecided, Unknown

WHY = Unknown("nobody could tell")
UNSAID: Any = object()  # in the tables: whatever the field is where nobody said anything


def through_json(facts: Facts) -> Facts:
    """The facts after a trip through text."""
    return Facts.from_dict(json.loads(json.dumps(facts.to_dict())))


# ── what JSON says ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_said_is_nothing_known() -> None:
    """Every section of an empty object is unknown; the list of packages would be complete, were it there."""
    facts = Facts.from_dict({})
    assert all(isinstance(getattr(facts, name), Unknown) for name in field_names())
    assert facts.packages_complete is True
    assert facts == Facts()


@pytest.mark.parametrize("record", [Python, Torch, Driver, Launch, Host, Build, lambda: Gpu(0)])
def test_a_field_of_which_nothing_was_said_is_unknown(record: Any) -> None:
    """Every field but a device's index has a default, and that default is Unknown with a reason."""
    values = {name: value for name, value in vars(record()).items() if name != "index"}
    assert values
    assert all(isinstance(value, Unknown) and value.reason for value in values.values())


@pytest.mark.parametrize("section", field_names())
def test_null_and_a_missing_section_are_the_same(section: str) -> None:
    """Unknown, not absent."""
    assert Facts.from_dict({section: None}) == Facts.from_dict({}) == Facts()


@pytest.mark.parametrize(
    ("body", "path", "value"),
    [
        pytest.param({"torch": {"cuda_build": False}}, "torch.cuda_build", False, id="a torch without CUDA"),
        pytest.param({"torch": {"cuda_build": "12.1"}}, "torch.cuda_build", "12.1", id="a torch for CUDA 12.1"),
        pytest.param({"torch": {"cuda_build": None}}, "torch.cuda_build", UNSAID, id="a torch of which nobody knows"),
        pytest.param({"torch": {}}, "torch.hip_build", UNSAID, id="a field that is not there"),
        pytest.param({"build": {"nvcc": False}}, "build.nvcc", False, id="no nvcc"),
        pytest.param({"build": {"network": None}}, "build.network", UNSAID, id="a network that was not tried"),
        pytest.param({"build": {"network": False}}, "build.network", False, id="no network"),
        pytest.param({"launch": {"deepspeed_zero": False}}, "launch.deepspeed_zero", False, id="no DeepSpeed"),
        pytest.param({"launch": {"deepspeed_zero": 3}}, "launch.deepspeed_zero", 3, id="ZeRO-3"),
        pytest.param({"launch": {"deepspeed_zero": None}}, "launch.deepspeed_zero", UNSAID, id="a stage that nobody knows"),
        pytest.param({"launch": {"rank": 0}}, "launch.rank", 0, id="rank 0 is known"),
        pytest.param({"torch": {"arch_list": []}}, "torch.arch_list", (), id="an empty list is known to be empty"),
        pytest.param(
            {"torch": {"arch_list": ["sm_80", "sm_90"]}}, "torch.arch_list", ("sm_80", "sm_90"), id="lists are tuples inside"
        ),
        pytest.param({"gpus": []}, "gpus", (), id="no GPUs"),
        pytest.param({"env": {}}, "env", {}, id="an environment without any of the names"),
    ],
)
def test_null_is_not_false_and_not_empty(body: dict[str, Any], path: str, value: Any) -> None:
    """False and empty are knowledge, null is the lack of it."""
    *sections, name = path.split(".")
    found: Any = Facts.from_dict(body)
    for section in sections:
        found = getattr(found, section)
    default = getattr(type(found)(), name)
    value, found = default if value is UNSAID else value, getattr(found, name)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("body", "driver"),
    [
        pytest.param({"driver": None, "gpus": []}, None, id="null beside no GPUs: there is none"),
        pytest.param({"driver": None}, UNSAID, id="null alone: unknown"),
        pytest.param({"gpus": []}, UNSAID, id="no GPUs alone: unknown"),
        pytest.param({"driver": None, "gpus": None}, UNSAID, id="null beside unknown GPUs: unknown"),
        pytest.param({"driver": None, "gpus": [{"index": 0}]}, UNSAID, id="null beside a GPU: unknown"),
        pytest.param({"driver": {"version": "535.104.05"}, "gpus": []}, Driver("535.104.05"), id="a driver without GPUs"),
        pytest.param({"driver": None, "gpus": [], "unknown": {"driver": "nobody could tell"}}, WHY, id="null with its reason: unknown"),
    ],
)  # fmt: skip
def test_no_driver_is_spelt_out(body: dict[str, Any], driver: Any) -> None:
    """A machine without an NVIDIA driver says ``driver: null`` next to ``gpus: []``, and in no other way."""
    assert Facts.from_dict(body).driver == (Facts().driver if driver is UNSAID else driver)


@pytest.mark.parametrize("section", field_names())
def test_the_reason_of_an_unknown_section_is_kept(section: str) -> None:
    """Whatever type the section has, null with a reason is Unknown with that reason."""
    assert getattr(Facts.from_dict({section: None, "unknown": {section: "nobody could tell"}}), section) == WHY


@pytest.mark.parametrize("section", field_names())
def test_the_reason_of_a_section_that_is_not_there_is_kept(section: str) -> None:
    """A missing key is the same as null, its reason included."""
    assert getattr(Facts.from_dict({"unknown": {section: "nobody could tell"}}), section) == WHY


def test_the_reasons_of_unknown_fields_are_kept() -> None:
    """Reasons go by dotted path, list positions and package names included; other fields are not touched."""
    raw = {
        "torch": {"cuda_build": None, "hip_build": False}, "gpus": [{"index": 0}, {"index": 1, "free_bytes": None}], "packages": {"ruamel.yaml": None},
        "unknown": {"torch.cuda_build": "nobody could tell", "gpus.1.free_bytes": "nobody could tell", "packages.ruamel.yaml": "nobody could tell"},
    }  # fmt: skip
    facts = Facts.from_dict(raw)
    assert facts.torch == Torch(cuda_build=WHY, hip_build=False)
    assert facts.gpus == (Gpu(0), Gpu(1, free_bytes=WHY))
    assert facts.packages == {"ruamel.yaml": WHY}


@pytest.mark.parametrize("mapping", ["packages", "extensions"])
def test_a_null_member_is_unknown_not_absent(mapping: str) -> None:
    """A name that is listed with null is a question without an answer; dropping it would be an answer."""
    found = getattr(Facts.from_dict({mapping: {"exllama_kernels": None}}), mapping)
    assert list(found) == ["exllama_kernels"]
    assert isinstance(found["exllama_kernels"], Unknown)


def test_reasons_are_written_beside_the_nulls() -> None:
    """What was never said has no reason to give."""
    facts = Facts(torch=Torch("12.1", WHY), driver=WHY, gpus=(Gpu(0, mig=WHY),), packages={"peft": WHY})
    written = facts.to_dict()
    assert written["schema"] == SCHEMA
    assert written["torch"] == {
        "cuda_build": "12.1",
        "hip_build": None,
        "arch_list": None,
        "current_device": None,
        "xpu_build": None,
        "device_count": None,
    }
    assert written["packages"] == {"peft": None}
    assert written["driver"] is None
    assert written["unknown"] == dict.fromkeys(("torch.hip_build", "driver", "gpus.0.mig", "packages.peft"), "nobody could tell")


def test_what_is_added_later_is_no_mistake() -> None:
    """Facts written by a newer release hold sections that this one does not know."""
    assert Facts.from_dict({"world": {"ranks": []}, "host": {"numa_nodes": 2, "cpu_count": 4}}).host == Host(cpu_count=4)


# ── what does not fit ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def refused(raw: Any, origin: str = "facts.json") -> str:
    """The one line with which facts are refused."""
    with pytest.raises(InputError) as caught:
        Facts.from_dict(raw, origin)
    message = str(caught.value)
    assert message.startswith(f"{origin}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        pytest.param({"torch": "2.1"}, 'torch is "2.1"', id="a section that is a text"),
        pytest.param({"torch": ["12.1"]}, 'torch is ["12.1"]', id="a section that is a list"),
        pytest.param({"gpus": "A100"}, 'gpus is "A100"', id="devices that are a text"),
        pytest.param({"gpus": [None]}, "gpus.0 is null", id="a device that is null"),
        pytest.param({"gpus": [{"index": 0}, {"name": "A100"}]}, "gpus.1 is", id="a device without its index"),
        pytest.param({"gpus": [{"index": 0}, {"index": "two"}]}, 'gpus.1.index is "two"', id="an index that is a word"),
        pytest.param({"gpus": [{"index": 0, "total_bytes": "80GiB"}]}, 'gpus.0.total_bytes is "80GiB"', id="bytes with a unit"),
        pytest.param({"gpus": [{"index": 0, "capability": [8]}]}, "gpus.0.capability", id="half of a capability"),
        pytest.param({"gpus": [{"index": 0, "mig": "perhaps"}]}, 'gpus.0.mig is "perhaps"', id="a yes or no that is neither"),
        pytest.param({"python": {"version": ["3.11"]}}, "python.version", id="a version that is a list"),
        pytest.param({"packages": {"torch": ["2.1"]}}, "packages.torch", id="a package's version that is a list"),
        pytest.param({"packages": {"torch": True}}, "packages.torch", id="a package that is true"),
        pytest.param({"packages": ["torch"]}, "packages is", id="packages that are a list"),
        pytest.param({"packages_complete": "perhaps"}, "packages_complete is", id="completeness that is a word"),
        pytest.param({"env": {"HOME": ["x"]}}, "env.HOME is", id="a variable that is a list"),
        pytest.param({"host": {"cpu_count": {"a": 1}}}, "host.cpu_count", id="a number that is an object"),
        pytest.param({"host": {"cpu_flags": 5}}, "host.cpu_flags", id="a list that is a number"),
        pytest.param({"launch": {"deepspeed_zero": "three"}}, "launch.deepspeed_zero", id="a stage that is a word"),
        pytest.param(
            {"extensions": {"exllama_kernels": "perhaps"}}, "extensions.exllama_kernels", id="an extension that is a word"
        ),
        pytest.param({"unknown": ["torch"], "torch": None}, "unknown", id="reasons that are a list"),
        pytest.param({"unknown": 5, "torch": None}, "unknown", id="reasons that are a number"),
        pytest.param({"unknown": {"torch": ["x"]}, "torch": None}, "unknown.torch", id="a reason that is a list"),
    ],
)
def test_a_field_that_does_not_fit_is_named(raw: dict[str, Any], named: str) -> None:
    """One line: the file, the field by its dotted path, and what stands there."""
    assert named in refused(raw)


@pytest.mark.parametrize(("raw", "kind"), [([], "list"), ("{}", "str"), (None, "NoneType"), (4, "int")])
def test_facts_that_are_no_object_are_refused(raw: Any, kind: str) -> None:
    """The message says what was found instead."""
    assert refused(raw) == f"facts.json: facts are a JSON object, this is {kind}"


@pytest.mark.parametrize("schema", ["qvl-preflight/facts/2", "qvl-preflight/report/1", None, 1])
def test_another_schema_is_refused(schema: Any) -> None:
    """The message names both schemas and how to write this one."""
    message = refused({"schema": schema, "gpus": []})
    assert f"schema {schema!r} is not {SCHEMA!r}" in message
    assert "doctor --save" in message


def test_facts_without_a_schema_are_taken() -> None:
    """A few lines written by hand need not name it."""
    assert Facts.from_dict({"packages": {"torch": "2.1.2"}}).packages == {"torch": "2.1.2"}


def test_facts_are_loaded_from_a_file(tmp_path: Path) -> None:
    """What doctor saves is what load reads."""
    path = tmp_path / "facts.json"
    facts = Facts(python=Python("3.11.7"), gpus=(), driver=None)
    path.write_text(json.dumps(facts.to_dict()), encoding="utf-8")
    assert Facts.load(str(path)) == facts


@pytest.mark.parametrize("content", [None, b"", b"{'a': 1}", b"\xff\xfe{}", b"[" * 100_000], ids=["missing", "empty", "Python", "no UTF-8", "nested beyond reason"])  # fmt: skip
def test_a_file_that_is_no_json_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """One line that names the file and the command that writes one."""
    path = tmp_path / "facts.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        Facts.load(str(path))
    assert str(caught.value).startswith(f"{path}: not readable as JSON facts (")
    assert "doctor --save" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_whose_field_does_not_fit_is_named(tmp_path: Path) -> None:
    """The path of the file stands before the field."""
    path = tmp_path / "facts.json"
    path.write_text(json.dumps({"schema": SCHEMA, "gpus": "A100"}), encoding="utf-8")
    with pytest.raises(InputError, match="gpus is") as caught:
        Facts.load(str(path))
    assert str(caught.value).startswith(f"{path}: ")


# ── there and back ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

TEXT = st.text(max_size=6)
SIZE = st.integers(min_value=0, max_value=2**62)
UNKNOWN = st.builds(Unknown, TEXT)
RELEASE = st.sampled_from(("12.1", "13", "580.95.05"))
COUNT, YES_OR_NO, WORDS = st.integers(0, 9), st.booleans(), st.lists(TEXT, max_size=2).map(tuple)


def record(kind: Any, required: dict[str, Any] | None = None, **values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Instances of a dataclass, each field known, unknown for a reason, or not said at all."""
    optional = {name: value | UNKNOWN for name, value in values.items()}
    return st.fixed_dictionaries(required or {}, optional=optional).map(lambda given_: kind(**given_))


def mapping(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Names to values; names hold dots and dashes as distributions' do."""
    return st.dictionaries(st.text("ab.-_0", min_size=1, max_size=5), values, max_size=3)


GPU = record(
    Gpu,
    {"index": st.integers(0, 7)},
    uuid=TEXT,
    name=TEXT,
    capability=st.tuples(COUNT, COUNT),
    total_bytes=SIZE,
    free_bytes=SIZE,
    mig=YES_OR_NO,
    slices=st.lists(record(Slice, uuid=TEXT, name=TEXT, total_bytes=SIZE, free_bytes=SIZE), max_size=2).map(tuple),
    bus_id=TEXT,
    compute_mode=TEXT,
    processes=st.lists(record(Process, {"pid": COUNT}, name=TEXT, used_bytes=SIZE), max_size=2).map(tuple),
    ecc_errors=st.integers(1, 9) | st.just(False),
    row_remap=TEXT,
)
NVIDIA = record(
    Nvidia, kernel_module=RELEASE | st.just(False), libcuda=TEXT | st.just(False), nodes=WORDS, locked_nodes=WORDS, nvml_error=st.integers(1, 9) | st.just(False),
    lost=st.lists(COUNT, max_size=2).map(tuple), cards=COUNT, bound_to=TEXT, secure_boot=YES_OR_NO,
)  # fmt: skip
DRIVER = record(Driver, version=TEXT, cuda=RELEASE)
# JSON has one way to say that there is no driver, and that way takes an empty list of GPUs: the two are drawn together.
DRIVER_AND_GPUS = st.one_of(
    st.fixed_dictionaries({"driver": st.none() | DRIVER | UNKNOWN, "gpus": st.just(())}),
    st.fixed_dictionaries(
        {}, optional={"driver": DRIVER | UNKNOWN, "gpus": UNKNOWN | st.lists(GPU, min_size=1, max_size=2).map(tuple)}
    ),
)
OTHERS = record(
    dict,
    python=record(Python, version=TEXT, implementation=TEXT, platform=TEXT, environment=TEXT),
    packages=mapping(TEXT | st.just(False) | UNKNOWN),
    torch=record(Torch, cuda_build=RELEASE | st.just(False), hip_build=TEXT | st.just(False), arch_list=WORDS, current_device=COUNT, xpu_build=TEXT | st.just(False), device_count=COUNT),
    env=mapping(TEXT),
    launch=record(
        Launch, launcher=TEXT, world_size=COUNT, rank=COUNT, local_rank=COUNT, local_world_size=COUNT, notebook=YES_OR_NO,
        deepspeed_zero=st.integers(1, 3) | st.just(False), fsdp=YES_OR_NO,
    ),
    host=record(Host, cpu_count=COUNT, ram_total_bytes=SIZE, ram_available_bytes=SIZE, disk_free_bytes=SIZE, cpu_flags=WORDS, container=TEXT | st.just(False), service=TEXT | st.just(False), other_gpus=WORDS),
    packages_duplicates=mapping(WORDS),
    nvidia=NVIDIA,
    env_misspelt=mapping(TEXT),
    env_late=mapping(TEXT),
    build=record(Build, nvcc=TEXT | st.just(False), cxx=YES_OR_NO, ninja=YES_OR_NO, network=YES_OR_NO, cutlass=YES_OR_NO),
    extensions=mapping(YES_OR_NO | UNKNOWN),
)  # fmt: skip
ALL_FACTS = st.builds(
    lambda devices, others, complete: Facts(**devices, **others, packages_complete=complete), DRIVER_AND_GPUS, OTHERS, st.booleans()
)


@settings(max_examples=80, deadline=None)
@given(ALL_FACTS)
def test_facts_survive_the_trip_through_json(facts: Facts) -> None:
    """from_dict(to_dict()) is the identity, down to false and null and the reason of every unknown value."""
    again = through_json(facts)
    assert again == facts
    assert json.dumps(again.to_dict()) == json.dumps(facts.to_dict())


@pytest.mark.parametrize("text", ["", "12.", "CUDA 12.1", "12.1\n", "-1", "１２", "9" * 10])
@pytest.mark.parametrize("path", ["driver.cuda", "torch.cuda_build", "nvidia.kernel_module"])
def test_a_release_that_is_none_is_refused(path: str, text: str) -> None:
    """What rules count with is numbers; said where it is read, not met as a crash later."""
    section, _, name = path.partition(".")
    with pytest.raises(InputError, match=f"{path} is .*expected a text such as 12.2"):
        Facts.from_dict({section: {name: text}})


# ── what is installed ───────────────────────────────────────────────────────────────────────────────────────────────────────────

LISTED: dict[str, str | Literal[False] | Unknown] = {"torch": "2.1.2+cu121", "peft": False, "optimum": WHY, "accelerate": "main"}
COMPLETE, PARTIAL = Packages(Facts(packages=LISTED)), Packages(Facts(packages=LISTED, packages_complete=False))
UNLISTED = Packages(Facts(packages=WHY))


@pytest.mark.parametrize(
    ("packages", "name", "version", "release"),
    [
        pytest.param(COMPLETE, "torch", "2.1.2+cu121", (2, 1, 2), id="installed"),
        pytest.param(COMPLETE, "peft", None, None, id="said not to be installed"),
        pytest.param(COMPLETE, "trl", None, None, id="not in a complete list"),
        pytest.param(PARTIAL, "torch", "2.1.2+cu121", (2, 1, 2), id="installed, in a partial list"),
        pytest.param(PARTIAL, "peft", None, None, id="said not to be installed, in a partial list"),
    ],
)
def test_a_package_of_which_is_known(packages: Packages, name: str, version: str | None, release: tuple[int, ...] | None) -> None:
    """Its version and release, None for both where it is known to be absent."""
    assert packages.version(name) == version
    assert packages.release(name) == release
    assert packages.has(name) is (version is not None)


@pytest.mark.parametrize(
    ("packages", "name", "reason"),
    [
        pytest.param(PARTIAL, "trl", "whether trl is installed, and in which version, is not known", id="not in a partial list"),
        pytest.param(COMPLETE, "optimum", "nobody could tell", id="listed without an answer"),
        pytest.param(UNLISTED, "torch", "nobody could tell", id="no list at all"),
    ],
)
def test_a_package_of_which_nothing_is_known(packages: Packages, name: str, reason: str) -> None:
    """Every question about it is undecided, for the reason that the facts give."""
    for ask in (packages.version, packages.release, packages.has):
        with pytest.raises(Undecided) as caught:
            ask(name)
        assert caught.value.reason == reason


def test_a_version_that_is_none_leaves_the_release_undecided() -> None:
    """The distribution is installed, in a version that cannot be compared."""
    assert COMPLETE.has("accelerate")
    with pytest.raises(Undecided, match="accelerate has the version 'main', which is not a version number"):
        COMPLETE.release("accelerate")


def test_a_null_package_in_json_is_undecided() -> None:
    """Null is unknown for packages too, however complete the list is."""
    with pytest.raises(Undecided):
        Packages(Facts.from_dict({"packages": {"torch": None}, "packages_complete": True})).version("torch")


@pytest.mark.parametrize(
    ("name", "release", "reached"),
    [
        ("torch", (2, 1), True),
        ("torch", (2, 1, 2), True),
        ("torch", (2, 1, 3), False),
        ("torch", (3,), False),
        ("peft", (0, 1), False),
    ],
)
def test_a_release_that_is_reached(name: str, release: tuple[int, ...], reached: bool) -> None:
    """A release reaches itself and all before it; what is not installed reaches none."""
    assert COMPLETE.at_least(name, *release) is reached
