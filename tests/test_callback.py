"""PreflightCallback without transformers; what it does in a training is in tests/reality/test_callback.py."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

import qvl_preflight
from qvl_preflight.exceptions import InputError


@pytest.mark.skipif(importlib.util.find_spec("transformers") is not None, reason="transformers is installed")
def test_without_transformers_it_says_so_in_one_line() -> None:
    """Where it is made, not where the package is imported."""
    with pytest.raises(InputError, match="PreflightCallback is for transformers' Trainer, which cannot be imported here"):
        qvl_preflight.PreflightCallback()


@pytest.mark.slow
def test_naming_it_imports_nothing_heavy() -> None:
    """``from qvl_preflight import PreflightCallback`` stands at the top of scripts."""
    code = "from qvl_preflight import PreflightCallback; import sys; print(sorted({'torch', 'transformers', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
