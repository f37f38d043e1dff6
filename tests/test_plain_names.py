"""Names of objects in text: a slip is refused in one line, and what a release builds in no dtype is said."""

from __future__ import annotations

from pathlib import Path

import pytest

import qvl_preflight
from qvl_preflight.exceptions import InputError
from qvl_preflight.plain_names import NARROW_FLOATS, NOT_FLOATING, QUANTIZATION_CONFIGS, quantization_config, torch_dtype
from qvl_preflight.testing import checkpoint, machine


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("float16", "float16"), ("half", "float16"), ("torch.bfloat16", "bfloat16"), ("double", "float64"), ("int8", "int8")],
)
def test_names_of_dtypes(name: str, dtype: str) -> None:
    """Other names of a dtype mean that dtype."""
    assert torch_dtype(name) == dtype


@pytest.mark.parametrize(
    ("name", "meant"), [("flaot16", "torch.float16"), ("bf16", "torch.bfloat16"), ("xyz", "expected torch.float16")]
)
def test_what_is_no_dtype_is_refused(name: str, meant: str) -> None:
    """Python would raise an AttributeError at that very line."""
    with pytest.raises(InputError, match=meant):
        torch_dtype(name)


def test_a_dtype_inside_a_configuration_is_held_to_the_same() -> None:
    """Wherever it stands."""
    with pytest.raises(InputError, match=r"torch\.bfloat16"):
        qvl_preflight.check(
            "x", quantization_config={"__class__": "BitsAndBytesConfig", "bnb_4bit_compute_dtype": {"__dtype__": "bfloat61"}}
        )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Foo", "expected BitsAndBytesConfig"),
        ("GPTQconfig", "perhaps GPTQConfig"),
        ("BitAndBytesConfig", "perhaps BitsAndBytesConfig"),
    ],
)
def test_what_is_no_configuration_is_refused(name: str, said: str) -> None:
    """A slip, or a thing of another kind."""
    with pytest.raises(InputError, match=said):
        quantization_config(name)


@pytest.mark.parametrize("name", QUANTIZATION_CONFIGS)
def test_configurations_of_transformers_are_taken(name: str) -> None:
    """Each by its own name."""
    quantization_config(name)


def test_a_class_of_no_release_leaves_it_open(tmp_path: Path) -> None:
    """A program can register one: what it does is not known, and that is said."""
    model = checkpoint("Qwen/Qwen2-7B-Instruct", tmp_path)
    report = qvl_preflight.check(
        model, facts=machine("a100"), quantization_config={"__class__": "OurOwnConfig"}, device_map={"": 0}
    )
    assert report.verdict == "incomplete"


@pytest.mark.parametrize("release", ["4.37.2", "4.57.1", "5.23.0"])
@pytest.mark.parametrize("name", [*NARROW_FLOATS, *NOT_FLOATING])
def test_no_model_is_built_in_it(tmp_path: Path, release: str, name: str) -> None:
    """Integers, bits, complex numbers and the narrow floats (run: seven of them, on each of these releases)."""
    model = checkpoint("Qwen/Qwen2-7B-Instruct", tmp_path)
    facts = machine("a100", packages={"transformers": release, "torch": "2.8.0", "accelerate": "1.15.0"})
    report = qvl_preflight.check(model, facts=facts, torch_dtype={"__dtype__": name}, device_map={"": 0})
    first = report.findings[0]
    assert (first.code, report.verdict) == ("QVL902", "fails")
    assert first.raises is not None
    assert first.raises.type == ("TypeError" if name in NARROW_FLOATS else "ValueError")
