"""The surface: small, documented, locked."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import qvl_preflight
from qvl_preflight.rule import all_rules


def test_all_is_what_is_visible() -> None:
    """__all__, dir() and the table of homes agree."""
    assert sorted(qvl_preflight.__all__) == sorted({*qvl_preflight._HOMES, "__version__"})
    assert dir(qvl_preflight) == sorted(qvl_preflight.__all__)


@pytest.mark.parametrize("name", qvl_preflight.__all__)
def test_every_public_name_loads_and_is_documented(name: str) -> None:
    """Each name can be had from the top and says what it is."""
    thing = getattr(qvl_preflight, name)
    if inspect.isclass(thing) or inspect.isfunction(thing):
        assert (thing.__doc__ or "").strip()


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = qvl_preflight.nonsense


@pytest.mark.slow
def test_python_m_is_the_command_line() -> None:
    """python -m qvl_preflight --version"""
    done = subprocess.run([sys.executable, "-m", "qvl_preflight", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"qvl-preflight {qvl_preflight.__version__}"


def test_a_page_says_what_its_examples_run_on() -> None:
    """The marks of the fences are for the tests; people read releases, machine and purpose."""
    page = qvl_preflight.explain("QVL306")
    assert "```python\n# torch 2.1.2, transformers 4.32.0," in page
    assert "; purpose: qlora\nAutoModelForCausalLM" in page
    assert "stack=" not in "".join(qvl_preflight.explain(rule.code) for rule in all_rules())
