"""Pairs of packages that were imported together for real, and what they said."""

from __future__ import annotations

from pathlib import Path

import pytest

import qvl_preflight
from qvl_preflight.facts import Facts, Packages
from qvl_preflight.stack import requirements
from qvl_preflight.testing import STACKS, machine


def packages(**versions: str) -> Packages:
    return Packages(Facts.from_dict({"packages": {name.replace("_", "-"): version for name, version in versions.items()}}))


IMPORTS = [
    ({"transformers": "4.41.2", "tokenizers": "0.15.2"}, "tokenizers>=0.19,<0.20 is required for a normal functioning of this module, but found tokenizers==0.15.2."),
    ({"transformers": "4.42.4", "numpy": "2.4.6", "tokenizers": "0.23.3"}, "numpy>=1.17,<2.0 is required"),
    ({"transformers": "4.57.1", "tokenizers": "0.23.3"}, "tokenizers>=0.22.0,<=0.23.0 is required"),
    ({"transformers": "4.57.1", "tokenizers": "0.22.1", "huggingface_hub": "2.4.0"}, "huggingface-hub>=0.34.0,<1.0 is required"),
    ({"transformers": "4.54.1", "tokenizers": "0.21.4", "huggingface_hub": "0.33.4"}, "huggingface-hub>=0.34.0,<1.0 is required"),
    ({"transformers": "5.0.0", "tokenizers": "0.15.2", "huggingface_hub": "0.36.2"}, "cannot import name 'is_offline_mode' from 'huggingface_hub'"),
    ({"transformers": "5.17.0", "tokenizers": "0.23.3", "huggingface_hub": "2.4.0"}, "huggingface-hub>=1.5.0,<2.0 is required"),
    ({"transformers": "5.23.0", "huggingface_hub": "1.5.0"}, "cannot import name 'ResolvedRevision' from 'huggingface_hub'"),
    ({"transformers": "5.23.0", "tokenizers": "0.22.1", "huggingface_hub": "2.4.0"}, "tokenizers>=0.23.1,<0.24.0 is required"),
    ({"transformers": "5.23.0", "tokenizers": "0.23.3", "huggingface_hub": "2.4.0", "numpy": "2.4.6", "safetensors": "0.8.0"}, None),
    ({"transformers": "4.37.2", "tokenizers": "0.15.2", "huggingface_hub": "0.36.2", "numpy": "1.26.4", "safetensors": "0.8.0"}, None),
    ({"transformers": "4.36.2", "tokenizers": "0.15.2", "accelerate": "0.20.3"}, None),  # an old accelerate counts as missing
    ({"transformers": "4.57.1"}, None),  # nothing is known of the others
    ({"transformers": "6.1.0", "tokenizers": "0.30.0"}, None),  # nor of a release that was not read
]  # fmt: skip


@pytest.mark.parametrize(
    ("versions", "said"), IMPORTS, ids=[" ".join(f"{k} {v}" for k, v in versions.items()) for versions, _ in IMPORTS]
)
def test_import_transformers(versions: dict[str, str], said: str | None) -> None:
    """The first words of the exception, or none."""
    first = next(requirements.transformers(packages(**versions)), None)
    assert (first is None) if said is None else (first is not None and first.text.startswith(said)), first


PEFT = [
    ({"peft": "0.17.1", "transformers": "5.23.0"}, "cannot import name 'HybridCache' from 'transformers'"),
    ({"peft": "0.15.2", "transformers": "5.23.0"}, None),
    ({"peft": "0.14.0", "transformers": "4.37.2"}, "cannot import name 'EncoderDecoderCache' from 'transformers'"),
    ({"peft": "0.18.0", "transformers": "4.51.3"}, "No module named 'transformers.modeling_layers'"),
    ({"peft": "0.19.0", "transformers": "4.51.3"}, None),
    ({"peft": "0.15.2", "transformers": "4.51.3", "accelerate": "0.30.1"}, "cannot import name 'clear_device_cache'"),
    ({"peft": "0.14.0", "transformers": "4.45.2", "huggingface_hub": "0.23.5"}, "cannot import name 'LocalEntryNotFoundError'"),
    ({"peft": "0.8.2", "transformers": "4.37.2", "accelerate": "0.26.1", "huggingface_hub": "0.36.2"}, None),
    ({"peft": "0.21.2", "transformers": "5.23.0", "accelerate": "1.15.0", "huggingface_hub": "2.4.0"}, None),
]


@pytest.mark.parametrize(
    ("versions", "said"), PEFT, ids=[" ".join(f"{k} {v}" for k, v in versions.items()) for versions, _ in PEFT]
)
def test_import_peft(versions: dict[str, str], said: str | None) -> None:
    """The first words of the exception, or none."""
    first = next(requirements.peft(packages(**versions)), None)
    assert (first is None) if said is None else (first is not None and first.text.startswith(said)), first


def test_every_named_stack_can_be_imported() -> None:
    """But for those that are named for what is wrong with them."""
    broken = {
        name
        for name, stack in STACKS.items()
        for ask in (requirements.transformers, requirements.peft, requirements.torch)
        if any(ask(Packages(Facts.from_dict({"packages": stack["packages"]}))))
    }
    assert broken == {"today-old-tokenizers", "today-torch-2.5", "legacy-new-peft"}


