"""Releases that the log prints rule a cause out: it says so, comes later, and sends nobody to install what is there."""

from __future__ import annotations

import pytest

import qvl_preflight

_TYPE = "ValueError: The checkpoint you are trying to load has model type `qwen2` but Transformers does not recognize this architecture.\n"
_REFUSED = "ImportError: Using `bitsandbytes` 4-bit quantization requires the latest version of bitsandbytes: `pip install -U bitsandbytes`\n"
_MOVED = (
    'Traceback (most recent call last):\n  File "/v/accelerate/big_modeling.py", line 502, in dispatch_model\n    model.to(device)\n'
    "ValueError: `.to` is not supported for `4-bit` or `8-bit` bitsandbytes models. Please use the model as it is.\n"
)


@pytest.mark.parametrize(("release", "ruled_out"), [("4.36.2", False), ("4.37.2", True), ("4.45.0", True), ("5.23.0", True)])
def test_a_type_that_the_installed_release_knows(release: str, ruled_out: bool) -> None:
    """Then another installation ran, and an update of this one changes nothing."""
    found = qvl_preflight.diagnose(f"transformers=={release}\n{_TYPE}")[0]
    assert found.code == "QVL907"
    assert (found.confidence < 0.8) == ruled_out
    assert ("another one ran" in found.message) == ruled_out
    assert ("pip install" in found.fix) != ruled_out


def test_a_name_that_the_installed_release_has() -> None:
    """An import is read as a type is."""
    text = "ImportError: cannot import name 'Qwen3ForCausalLM' from 'transformers' (/v/transformers/__init__.py)\n"
    assert "4.51" in qvl_preflight.diagnose(f"transformers==4.45.0\n{text}")[0].fix
    assert "transformers.__file__" in qvl_preflight.diagnose(f"transformers==4.57.1\n{text}")[0].fix


def test_a_torch_without_cuda_confirms_that_the_message_misleads() -> None:
    """Both packages are there, as the log prints, so that they are not what is missing."""
    versions = "accelerate 1.1.0\nbitsandbytes 0.44.1\ntorch 2.5.0+cpu\ntransformers 4.46.0\n\n"
    found = qvl_preflight.diagnose(versions + _REFUSED)[0]
    assert found.code == "QVL393"
    assert found.confidence > 0.9
    assert "built without CUDA" in found.message
    assert "index-url" in found.fix


@pytest.mark.parametrize(("versions", "code"), [
    ("transformers==4.40.2\naccelerate==1.2.1\n", "QVL336"), ("transformers==4.40.2\naccelerate==0.30.0\n", "QVL392"),
    ("transformers==4.57.1\naccelerate==1.11.0\nbitsandbytes==0.48.1\n", "QVL392"),
])  # fmt: skip
def test_a_pair_of_releases_that_is_not_installed(versions: str, code: str) -> None:
    """accelerate moves the model from 1.2 on, and transformers 4.45 takes it: with other releases the program itself moves it."""
    assert qvl_preflight.diagnose(versions + _MOVED)[0].code == code


def test_what_is_installed_is_not_missing() -> None:
    """The cause stays, with less weight: another interpreter may have run."""
    text = "ModuleNotFoundError: No module named 'accelerate'\n"
    alone, beside = qvl_preflight.diagnose(text)[0], qvl_preflight.diagnose(f"accelerate==1.11.0\n{text}")[0]
    assert alone.code == beside.code == "QVL601"
    assert beside.confidence < alone.confidence
