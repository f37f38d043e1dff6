"""Calls that work, or of which nothing can be said: no error, and no edit that would break them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.report import Severity
from qvl_preflight.testing import HARDWARE, STACKS, machine

GPTQ, PLAIN = "Qwen/Qwen2-7B-Instruct-GPTQ-Int4", "Qwen/Qwen2-7B-Instruct"
BNB = {"quant_method": "bitsandbytes", "load_in_4bit": True}


def quantized(folder: Path, quantization: dict[str, Any], **config: Any) -> str:
    """A config.json alone."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(
        json.dumps({"model_type": "llama", "architectures": ["LlamaForCausalLM"], "quantization_config": quantization, **config})
    )
    return str(folder)


def stack(release: str, **more: str) -> Any:
    return machine("a100", "middle-bnb", packages={**STACKS["middle-bnb"]["packages"], "transformers": release, **more})


def grave(report: qvl_preflight.Report) -> list[tuple[str, str]]:
    return [(finding.code, finding.message) for finding in report.at_least(Severity.WARNING)]


@pytest.mark.parametrize("release", ["4.37.2", "4.45.2", "4.51.3", "4.57.1"])
def test_a_flag_that_says_what_a_bitsandbytes_checkpoint_is(tmp_path: Path, release: str) -> None:
    """load_in_4bit=True on a 4-bit checkpoint is merged, in every release that knows the flag."""
    report = qvl_preflight.check(quantized(tmp_path, BNB), facts=stack(release), device_map={"": 0}, load_in_4bit=True)
    assert grave(report) == []


@pytest.mark.parametrize(
    ("method", "passed"),
    [
        pytest.param("auto-round", "AutoRoundConfig", id="a class of its own"),
        pytest.param("gptq", "AutoRoundConfig", id="auto-round on GPTQ, which transformers takes"),
        pytest.param("brand-new", "GPTQConfig", id="a method that nobody knows"),
        pytest.param("gptq", "SomethingNewConfig", id="a class that nobody knows"),
    ],
)
def test_configurations_that_are_compared_with_nothing(tmp_path: Path, method: str, passed: str) -> None:
    """Only classes and methods of transformers' own table can clash."""
    model = quantized(tmp_path, {"quant_method": method, "bits": 4})
    report = qvl_preflight.check(model, facts=machine(), device_map={"": 0}, quantization_config={"__class__": passed, "bits": 4})
    assert "QVL303" not in {code for code, _ in grave(report)}


def test_awq_config_on_gptq_in_the_releases_that_merge_it(tmp_path: Path) -> None:
    """4.38 to 4.55 read loading attributes off either class."""
    model = quantized(tmp_path, {"quant_method": "gptq", "bits": 4})
    report = qvl_preflight.check(
        model, facts=stack("4.45.2"), device_map={"": 0}, quantization_config={"__class__": "AwqConfig", "bits": 4}
    )
    assert "QVL303" not in {code for code, _ in grave(report)}


def test_a_model_that_fits_on_no_gpu_is_not_moved_there(checkpoints: Path) -> None:
    """A call that runs on the CPU must not become one that runs out of memory."""
    gpus = [{**copy.deepcopy(machine().to_dict()["gpus"][0]), "free_bytes": 10**9}]
    fixed = qvl_preflight.fix_kwargs(str(checkpoints / GPTQ), facts=machine("a100", gpus=gpus))
    assert (dict(fixed), grave(fixed.report)) == ({}, [])


def test_a_model_that_fits_on_two_gpus_together_is_spread(checkpoints: Path) -> None:
    """For inference; a rank's training would not survive it."""
    gpus = [{**gpu, "free_bytes": 2 * 10**9} for gpu in copy.deepcopy(HARDWARE["two-gpus"]["gpus"])]
    fixed = qvl_preflight.fix_kwargs(str(checkpoints / GPTQ), facts=machine("two-gpus", gpus=gpus))
    assert dict(fixed) == {"device_map": "auto"}


def test_a_configuration_that_is_passed_decides(checkpoints: Path) -> None:
    """config= with exllama switched off: the kernel trains, and nothing is added."""
    stored = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "use_exllama": False}
    config = {"__class__": "Qwen2Config", "quantization_config": stored}
    fixed = qvl_preflight.fix_kwargs(
        str(checkpoints / GPTQ), facts=machine("a100", "legacy"), purpose="qlora", device_map={"": 0}, config=config
    )
    assert (fixed.changes, grave(fixed.report)) == ((), [])


def test_a_configuration_of_which_only_the_class_is_known_leaves_the_quantisation_open(checkpoints: Path) -> None:
    """Nothing is claimed about the kernel."""
    report = qvl_preflight.check(
        str(checkpoints / GPTQ),
        facts=machine("a100", "legacy"),
        purpose="qlora",
        device_map={"": 0},
        config={"__object__": "MyConfig"},
    )
    assert (grave(report), report.verdict) == ([], "incomplete")


