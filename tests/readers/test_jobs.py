"""Files of other programs as trainer=, peft= and in place of a model: what they mean, and what is said of broken ones."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight import api
from qvl_preflight.cli import main
from qvl_preflight.exceptions import InputError
from qvl_preflight.readers.training import read_trainer
from qvl_preflight.report import Severity
from qvl_preflight.request import ConfigObject, Dtype
from qvl_preflight.testing import machine
from qvl_preflight.unknown import Unknown

PLAIN, GPTQ = "Qwen/Qwen2-7B-Instruct", "Qwen/Qwen2-7B-Instruct-GPTQ-Int4"
ZERO3 = {
    "zero_optimization": {"stage": 3},
    "bf16": {"enabled": "auto"},
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_clipping": 0.3,
}


def write(folder: Path, name: str, content: Any) -> str:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


class TrainingArguments:
    """As transformers' own: attributes, private ones among them."""

    def __init__(self, **settings: Any) -> None:
        vars(self).update(
            {"per_device_train_batch_size": 8, "max_grad_norm": 1.0, "fp16": False, "bf16": False, "_n_gpu": 2}, **settings
        )


def test_a_deepspeed_file_alone(tmp_path: Path) -> None:
    """What TrainingArguments would say is not known: "auto" stays."""
    job = read_trainer(write(tmp_path, "ds.json", ZERO3))
    assert job.trainer == {"deepspeed": ZERO3}
    assert job.launch is None


@pytest.mark.parametrize("as_object", [True, False])
def test_the_deepspeed_file_that_trainingarguments_name(tmp_path: Path, as_object: bool) -> None:
    """ "auto" is what TrainingArguments say, or their default, as HfTrainerDeepSpeedConfig fills it in."""
    settings: dict[str, Any] = {"deepspeed": write(tmp_path, "ds.json", ZERO3), "bf16": True}
    trainer = read_trainer(TrainingArguments(**settings) if as_object else settings).trainer
    assert trainer is not None
    assert trainer["deepspeed"]["bf16"] == {"enabled": True}
    assert trainer["deepspeed"]["train_micro_batch_size_per_gpu"] == 8
    assert trainer["deepspeed"]["gradient_clipping"] == 0.3
    assert "_n_gpu" not in trainer


def test_what_is_passed_is_not_changed(tmp_path: Path) -> None:
    config = json.loads(json.dumps(ZERO3))
    settings = {"deepspeed": config, "bf16": True}
    read_trainer(settings)
    assert settings == {"deepspeed": ZERO3, "bf16": True}


def test_a_deepspeed_file_that_is_not_here_stays_a_name() -> None:
    """It may be there where the job runs."""
    assert read_trainer({"deepspeed": "nowhere/ds_config_zero2.json"}).trainer == {"deepspeed": "nowhere/ds_config_zero2.json"}


def test_clipping_that_contradicts_a_live_trainingarguments(tmp_path: Path, checkpoints: Path) -> None:
    trainer = TrainingArguments(deepspeed=write(tmp_path, "ds.json", ZERO3), bf16=True)
    report = qvl_preflight.check(
        str(checkpoints / PLAIN), facts=machine("rank-1-of-2", "today-deepspeed"), purpose="full", trainer=trainer
    )
    assert "gradient_clipping=0.3 vs hf max_grad_norm=1.0" in report.findings[0].message


ACCELERATE = """\
compute_environment: LOCAL_MACHINE
distributed_type: {kind}
mixed_precision: bf16
num_machines: 1
num_processes: {processes}
{more}
"""


def accelerate(folder: Path, kind: str, processes: int = 2, more: str = "") -> str:
    pytest.importorskip("yaml")
    return write(folder, "accelerate.yaml", ACCELERATE.format(kind=kind, processes=processes, more=more))


