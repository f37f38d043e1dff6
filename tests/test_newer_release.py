"""A transformers that is newer than the tables: its own files are asked, and it is said to be newer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight import api, engine
from qvl_preflight.probes import quantizer_methods
from qvl_preflight.probes.auto_mappings import read_release
from qvl_preflight.probes.quantizer_methods import changed, read_methods
from qvl_preflight.rule import all_rules
from qvl_preflight.stack.release_spans import read_spans, read_table, takes_in
from qvl_preflight.testing import STACKS, machine, write_checkpoint
from qvl_preflight.versions import NEWEST

CONFIG = {
    "model_type": "qwen9",
    "architectures": ["Qwen9ForCausalLM"],
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "torch_dtype": "bfloat16",
}


def installed(folder: Path, accelerate: str = "1.1.0", bitsandbytes: str = "0.46.1") -> str:
    """The files of a release 5.30: a new model type, and minimum versions."""
    auto = folder / "models" / "auto"
    auto.mkdir(parents=True)
    (folder / "utils").mkdir()
    (folder / "__init__.py").write_text('__version__ = "5.30.0"\n"AutoModelForCausalLM"\n')
    (folder / "utils" / "import_utils.py").write_text(
        f'ACCELERATE_MIN_VERSION = "{accelerate}"\nBITSANDBYTES_MIN_VERSION = "{bitsandbytes}"\nTORCH_FX = None\n'
    )
    (auto / "configuration_auto.py").write_text('CONFIG_MAPPING_NAMES = {"qwen9": "Qwen9Config"}\n')
    (auto / "auto_factory.py").write_text("\n")
    (auto / "modeling_auto.py").write_text(
        'MODEL_FOR_CAUSAL_LM_MAPPING_NAMES = {"qwen9": "Qwen9ForCausalLM"}\n'
        "MODEL_FOR_CAUSAL_LM_MAPPING = _LazyAutoMapping(CONFIG_MAPPING_NAMES, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)\n"
        "class AutoModelForCausalLM:\n    _model_mapping = MODEL_FOR_CAUSAL_LM_MAPPING\n"
    )
    return str(folder)


def said(root: Path, folder: str, **call: Any) -> qvl_preflight.Report:
    """What is said of a call on that release, whose files lie in ``folder``."""
    model = root / "model"
    write_checkpoint(str(model), CONFIG, [{"model.norm.weight": ("BF16", (8,))}])
    packages = {**STACKS["today"]["packages"], "transformers": "5.30.0", "bitsandbytes": "0.50.2"}
    case = api.situation(str(model), None, "AutoModelForCausalLM", None, None, machine(packages=packages), call)
    return engine.check(replace(case, auto_classes=read_release(folder)), all_rules())


def test_a_new_model_type_is_known(tmp_path: Path) -> None:
    """The installed tables have it; the report says that the release is newer."""
    report = said(tmp_path, installed(tmp_path / "transformers"), device_map={"": 0})
    assert [finding.code for finding in report.findings] == []
    assert "newer than the releases that were read" in " ".join(report.text().split())


@pytest.mark.parametrize(
    ("minima", "call", "code"),
    [
        ({"accelerate": "2.0.0"}, {"device_map": {"": 0}}, "QVL601"),
        ({"bitsandbytes": "0.60.0"}, {"quantization_config": {"__class__": "BitsAndBytesConfig", "load_in_4bit": True}, "device_map": {"": 0}}, "QVL309"),
    ],
)  # fmt: skip
def test_raised_minimum_versions_are_read(tmp_path: Path, minima: dict[str, str], call: dict[str, Any], code: str) -> None:
    """A warning, since nobody ran that release; without the raise there is none."""
    told = said(tmp_path, installed(tmp_path / "raised", **minima), **call)
    assert [(finding.code, finding.severity.value) for finding in told.findings if finding.severity][:1] == [(code, "warning")]
    assert code not in [finding.code for finding in said(tmp_path, installed(tmp_path / "same"), **call).findings]


def test_minima_that_are_not_needed_are_not_asked(tmp_path: Path) -> None:
    """A plain load without a device_map needs no accelerate."""
    assert said(tmp_path, installed(tmp_path / "transformers", accelerate="2.0.0")).findings == () or all(
        finding.code != "QVL601" for finding in said(tmp_path, installed(tmp_path / "again", accelerate="2.0.0")).findings
    )


_QUANTIZER = """
class BnbHfQuantizer(HfQuantizer):
    def validate_environment(self, *args, **kwargs):
        "{docstring}"
        if {asks}:
            raise ImportError("no")

    def other(self): pass
"""


def quantizers(folder: Path, asks: str, docstring: str = "one") -> str:
    """A release with a single quantizer."""
    (folder / "quantizers").mkdir(parents=True, exist_ok=True)
    (folder / "quantizers" / "quantizer_bnb_4bit.py").write_text(_QUANTIZER.format(asks=asks, docstring=docstring))
    return str(folder)


def test_a_changed_method_of_a_quantizer_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its fingerprint: a docstring, a comment or where it stands is no change; what it asks is."""
    table = tmp_path / "table.txt"
    read = read_methods(quantizers(tmp_path / "read", "x"))
    assert list(read) == ["bnb_4bit BnbHfQuantizer.validate_environment"]
    ((name, fingerprint),) = read.items()
    table.write_text(f"5.20 5.23\n{name} {fingerprint} 5.20-\n")
    monkeypatch.setattr(quantizer_methods, "TABLE", str(table))
    assert changed(read_methods(quantizers(tmp_path / "same", "x", docstring="another")), (5, 23)) == ()
    assert changed(read_methods(quantizers(tmp_path / "other", "y")), (5, 23)) == (name,)
    assert changed({}, (5, 23)) == (name,)


def test_the_table_is_that_of_the_newest_release_read() -> None:
    """Each release has one fingerprint of a method."""
    releases, lines = read_table(quantizer_methods.TABLE)
    assert ".".join(map(str, releases[-1])) == NEWEST["transformers"]
    seen = [
        (" ".join(line.split()[:2]), at)
        for line in lines
        for at in releases
        if takes_in(read_spans(line.split()[3], releases[-1]), releases, at)
    ]
    assert len(seen) == len(set(seen)) > 1000


def test_a_finding_says_which_method_is_another(tmp_path: Path) -> None:
    """Beside what is taken for granted of a newer release."""
    folder = installed(tmp_path / "transformers")
    quantizers(Path(folder), "anything")
    call = {"quantization_config": {"__class__": "BitsAndBytesConfig", "load_in_4bit": True}, "device_map": {"": 7}}
    report = said(tmp_path, folder, **call)
    assert report.plan is not None
    conditions = " ".join(raised.condition or "" for raised in report.plan.raises)
    assert "of its files are not as there" in conditions
    assert "validate_environment" in conditions
