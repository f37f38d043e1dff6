"""Classes of transformers that a strategy is refused for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.testing import STACKS, machine


def findings(tmp_path: Path, architecture: str, release: str, **kwargs: Any) -> list[tuple[str, str]]:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture], "model_type": "marian"}))
    facts = machine("a100", "legacy", packages={**STACKS["legacy"]["packages"], "transformers": release})
    report = qvl_preflight.check(str(tmp_path), facts=facts, **kwargs)
    return [(found.code, found.raises.text if found.raises else "") for found in report.findings if found.code == "QVL412"]


@pytest.mark.parametrize("release", ["4.32.0", "4.37.2", "4.44.2", "4.49.0"])
def test_marian_names_no_modules(tmp_path: Path, release: str) -> None:
    """Up to 4.49, on any machine, by the name of its class."""
    ((_, text),) = findings(tmp_path, "MarianMTModel", release, device_map="auto")
    assert text.startswith("MarianMTModel does not support `device_map='auto'`. To implement support, the model")


@pytest.mark.parametrize(
    ("architecture", "release", "kwargs"),
    [
        pytest.param("MarianMTModel", "4.50.3", {"device_map": "auto"}, id="a release that splits anything"),
        pytest.param("MarianMTModel", "4.37.2", {"device_map": {"": 0}}, id="no strategy"),
        pytest.param("LlamaForCausalLM", "4.37.2", {"device_map": "auto"}, id="a class that names its layers"),
        pytest.param("XLMRobertaXLForCausalLM", "4.44.2", {"device_map": "auto"}, id="a class that names its layers by then"),
        pytest.param("MarianMTModel", "4.37.2", {"device_map": "auto", "loader": "MyModel"}, id="another class is loaded"),
        pytest.param("NobodyKnowsThis", "4.37.2", {"device_map": "auto"}, id="an unknown class"),
    ],
)
def test_what_is_not_refused(tmp_path: Path, architecture: str, release: str, kwargs: dict[str, Any]) -> None:
    """Silence wherever it works, or nobody knows."""
    assert findings(tmp_path, architecture, release, **kwargs) == []


def test_an_auto_class_leads_to_its_own(tmp_path: Path) -> None:
    """The class that AutoModel makes is named, not that of the checkpoint."""
    ((_, text),) = findings(tmp_path, "MarianMTModel", "4.37.2", device_map="auto", loader="AutoModel")
    assert text.startswith("MarianModel does not support")