def test_a_trainer_without_adapters_is_no_error_while_nobody_named_the_purpose(checkpoints: Path) -> None:
    """The adapters may be attached between the load and the Trainer."""
    config = {"__class__": "GPTQConfig", "bits": 4, "backend": "auto_trainable"}
    report = qvl_preflight.check(
        str(checkpoints / GPTQ), facts=machine(), trainer={}, device_map={"": 0}, quantization_config=config
    )
    assert grave(report) == []


@pytest.mark.parametrize("release", ["legacy", "seed"])
def test_quantising_is_another_path(checkpoints: Path, release: str) -> None:
    """A plain model with GPTQConfig(dataset=…): optimum's guard does not raise there."""
    config = {"__class__": "GPTQConfig", "bits": 4, "dataset": "c4"}
    report = qvl_preflight.check(
        str(checkpoints / PLAIN), facts=machine("a100", release), purpose="quantize", quantization_config=config
    )
    assert "QVL306" not in {code for code, _ in grave(report)}


def test_modules_that_stay_unquantised_may_lie_on_the_cpu(checkpoints: Path) -> None:
    """Up to 4.57 lm_head and llm_int8_skip_modules are left out of the check."""
    config = {"__class__": "BitsAndBytesConfig", "load_in_8bit": True}
    call = {"device_map": {"model": 0, "lm_head": "cpu"}, "quantization_config": config}
    report = qvl_preflight.check(str(checkpoints / PLAIN), facts=stack("4.45.2"), **call)
    assert "QVL310" not in {code for code, _ in grave(report)}


@pytest.mark.parametrize(
    ("call", "trainer"),
    [
        pytest.param({"device_map": "cpu"}, {"use_cpu": True}, id="the Trainer is told to use the CPU"),
        pytest.param({}, {"no_cuda": True}, id="as it was told up to 4.57"),
        pytest.param({"device_map": "auto", "max_memory": {"cpu": "100GiB"}}, None, id="max_memory leaves the CPU alone"),
    ],
)
def test_the_cpu_that_was_asked_for_stays(checkpoints: Path, call: dict[str, Any], trainer: Any) -> None:
    """In whichever words it was asked for."""
    config = {"__class__": "GPTQConfig", "bits": 4, "backend": "torch"}
    fixed = qvl_preflight.fix_kwargs(
        str(checkpoints / GPTQ), facts=machine(), purpose="qlora", trainer=trainer, quantization_config=config, **call
    )
    gone = ["QVL820"] if trainer and "no_cuda" in trainer else []  # the word is refused now; the CPU stays
    assert (fixed.changes, [code for code, _ in grave(fixed.report)]) == ((), gone)


