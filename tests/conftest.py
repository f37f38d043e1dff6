"""Shared by all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from qvl_preflight import strict, testing


@pytest.fixture(autouse=True)
def _rules_must_not_break() -> Iterator[None]:
    """In tests a rule's own exception propagates instead of becoming a QVL000."""
    strict.ON = True
    yield
    strict.ON = False


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every named checkpoint."""
    root = tmp_path_factory.mktemp("checkpoints")
    for name in testing.CHECKPOINTS:
        testing.checkpoint(name, root)
    return root