def test_the_doctor_says_it_without_a_call() -> None:
    """A machine alone is judged as well."""
    found = qvl_preflight.doctor(facts=machine("a100", "today-old-tokenizers")).findings
    assert [(f.code, f.severity.value) for f in found if f.severity] == [("QVL603", "error")]
    assert found[0].fix is not None
    assert found[0].fix.commands == ("pip install 'tokenizers>=0.23.1,<0.24.0'",)


def test_a_load_alone_needs_no_peft(checkpoints: Path) -> None:
    """transformers does not import peft for a plain load; its Trainer does."""
    facts = machine("a100", "legacy-new-peft")
    folder = str(checkpoints / "Qwen/Qwen2-7B-Instruct")
    assert not qvl_preflight.check(folder, facts=facts, device_map={"": 0}).findings
    assert "QVL604" in {
        f.code for f in qvl_preflight.check(folder, facts=facts, purpose="full", trainer={}, device_map={"": 0}).findings
    }


def test_bitsandbytes_layers_are_wrapped_before_peft_asks_for_gptqmodel(checkpoints: Path) -> None:
    """The dispatchers of bitsandbytes come first."""
    stack = {**STACKS["today-bnb"]["packages"], "gptqmodel": "5.8.0"}
    config = {"__class__": "BitsAndBytesConfig", "load_in_4bit": True}
    call = {"purpose": "qlora", "peft": {"target_modules": ["q_proj"]}, "device_map": {"": 0}}
    folder, facts = str(checkpoints / "Qwen/Qwen2-7B-Instruct"), machine("a100", packages=stack)
    assert not qvl_preflight.check(folder, facts=facts, quantization_config=config, **call).findings
    assert [f.code for f in qvl_preflight.check(folder, facts=facts, **{**call, "purpose": "lora"}).findings] == ["QVL606"]


@pytest.mark.parametrize(
    ("peft", "gptqmodel", "breaks"), [("0.19.1", "7.7.0", True), ("0.19.1", "5.8.0", False), ("0.20.0", "7.7.0", False)]
)
def test_peft_019_takes_a_class_that_gptqmodel_7_renamed(checkpoints: Path, peft: str, gptqmodel: str, breaks: bool) -> None:
    """Run: 0.18.0, 0.19.1, 0.20.0 and 0.21.2 beside 7.7.0, over plain, GPTQ and AWQ layers."""
    facts = machine("a100", packages={**STACKS["today"]["packages"], "peft": peft, "gptqmodel": gptqmodel})
    folder = str(checkpoints / "Qwen/Qwen2-7B-Instruct")
    call = {"purpose": "lora", "peft": {"target_modules": ["q_proj"]}, "device_map": {"": 0}}
    found = qvl_preflight.check(folder, facts=facts, **call).findings
    assert [f.code for f in found] == (["QVL606"] if breaks else [])


@pytest.mark.parametrize(
    ("peft", "torchao", "text"),
    [
        ("0.18.0", "0.17.0", None),
        ("0.18.0", "0.18.0", "cannot import name 'LinearActivationQuantizedTensor' from 'torchao.quantization'"),
        (
            "0.21.2",
            "0.15.0",
            "Found an incompatible version of torchao. Found version 0.15.0, but only versions above 0.16.0 are supported",
        ),
        ("0.21.2", "0.16.0", None),
    ],
)
def test_torchao_that_is_merely_installed(checkpoints: Path, peft: str, torchao: str, text: str | None) -> None:
    """Run: a plain model with adapters, beside five releases of torchao."""
    packages = {**STACKS["today-without-gptqmodel"]["packages"], "peft": peft, "torchao": torchao}
    facts, folder = machine("a100", packages=packages), str(checkpoints / "Qwen/Qwen2-7B-Instruct")
    call = {"purpose": "lora", "peft": {"target_modules": ["q_proj"]}, "device_map": {"": 0}}
    found = [f for f in qvl_preflight.check(folder, facts=facts, **call).findings if f.code == "QVL606"]
    assert [f.raises.text for f in found if f.raises] == ([text] if text else [])
    assert not any(
        f.code == "QVL606" for f in qvl_preflight.check(folder, facts=facts, **{**call, "purpose": "inference"}).findings
    )


TORCHVISION = [
    ("4.45.2", {}, None),  # run: loads
    ("4.46.3", {}, "RuntimeError"),  # run
    ("4.51.3", {}, "RuntimeError"),  # run
    ("4.52.4", {}, "ModuleNotFoundError"),  # run
    ("5.23.0", {}, "ModuleNotFoundError"),  # run
    ("5.23.0", {"pillow": None}, None),  # run: loads
    ("5.23.0", {"torchvision": None}, None),
]


@pytest.mark.parametrize(("release", "without", "kind"), TORCHVISION)
def test_a_torchvision_for_another_torch(checkpoints: Path, release: str, without: dict[str, None], kind: str | None) -> None:
    """Whether it loads is read from its symbols; what follows depends on the release of transformers."""
    given = {"transformers": release, "torch": "2.14.1", "accelerate": "1.15.0", "torchvision": "0.24.1", "pillow": "13.0.0"}
    installed = {name: version for name, version in given.items() if name not in without}
    for loads in (False, True):
        facts = machine("a100", packages=installed, extensions={"torchvision._C": loads})
        report = qvl_preflight.check(str(checkpoints / "Qwen/Qwen2-7B-Instruct"), facts=facts, device_map={"": 0})
        met = [finding for finding in report.findings if finding.code == "QVL609"]
        assert [f.raises.type for f in met if f.raises] == ([kind] if kind and not loads else [])
        assert all(f.fix and f.fix.commands == ("pip install 'torchvision==0.29.*'",) for f in met)