def test_accelerate_with_zero3(tmp_path: Path, checkpoints: Path) -> None:
    """The ranks are those that accelerate will start, not this process."""
    path = accelerate(
        tmp_path, "DEEPSPEED", more="deepspeed_config:\n  zero_stage: 3\n  zero3_init_flag: true\n  offload_param_device: cpu"
    )
    job = read_trainer(path)
    assert job.trainer == {
        "accelerate_mixed_precision": "bf16",
        "beside_deepspeed_config_file": [],
        "deepspeed": {"zero_optimization": {"stage": 3, "offload_param": {"device": "cpu"}}, "zero3_init_flag": True},
    }
    assert job.launch is not None
    assert (job.launch.launcher, job.launch.world_size, job.launch.deepspeed_zero) == ("accelerate", 2, 3)
    assert isinstance(job.launch.local_rank, Unknown)
    report = qvl_preflight.check(
        str(checkpoints / PLAIN), facts=machine("two-gpus", "today-deepspeed"), purpose="full", trainer=path, device_map="auto"
    )
    assert [finding.code for finding in report.findings][:1] == ["QVL704"]
    assert "QVL710" not in {finding.code for finding in report.findings}


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("stack", ["legacy", "today"])
def test_accelerates_precision_is_not_that_of_training_arguments(
    tmp_path: Path, checkpoints: Path, precision: str, stack: str
) -> None:
    """bf16 and fp16 of TrainingArguments stay off, so what these refuse without a GPU does not count: the run trains."""
    pytest.importorskip("yaml")
    path = write(
        tmp_path, "one.yaml", f'compute_environment: LOCAL_MACHINE\ndistributed_type: "NO"\nmixed_precision: {precision}\n'
    )
    report = qvl_preflight.check(str(checkpoints / PLAIN), facts=machine("no-gpu", stack), purpose="full", trainer=path)
    assert not {"QVL806", "QVL807"} & {finding.code for finding in report.findings}


def test_zero3_that_shards_after_the_load(tmp_path: Path, checkpoints: Path) -> None:
    path = accelerate(tmp_path, "DEEPSPEED", more="deepspeed_config:\n  zero_stage: 3\n  zero3_init_flag: false")
    report = qvl_preflight.check(
        str(checkpoints / PLAIN), facts=machine("two-gpus", "today-deepspeed"), purpose="full", trainer=path, device_map="cpu"
    )
    assert "QVL704" not in {finding.code for finding in report.findings}


def test_accelerate_names_a_deepspeed_file_beside_it(tmp_path: Path) -> None:
    write(tmp_path, "ds.json", ZERO3)
    path = accelerate(tmp_path, "DEEPSPEED", more="deepspeed_config:\n  deepspeed_config_file: ds.json")
    trainer = read_trainer(path).trainer
    assert trainer is not None
    assert trainer["beside_deepspeed_config_file"] == ["mixed_precision"]
    assert trainer["deepspeed"]["zero_optimization"] == {"stage": 3}


def test_accelerate_with_fsdp_is_version_1_unless_it_says_2(tmp_path: Path, checkpoints: Path) -> None:
    path = accelerate(tmp_path, "FSDP", more="fsdp_config:\n  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP")
    bnb = {"__class__": "BitsAndBytesConfig", "load_in_4bit": True}
    call: dict[str, Any] = {"facts": machine("two-gpus", "today-bnb"), "purpose": "qlora", "quantization_config": bnb}
    report = qvl_preflight.check(str(checkpoints / PLAIN), trainer=path, **call)
    assert report.findings[0].code == "QVL707"
    path = accelerate(tmp_path, "FSDP", more="fsdp_config:\n  fsdp_version: 2")
    assert "QVL707" not in {
        finding.code for finding in qvl_preflight.check(str(checkpoints / PLAIN), trainer=path, **call).findings
    }


def test_processes_on_the_cpu_need_no_gpu(tmp_path: Path, checkpoints: Path) -> None:
    path = accelerate(tmp_path, "MULTI_CPU", processes=4)
    report = qvl_preflight.check(
        str(checkpoints / PLAIN), facts=machine("two-gpus"), purpose="lora", trainer=path, device_map="cpu"
    )
    assert "QVL712" not in {finding.code for finding in report.findings}


