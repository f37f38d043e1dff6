"""Values of TrainingArguments: what 4.37.2, 4.57.1 and 5.23.0 answered when a Trainer was made with them and trained one step on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.readers.files import read_mapping
from qvl_preflight.testing import machine

MODEL = "Qwen/Qwen2-7B-Instruct"
OLD, V4, NEW = "4.37.2", "4.57.1", "5.23.0"
CODES = ("QVL822", "QVL823", "QVL824")


def raised(root: Path, release: str, trainer: dict[str, Any], **more: Any) -> tuple[str, str, str] | None:
    """The code, type and words of the first finding about a value."""
    packages = {"transformers": release, "torch": "2.8.0", "accelerate": "1.15.0", "peft": "0.15.2", **more}
    found = qvl_preflight.check(
        str(root / MODEL), facts=machine("a100", packages=packages), purpose="lora", trainer=trainer, device_map={"": 0}
    )
    first = next((finding for finding in found.findings if finding.code in CODES), None)
    if first is None or first.raises is None:
        return None
    assert first.raises.certain or first.raises.type == "ImportError", first.message
    return first.code, first.raises.type, first.raises.text


INVALID = "is not a valid OptimizerNames"
SEEN: list[tuple[str, dict[str, Any], tuple[str, str, str] | None]] = [
    *[(release, {"optim": "adamw_8bits"}, ("QVL822", "ValueError", f"adamw_8bits {INVALID}")) for release in (OLD, V4, NEW)],
    *[(release, {"optim": "adamw"}, ("QVL822", "ValueError", f"adamw {INVALID}")) for release in (OLD, V4, NEW)],
    (OLD, {"optim": "adamw_hf"}, None), (V4, {"optim": "adamw_hf"}, ("QVL822", "ValueError", f"adamw_hf {INVALID}")),
    (NEW, {"optim": "adamw_apex_fused"}, ("QVL822", "ValueError", f"adamw_apex_fused {INVALID}")),
    (V4, {"optim": "adamw_apex_fused"}, ("QVL823", "ValueError", "Trainer tried to instantiate apex FusedAdam but apex is not installed!")),
    (OLD, {"optim": "paged_adamw_8bit"}, ("QVL823", "ValueError", "Trainer tried to instantiate bnb optimizer but ")),
    (NEW, {"optim": "adamw_bnb_8bit"}, ("QVL823", "ImportError", "You need to install `bitsandbytes`")),
    (OLD, {"optim": "galore_adamw"}, ("QVL822", "ValueError", f"galore_adamw {INVALID}")),
    *[(release, {"optim": "galore_adamw"}, ("QVL823", "ImportError", "You need to install `galore_torch`")) for release in (V4, NEW)],
    *[(release, {"optim": name}, ("QVL823", "ImportError", "You need to install `lomo_optim`")) for release in (V4, NEW) for name in ("lomo", "adalomo")],
    (NEW, {"optim": "grokadamw"}, ("QVL823", "ValueError", "Please install grokadamw")),
    (NEW, {"optim": "schedule_free_adamw"}, ("QVL823", "ImportError", "You need to install `schedulefree`")),
    (NEW, {"optim": "apollo_adamw"}, ("QVL823", "ImportError", "You need to install `apollo_torch`")),
    (NEW, {"optim": "stable_adamw"}, ("QVL823", "ImportError", "You need to install `torch-optimi`")),
    (NEW, {"optim": "adamw_anyprecision"}, ("QVL823", "ValueError", "Please install https://github.com/pytorch/torchdistx")),
    *[(release, {"lr_scheduler_type": "cosin"}, ("QVL822", "ValueError", "cosin is not a valid SchedulerType")) for release in (OLD, V4, NEW)],
    *[(release, {"save_strategy": "never"}, ("QVL822", "ValueError", "never is not a valid ")) for release in (OLD, V4, NEW)],
    *[(release, {"logging_strategy": "step"}, ("QVL822", "ValueError", "step is not a valid ")) for release in (OLD, V4, NEW)],
    (OLD, {"save_strategy": "best"}, ("QVL822", "ValueError", "best is not a valid ")), (NEW, {"save_strategy": "best"}, None),
    *[(release, {"learning_rate": "1e-4"}, ("QVL824", "TypeError", "'<=' not supported")) for release in (OLD, V4, NEW)],
    *[(release, {"per_device_train_batch_size": value}, ("QVL824", "ValueError", "batch_size should be")) for release in (OLD, V4, NEW) for value in ("4", 0)],
    *[(release, {"gradient_accumulation_steps": 0}, ("QVL824", "ZeroDivisionError", "")) for release in (OLD, V4, NEW)],
    *[(release, {"max_grad_norm": "1"}, ("QVL824", "TypeError", "'>' not supported")) for release in (OLD, V4, NEW)],
    *[(NEW, {"optim": name}, None) for name in ("adamw_torch", "adafactor", "sgd", "adamw_torch_fused")],
    (NEW, {"max_grad_norm": 0, "learning_rate": 0, "lr_scheduler_type": "cosine_with_min_lr"}, None),
    (NEW, {"learning_rate": "1e-4", "optim": "adafactor"}, None),  # which does not compare it
    (NEW, {"learning_rate": "auto", "deepspeed": {"zero_optimization": {"stage": 2}}}, None),
]  # fmt: skip


@pytest.mark.parametrize(("release", "trainer", "expected"), SEEN, ids=[f"{release} {trainer}" for release, trainer, _ in SEEN])
def test_what_the_trainer_said(
    checkpoints: Path, release: str, trainer: dict[str, Any], expected: tuple[str, str, str] | None
) -> None:
    found = raised(checkpoints, release, trainer)
    assert (found and (*found[:2], found[2][: len(expected[2])] if expected else "")) == expected


def test_an_installed_package_is_enough(checkpoints: Path) -> None:
    assert raised(checkpoints, NEW, {"optim": "paged_adamw_8bit"}, bitsandbytes="0.50.2") is None
    assert raised(checkpoints, NEW, {"optim": "schedule_free_adamw"}, schedulefree="1.4.1") is None


def test_a_text_that_says_yes_switches_on(checkpoints: Path) -> None:
    """bf16="yes" is as true as True: refused without a GPU by 4.57.1 and 5.23.0, and trained by 4.37.2."""
    for value, codes in (("yes", ["QVL806"]), ("no", [])):
        found = qvl_preflight.check(
            str(checkpoints / MODEL), facts=machine("no-gpu"), purpose="lora", trainer={"bf16": value}, device_map="cpu"
        )
        assert [f.code for f in found.findings if f.code == "QVL806"] == codes


def test_a_number_of_a_yaml_file_is_one(tmp_path: Path) -> None:
    """PyYAML reads 1e-4 as text; the programs that such files are for do not."""
    pytest.importorskip("yaml")
    (tmp_path / "a.yaml").write_text("learning_rate: 1e-4\noptim: adamw_torch\nrun_name: 1e\n")
    assert read_mapping(str(tmp_path / "a.yaml"), "") == {"learning_rate": 0.0001, "optim": "adamw_torch", "run_name": "1e"}