def test_the_quantisation_of_a_nested_text_config_counts_where_it_is_read(tmp_path: Path) -> None:
    """From 5.17 on; older releases look at the top alone, and load what they find there."""
    nested = {"text_config": {"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantization_config": None}
    (tmp_path / "config.json").write_text(json.dumps({key: value for key, value in nested.items() if value}))
    assert qvl_preflight.check(str(tmp_path), facts=stack("4.45.2")).plan.quantization is None  # type: ignore[union-attr]
    assert qvl_preflight.check(str(tmp_path), facts=machine()).plan.quantization.method == "gptq"  # type: ignore[union-attr]


def test_a_format_that_is_not_in_the_tables_is_left_open(tmp_path: Path) -> None:
    """gptq_v2 goes to other kernels than gptq."""
    model = quantized(tmp_path, {"quant_method": "gptq", "bits": 4, "group_size": 128, "checkpoint_format": "gptq_v2"})
    report = qvl_preflight.check(model, facts=machine("h100-offline"), device_map={"": 0})
    assert (grave(report), report.verdict) == ([], "incomplete")


def test_a_kernel_is_chosen_for_the_gpus_of_the_map(checkpoints: Path) -> None:
    """An H100 beside an A100: {"": 0} asks for the H100 alone."""
    h100, a100 = machine("h100").to_dict()["gpus"][0], {**machine().to_dict()["gpus"][0], "index": 1}
    facts = machine("two-gpus", gpus=[h100, a100], env={"CUDA_DEVICE_ORDER": "PCI_BUS_ID"})
    config = {"__class__": "GPTQConfig", "bits": 4, "backend": "machete"}
    report = qvl_preflight.check(str(checkpoints / GPTQ), facts=facts, device_map={"": 0}, quantization_config=config)
    assert "QVL305" not in {code for code, _ in grave(report)}


@pytest.mark.parametrize(
    "targets",
    [
        pytest.param(".*(q_proj|v_proj|o_proj)", id="a pattern"),
        pytest.param(["q_proj", "dense"], id="a name that may be either"),
        pytest.param(["q_proj", "lm_head"], id="lm_head"),
    ],
)
def test_adapters_that_may_get_a_gradient_make_no_error(checkpoints: Path, targets: Any) -> None:
    """What is not known to train nothing is a warning."""
    report = qvl_preflight.check(
        str(checkpoints / GPTQ),
        facts=machine("a100", "legacy"),
        purpose="qlora",
        peft={"target_modules": targets},
        device_map={"": 0},
    )
    assert [finding.severity for finding in report.findings if finding.code != "QVL816"] == [Severity.WARNING]


def test_a_torch_for_other_gpus_is_no_torch_without_cuda(checkpoints: Path) -> None:
    """2.9.1+rocm6.4, and nothing else known of it."""
    facts = machine("no-gpu", packages={**STACKS["today"]["packages"], "torch": "2.9.1+rocm6.4"}, torch=None)
    report = qvl_preflight.check(str(checkpoints / PLAIN), facts=facts, device_map="cuda")
    assert (grave(report), report.verdict) == ([], "incomplete")


def test_releases_newer_than_the_tables_make_no_error(checkpoints: Path) -> None:
    """What they do is taken to be what the newest that was read does: a warning at most, and said."""
    newer = {**STACKS["today"]["packages"], "transformers": "6.4.0", "gptqmodel": "9.0.0"}
    report = qvl_preflight.check(str(checkpoints / GPTQ), facts=machine(packages=newer), purpose="qlora", device_map={"": 0})
    assert report.at_least(Severity.ERROR) == ()
    assert any("newer than" in note for note in report.notes)


def test_a_skipped_rule_that_matters_leaves_the_verdict_incomplete(checkpoints: Path) -> None:
    """GPUs unknown, GPTQ without a device_map on a stack that loads it on the CPU: said as a warning with its condition."""
    report = qvl_preflight.check(str(checkpoints / GPTQ), facts=machine(gpus=None, driver=None))
    assert report.verdict == "degraded"


def test_a_process_whose_cuda_runs_is_not_told_that_its_gpu_is_hidden(checkpoints: Path) -> None:
    """CUDA_VISIBLE_DEVICES="" after the first tensor: a warning that it came late, and no word of what it would have done."""
    torch = {"cuda_build": "13.0", "hip_build": False, "device_count": 1, "current_device": 0}
    facts = machine("a100", env={"CUDA_VISIBLE_DEVICES": ""}, torch=torch)
    for report in (
        qvl_preflight.check(str(checkpoints / PLAIN), facts=facts, device_map="cuda"),
        qvl_preflight.doctor(facts=facts),
    ):
        assert [finding.code for finding in report.findings] == ["QVL206"]


RANK_0_OF_4 = {"launcher": "torchrun", "world_size": 4, "rank": 0, "local_rank": 0, "local_world_size": 4, "notebook": False}


@pytest.mark.parametrize(
    ("hardware", "changes", "said"),
    [
        ("two-gpus", {}, True),
        ("two-gpus", {"launch": {**RANK_0_OF_4, "local_world_size": 2}}, False),  # four ranks on two hosts
        ("two-gpus", {"launch": {**RANK_0_OF_4, "launcher": "slurm"}}, False),  # each task has a GPU of its own
        ("a100", {"env": {"CUDA_VISIBLE_DEVICES": "0"}}, False),  # a launcher can set it for each rank
        ("no-gpu", {}, False),  # gloo, on the CPU
    ],
)
def test_ranks_and_gpus(checkpoints: Path, hardware: str, changes: dict[str, Any], said: bool) -> None:
    """A rank that has its GPU is told of those that have none, where it is known that they have none."""
    facts = machine(hardware, **{"launch": RANK_0_OF_4, **changes})
    found = qvl_preflight.check(str(checkpoints / "Qwen/Qwen2-7B-Instruct"), facts=facts, purpose="full")
    assert ("QVL712" in {finding.code for finding in found.findings}) == said


@pytest.mark.parametrize(
    ("release", "hardware", "call", "said"),
    [
        ("4.45.2", "a100", {"device_map": "cpu"}, True),
        ("4.45.2", "a100", {"device_map": {"": "cpu"}}, False),  # QVL317 refuses a dict
        ("4.45.2", "a100", {}, False),  # people move it themselves
        ("4.45.2", "a100", {"device_map": "cuda"}, False),
        ("4.51.3", "no-gpu", {"device_map": "cpu"}, False),  # IPEX
        ("4.53.3", "a100", {"device_map": "cpu"}, True),
        ("5.23.0", "a100", {"device_map": "cpu"}, False),  # gptqmodel
    ],
)
def test_awq_on_the_cpu(checkpoints: Path, release: str, hardware: str, call: dict[str, Any], said: bool) -> None:
    """autoawq computes on a GPU only; the other ways have a page of their own, or work."""
    packages = {
        "transformers": release,
        "torch": "2.6.0",
        "accelerate": "1.6.0",
        "autoawq": "0.2.7",
        "triton": "3.2.0",
        "gptqmodel": "7.7.0",
    }
    facts = machine(hardware, packages={**packages, "intel-extension-for-pytorch": "2.6.0"})
    found = qvl_preflight.check(str(checkpoints / "example/awq"), facts=facts, **call)
    assert ("QVL327" in {finding.code for finding in found.findings}) == said
