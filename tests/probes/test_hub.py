"""huggingface_hub reads the environment once; what was set later is told apart from what counts."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from qvl_preflight.probes.hub import in_force

HOME = {"HF_HOME": "/models"}


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The constants as huggingface_hub has them once it is imported; a module of that name stands for it."""

    def load(**constants: Any) -> None:
        module = ModuleType("huggingface_hub.constants")
        vars(module).update(
            {"ENDPOINT": "https://huggingface.co", "HF_HUB_OFFLINE": False, "HF_HUB_CACHE": "/models/hub", **constants}
        )
        monkeypatch.setitem(sys.modules, "huggingface_hub.constants", module)

    return load


def test_not_imported_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything counts as it is set."""
    monkeypatch.delitem(sys.modules, "huggingface_hub.constants", raising=False)
    env = {"HF_ENDPOINT": "https://hf-mirror.com"}
    assert in_force(env) == (env, {})


@pytest.mark.parametrize(
    ("constants", "env"),
    [
        pytest.param({}, HOME, id="nothing was changed"),
        pytest.param(
            {"ENDPOINT": "https://hf-mirror.com"}, {**HOME, "HF_ENDPOINT": "https://hf-mirror.com/"}, id="a slash in the end"
        ),
        pytest.param({"HF_HUB_OFFLINE": True}, {**HOME, "TRANSFORMERS_OFFLINE": "yes"}, id="offline by the other name"),
        pytest.param({"HF_HUB_CACHE": "/models/hub/"}, {"HF_HUB_CACHE": "/models/hub"}, id="the same folder"),
        pytest.param({"ENDPOINT": None, "HF_HUB_OFFLINE": None, "HF_HUB_CACHE": None}, HOME, id="constants that are not there"),
    ],
)
def test_what_was_set_in_time(loaded: Any, constants: dict[str, Any], env: dict[str, str]) -> None:
    """No difference is made up."""
    loaded(**constants)
    assert in_force(env) == (env, {})


@pytest.mark.parametrize(
    ("constants", "env", "counts", "late"),
    [
        pytest.param({}, {"HF_ENDPOINT": "https://hf-mirror.com"}, {"HF_ENDPOINT": "https://huggingface.co"}, {"HF_ENDPOINT": "https://hf-mirror.com"}, id="a mirror"),
        pytest.param({}, {"HF_HUB_OFFLINE": "1"}, {"HF_HUB_OFFLINE": "0"}, {"HF_HUB_OFFLINE": "1"}, id="offline"),
        pytest.param({}, {"TRANSFORMERS_OFFLINE": "1"}, {"HF_HUB_OFFLINE": "0"}, {"TRANSFORMERS_OFFLINE": "1"}, id="offline by the other name"),
        pytest.param({"HF_HUB_OFFLINE": True}, {}, {"HF_HUB_OFFLINE": "1"}, {"HF_HUB_OFFLINE": ""}, id="online again"),
        pytest.param({"HF_HUB_CACHE": "/old/hub"}, {}, {"HF_HUB_CACHE": "/old/hub"}, {"HF_HOME": "/models"}, id="another home"),
    ],
)  # fmt: skip
def test_what_was_set_too_late(
    loaded: Any, constants: dict[str, Any], env: dict[str, str], counts: dict[str, str], late: dict[str, str]
) -> None:
    """The facts hold what counts; the rest is kept apart."""
    loaded(**constants)
    assert in_force({**HOME, **env}) == ({**HOME, **counts}, late)