def test_more_processes_than_gpus(tmp_path: Path, checkpoints: Path) -> None:
    path = accelerate(tmp_path, "MULTI_GPU", processes=4)
    report = qvl_preflight.check(str(checkpoints / PLAIN), facts=machine("two-gpus"), purpose="lora", trainer=path)
    assert "QVL712" in {finding.code for finding in report.at_least(Severity.WARNING)}


def test_a_rank_knows_its_launch_better_than_a_file(tmp_path: Path) -> None:
    path = accelerate(tmp_path, "MULTI_GPU", processes=8)
    case = api.situation(PLAIN_FOLDER(tmp_path), "lora", None, None, path, machine("rank-1-of-2"), {})
    assert not isinstance(case.facts.launch, Unknown)
    assert case.facts.launch.world_size == 2


def PLAIN_FOLDER(root: Path) -> str:  # noqa: N802 - reads as the constant that it stands for
    folder = root / "model"
    folder.mkdir(exist_ok=True)
    write(folder, "config.json", {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]})
    return str(folder)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.yaml", "distributed_type: [FSDP\n", "line 2"),
        ("a.yaml", "- one\n- two\n", "holds a list"),
        ("a.yaml", "", "holds nothing"),
        ("a.yaml", "a: &x [1]\nb: *x\n", "line 2 repeats another part by an alias"),
        ("a.yaml", "distributed_type: FSDP\nfsdp_config: yes please\n", "fsdp_config holds a str"),
        ("a.yaml", "distributed_type: FSDP\nnum_processes: several\n", "num_processes is 'several'"),
        ("a.yaml", "distributed_type: 'NO'\nmixed_precision: half\n", "mixed_precision is half"),
        ("a.json", '{"zero_optimization": {"stage": 4}}', "stage is 4; expected 0, 1, 2 or 3"),
        ("a.json", '{"zero_optimization": "3"}', "expected an object with a stage"),
        ("a.json", '{"fp16": true,}', "not readable"),
    ],
)  # fmt: skip
def test_broken_files_are_refused_in_one_line(tmp_path: Path, name: str, content: str, said: str) -> None:
    if name.endswith("yaml"):
        pytest.importorskip("yaml")
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        read_trainer(write(tmp_path, name, content))
    assert "\n" not in str(caught.value)


def test_without_pyyaml_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    with pytest.raises(InputError, match="pip install pyyaml, or save it as JSON"):
        read_trainer(write(tmp_path, "a.yaml", "distributed_type: FSDP\n"))


def test_adapters_out_of_a_file_or_folder(tmp_path: Path, checkpoints: Path) -> None:
    path = write(tmp_path, "adapter_config.json", {"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"]})
    for given in (path, str(tmp_path), tmp_path):
        case = api.situation(str(checkpoints / PLAIN), None, None, given, None, machine(), {})
        assert case.request.peft is not None
        assert case.request.peft["target_modules"] == ["q_proj"]
        assert case.request.purpose == "lora"
    with pytest.raises(InputError, match=r"expected an adapter_config\.json of peft"):
        api.situation(str(checkpoints / PLAIN), None, None, write(tmp_path, "other.json", {"a": 1}), None, machine(), {})


JOB: dict[str, Any] = {
    "stage": "sft", "do_train": True, "finetuning_type": "lora", "lora_rank": 16, "lora_target": "all", "bf16": True, "flash_attn": "fa2", "template": "qwen",
    "per_device_train_batch_size": 1, "learning_rate": 1e-4, "dataset": "identity",
}  # fmt: skip


def job(folder: Path, model: str, **settings: Any) -> str:
    return write(folder, "job.json", {"model_name_or_path": model, **JOB, **settings})


def situation(path: str, hardware: str = "a100", stack: str = "today-bnb") -> Any:
    return api.situation(path, None, None, None, None, machine(hardware, stack), {})


