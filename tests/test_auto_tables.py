"""The table of architectures: it reads as its sources do, and says unknown where it ends."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qvl_preflight.auto_tables import tables
from qvl_preflight.probes.auto_mappings import read_release
from qvl_preflight.probes.packages import find_module
from qvl_preflight.unknown import Undecided

STACKS = Path.home() / ".cache" / "qvl-preflight" / "stacks"  # as tests/reality builds them
INSTALLED = [
    *([path] if (path := find_module("transformers")) else []),
    *map(str, STACKS.glob("*/lib/python*/site-packages/transformers")),
]


@pytest.mark.parametrize(
    ("model_type", "span"),
    [
        ("qwen2_vl", "4.45 and later"),
        ("qwen2_5_vl", "4.49 and later"),
        ("llama", "4.28 and later"),
        ("mega", "4.28 to 4.57"),
        ("qwen3", "4.51 and later"),
    ],
)
def test_model_types_come_and_go(model_type: str, span: str) -> None:
    """As the releases' CONFIG_MAPPING_NAMES say."""
    assert tables().type_span(model_type) == span


@pytest.mark.parametrize(
    ("auto", "model_type", "release", "taken"),
    [
        ("AutoModelForCausalLM", "qwen2_vl", (4, 57, 1), False),
        ("AutoModelForVision2Seq", "qwen2_vl", (4, 45, 2), True),
        ("AutoModelForImageTextToText", "qwen2_vl", (4, 45, 2), False),
        ("AutoModelForImageTextToText", "qwen2_vl", (4, 46, 0), True),
        ("AutoModelForVision2Seq", "qwen2_vl", (5, 0, 0), False),
        ("AutoModelForCausalLM", "gemma3", (4, 50, 0), True),
        ("AutoModelForCausalLM", "llama", (4, 28, 1), True),
    ],
)
def test_auto_classes_take_what_their_mapping_holds(auto: str, model_type: str, release: tuple[int, ...], taken: bool) -> None:
    """As MODEL_FOR_…_MAPPING_NAMES of each release say."""
    assert tables().takes(auto, model_type, release) is taken


@pytest.mark.parametrize(
    ("name", "span"),
    [
        ("AutoModelForVision2Seq", "4.28 to 4.57"),
        ("AutoModelForImageTextToText", "4.46 and later"),
        ("Qwen2VLForConditionalGeneration", "4.45 and later"),
        ("Qwen3VLForConditionalGeneration", "4.57 and later"),
        ("MusicgenForConditionalGeneration", "4.31 and later"),  # in releases that map nothing to it
    ],
)
def test_classes_come_and_go(name: str, span: str) -> None:
    """Auto classes and model classes alike."""
    assert tables().class_span(name) == span


@pytest.mark.parametrize(
    "name", ["LlavaLlamaForCausalLM", "AutoGPTQForCausalLM", "AutoTokenizer", "For", "", "x y", "QWenLMHeadModel"]
)
def test_a_name_of_no_release_is_no_class_of_transformers(name: str) -> None:
    """Part of a name is not the name."""
    assert not tables().is_class(name)


def test_what_a_newer_release_has_is_unknown_unless_the_newest_has_it() -> None:
    """A type that is there stays; one that is not may have come."""
    assert tables().has_type("llama", (9, 0, 0))
    with pytest.raises(Undecided, match="newer than what was read"):
        tables().has_type("qwen99", (9, 0, 0))
    with pytest.raises(Undecided, match="older than what was read"):
        tables().has_type("llama", (4, 27, 0))


@pytest.mark.parametrize("folder", INSTALLED or [pytest.param("", marks=pytest.mark.skip("transformers is not installed"))])
def test_the_table_agrees_with_an_installed_release(folder: str) -> None:
    """Every model type, every Auto class and every class behind it, where the table holds that release."""
    metadata = next(Path(folder).parent.glob("transformers-*.dist-info"))
    release = tuple(map(int, re.findall(r"\d+", metadata.name)[:3]))
    read = read_release(folder)
    if read is None or release[:2] > tables().releases[-1]:
        pytest.skip("newer than the table")
    assert {name for name in read.types if not tables().has_type(name, release)} == set()
    assert {name: tables().autos_of(name, release) for name in read.types} == read.types
    assert all(tables().has_class(name, release) for name in read.autos)
