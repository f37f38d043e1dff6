"""Facts that fit their types and make no sense: from another machine, from a later release, from a person's hand. Nothing breaks on them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import qvl_preflight
from qvl_preflight.exceptions import InputError
from qvl_preflight.facts import SCHEMA, Facts
from qvl_preflight.probes.launch import ALLOWED
from qvl_preflight.render.layout import fixed_lines, plain
from qvl_preflight.sections import RELEASE
from qvl_preflight.unknown import Unknown

# Words that rules look for, beside any text: a text that means nothing is passed over.
WORDS = (
    "", "2.14.1", "2.1.2+cu121", "2.5.1+cpu", "4.37.2", "12", "12.1", "13.0", "cuda", "-1", "0", "0,1", "1,,0", "00", "0-3", "GPU-", "MIG-1", "NoDevFiles", "linux-x86_64",
    "win-amd64", "macos-arm64", "linux-x86_64-wsl", "torchrun", "accelerate", "slurm", "python", "notebook", "docker", "colab", "amd", "sm_", "sm_90", "sm_900", "compute_120",
    "nvidia0", "nvidiactl", "dxg", "exclusive-process", "prohibited", "pending", "failed", "nouveau", "PCI_BUS_ID", "user site", "conda", "not a version", "1!2.0", "580.95.05",
    "/usr/lib/libcuda.so.580.95.05", "/stubs/", "libcuda.so.999.9.compat",
)  # fmt: skip
TEXTS = st.sampled_from(WORDS) | st.text(max_size=5)
RELEASES = st.sampled_from((None, False, "0", "11", "12.1", "13.0", "580.95.05")) | st.from_regex(RELEASE, fullmatch=True)
NUMBERS = st.sampled_from((0, 1, 2, -1, 3, 9, 18, 999, 8, 12, 80 * 2**30, 2**70)) | st.integers(-3, 20)
NAMES = {"packages": ("torch", "transformers", "accelerate", "optimum", "auto-gptq", "gptqmodel", "peft", "bitsandbytes", "torch-npu", "triton"), "env": ALLOWED}  # fmt: skip


def values(kind: Any, name: str = "") -> st.SearchStrategy[Any]:
    """JSON that fits a type of the facts."""
    outer, inner = get_origin(kind), get_args(kind)
    if kind is Unknown or kind is type(None):
        return st.none()
    if outer in (Union, UnionType):
        return st.one_of([values(each, name) for each in inner])
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        required = {"index", "pid"} & hints.keys()
        given = {f.name: values(hints[f.name], f.name) for f in fields(kind) if f.name != "unknown"}
        given |= {f.name: RELEASES if get_args(hints[f.name])[1] is not Unknown else RELEASES.filter(lambda value: value is not False) for f in fields(kind) if "pattern" in f.metadata}  # fmt: skip
        return st.fixed_dictionaries({key: value for key, value in given.items() if key in required}, optional={key: value for key, value in given.items() if key not in required})  # fmt: skip
    if outer is Literal:
        return st.sampled_from(inner)
    if outer is tuple and inner[-1] is ...:
        return st.lists(values(inner[0], name), max_size=3)
    if outer is tuple:
        return st.tuples(*(values(each, name) for each in inner)).map(list)
    if outer is Mapping:
        return st.dictionaries(st.sampled_from(NAMES.get(name, WORDS)), values(inner[1], name), max_size=6)
    return {str: TEXTS, int: NUMBERS, bool: st.booleans()}[kind]


FACTS = values(Facts).map(lambda raw: {"schema": SCHEMA, **raw})
MANY = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
SOME = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
GPTQ, PLAIN = "Qwen/Qwen2-7B-Instruct-GPTQ-Int4", "Qwen/Qwen2-7B-Instruct"


@given(FACTS)
@MANY
def test_the_doctor_survives_any_facts(raw: dict[str, Any]) -> None:
    """No rule breaks (in tests a rule's exception would be seen), and text and JSON can be written and read again."""
    report = qvl_preflight.doctor(facts=raw)
    assert report.text().isascii() or report.text()
    assert Facts.from_dict(json.loads(json.dumps(report.to_dict()["facts"]))) == report.facts


@given(raw=FACTS, call=st.sampled_from(({}, {"device_map": "auto"}, {"device_map": "cuda:1"}, {"device_map": {"": 0}, "load_in_4bit": True})), purpose=st.sampled_from(("inference", "qlora", "full", None)), model=st.sampled_from((GPTQ, PLAIN)))  # fmt: skip
@SOME
def test_a_check_survives_any_facts(
    checkpoints: Path, raw: dict[str, Any], call: dict[str, Any], purpose: str | None, model: str
) -> None:
    """Neither the plan nor a rule nor a fix breaks."""
    fixed = qvl_preflight.fix_kwargs(str(checkpoints / model), facts=raw, purpose=purpose, **call)
    assert plain(fixed_lines(fixed._fixed))
    assert json.dumps(fixed.report.to_dict())


@given(st.recursive(st.none() | st.booleans() | NUMBERS | TEXTS, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(("schema", "gpus", "packages", "torch", "env", *WORDS)), inner)))  # fmt: skip
@SOME
def test_what_does_not_fit_is_refused_in_one_line(raw: Any) -> None:
    """Any JSON at all."""
    message = ""
    try:
        qvl_preflight.doctor(facts=raw if isinstance(raw, dict) else {"gpus": raw})
    except InputError as error:
        message = str(error)
    assert message.isprintable()


@pytest.mark.parametrize("facts", [5, 5.0, b"5", ["a"], object(), True])
def test_what_is_no_facts_is_refused(facts: Any, checkpoints: Path) -> None:
    """In code, by every function that takes facts."""
    for ask in (lambda: qvl_preflight.doctor(facts=facts), lambda: qvl_preflight.check(str(checkpoints / PLAIN), facts=facts)):
        with pytest.raises(InputError, match="expected Facts, a mapping"):
            ask()