def test_a_lora_job(tmp_path: Path, checkpoints: Path) -> None:
    """The dtype out of bf16, the GPU of the rank, flash attention only where the package is; what is its own stays out of the trainer."""
    case = situation(job(tmp_path, str(checkpoints / PLAIN)))
    request = case.request
    assert request.kwargs == {
        "trust_remote_code": False,
        "low_cpu_mem_usage": True,
        "torch_dtype": Dtype("bfloat16"),
        "device_map": {"": 0},
    }
    assert (request.purpose, request.purpose_named) == ("lora", True)
    assert request.peft == {"r": 16, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
    assert request.trainer == {
        "per_device_train_batch_size": 1,
        "learning_rate": 1e-4,
        "bf16": True,
        "gradient_checkpointing": True,
    }


def test_a_qlora_job(tmp_path: Path, checkpoints: Path) -> None:
    case = situation(job(tmp_path, str(checkpoints / PLAIN), quantization_bit=4))
    bfloat16 = Dtype("bfloat16")
    assert case.request.purpose == "qlora"
    assert case.request.kwargs["quantization_config"] == ConfigObject(
        "BitsAndBytesConfig",
        {
            "load_in_4bit": True, "bnb_4bit_use_double_quant": True, "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_compute_dtype": bfloat16, "bnb_4bit_quant_storage": bfloat16,
        },
    )  # fmt: skip


def test_a_job_on_a_gptq_checkpoint_switches_exllama_off(tmp_path: Path, checkpoints: Path) -> None:
    case = situation(job(tmp_path, str(checkpoints / GPTQ)), stack="today")
    assert case.checkpoint.quantization is not None
    assert case.checkpoint.quantization["use_exllama"] is False
    assert case.checkpoint.quantization["bits"] == 4
    assert case.request.purpose == "qlora"


def test_a_job_under_zero3_names_no_device(tmp_path: Path, checkpoints: Path) -> None:
    case = situation(job(tmp_path, str(checkpoints / PLAIN), deepspeed=write(tmp_path, "ds.json", ZERO3)))
    assert case.request.kwargs == {"trust_remote_code": False, "low_cpu_mem_usage": False}


def test_several_gpus_are_ranks(tmp_path: Path, checkpoints: Path) -> None:
    """llamafactory-cli starts torchrun there."""
    case = situation(job(tmp_path, str(checkpoints / PLAIN)), "two-gpus")
    assert (case.facts.launch.launcher, case.facts.launch.world_size) == ("torchrun", 2)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"finetuning_type": "lroa"}, "expected lora, oft, freeze or full"),
        ({"quantization_bit": 3}, "bitsandbytes takes 4 or 8"),
        ({"quantization_bit": 4, "quantization_method": "int4"}, "expected one of bnb, hqq, eetq"),
        ({"model_name_or_path": 7}, "expected a folder or a hub id"),
    ],
)
def test_what_llama_factory_would_not_take(tmp_path: Path, checkpoints: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        situation(
            job(tmp_path, **{"model": str(checkpoints / PLAIN), **settings})
            if "model_name_or_path" not in settings
            else write(tmp_path, "job.json", {**JOB, **settings})
        )


def test_other_files_in_place_of_a_model(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a configuration of DeepSpeed names no model; give the model, and this file by trainer="):
        situation(write(tmp_path, "ds.json", ZERO3))
    with pytest.raises(InputError, match="neither a model's folder nor a job of LLaMA-Factory"):
        situation(write(tmp_path, "x.json", {"a": 1}))
    with pytest.raises(InputError, match="a job makes its call itself"):
        qvl_preflight.fix_kwargs(write(tmp_path, "x.json", {"a": 1}))


def test_on_the_command_line(tmp_path: Path, checkpoints: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The shell in which a job is asked about is not the launcher that will start it."""
    facts = write(tmp_path, "facts.json", machine("a100", "today-deepspeed").to_dict())
    peft = write(tmp_path, "adapter_config.json", {"peft_type": "LORA", "r": 8, "target_modules": ["q_proj"]})
    trainer = write(tmp_path, "ds.json", {"zero_optimization": {"stage": 2}})
    assert (
        main(
            [
                "check",
                str(checkpoints / PLAIN),
                "--trainer",
                trainer,
                "--peft",
                peft,
                "--facts",
                facts,
                "--set",
                'device_map={"": 0}',
                "--json",
            ]
        )
        == 0
    )
    report = json.loads(capsys.readouterr().out)
    assert (report["purpose"], report["findings"]) == ("lora", [])
