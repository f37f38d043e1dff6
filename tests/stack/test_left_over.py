"""Arguments that reach the model's constructor, by release: as they did with a tiny Llama."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.report import Severity
from qvl_preflight.stack.argument_names import may_take
from qvl_preflight.stack.left_over import LEFT_OVER, meant
from qvl_preflight.testing import STACKS, machine

# What was left over when from_pretrained was called with each of these alone (None as the value).
ASKED = [
    "attn_implementation",
    "device_mesh",
    "distributed_config",
    "dtype",
    "experts_implementation",
    "generation_config",
    "gguf_file",
    "key_mapping",
    "load_in_4bit",
    "load_in_8bit",
    "offload_buffers",
    "token",
    "tp_plan",
    "tp_size",
    "use_auth_token",
    "resume_download",
    "use_flash_attention_2",
    "use_kernels",
    "weights_only",
    "bf16",
    "fp16",
    "fp32",
    "do_sample",
    "temperature",
    "max_length",
    "torchscript",
    "device",
    "load_in_16bit",
    "use_flash_attn",
]
ALWAYS = {"bf16", "fp16", "fp32", "device", "load_in_16bit", "use_flash_attn"}
NEW = {"distributed_config", "dtype", "experts_implementation"}
RUN = {
    "4.28.1": {*NEW, "attn_implementation", "device_mesh", "generation_config", "gguf_file", "key_mapping", "load_in_4bit", "offload_buffers", "token", "tp_plan", "tp_size", "use_flash_attention_2", "use_kernels", "weights_only"},
    "4.32.0": {*NEW, "attn_implementation", "device_mesh", "generation_config", "gguf_file", "key_mapping", "offload_buffers", "tp_plan", "tp_size", "use_flash_attention_2", "use_kernels", "weights_only"},
    "4.34.1": {*NEW, "attn_implementation", "device_mesh", "generation_config", "gguf_file", "key_mapping", "offload_buffers", "tp_plan", "tp_size", "use_kernels", "weights_only"},
    "4.37.2": {*NEW, "device_mesh", "generation_config", "gguf_file", "key_mapping", "offload_buffers", "tp_plan", "tp_size", "use_kernels", "weights_only"},
    "4.39.3": {*NEW, "device_mesh", "generation_config", "gguf_file", "key_mapping", "tp_plan", "tp_size", "use_kernels", "weights_only"},
    "4.45.2": {*NEW, "device_mesh", "key_mapping", "tp_plan", "tp_size", "use_kernels", "weights_only"},
    "4.48.3": {*NEW, "device_mesh", "key_mapping", "tp_size", "use_kernels"},
    "4.51.3": {*NEW, "device_mesh", "tp_size", "use_kernels"},
    "4.53.3": {*NEW, "use_flash_attention_2"},
    "4.55.4": {"dtype", "experts_implementation", "use_flash_attention_2"},
    "4.57.1": {"experts_implementation", "use_flash_attention_2"},
    "5.23.0": {"load_in_4bit", "load_in_8bit", "resume_download", "use_auth_token", "use_flash_attention_2", "do_sample", "temperature", "max_length", "torchscript"},
}  # fmt: skip


def report(folder: Path, release: str, config: dict[str, Any] | None = None, **call: Any) -> qvl_preflight.Report:
    written = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **(config or {})}
    (folder / "config.json").write_text(json.dumps(written))
    return qvl_preflight.check(
        str(folder), facts=machine(packages={**STACKS["legacy"]["packages"], "transformers": release}), **call
    )


def left(folder: Path, release: str, config: dict[str, Any] | None = None, **call: Any) -> list[str]:
    plan = report(folder, release, config, **call).plan
    assert plan is not None
    return [raised.text for raised in plan.raises if raised.code in ("QVL903", "QVL913", "QVL337")]


@pytest.mark.parametrize("release", RUN)
def test_what_each_release_leaves_over(tmp_path: Path, release: str) -> None:
    """The whole list, both ways."""
    found = {name for name in ASKED if left(tmp_path, release, **{name: None})}
    assert found == RUN[release] | ALWAYS
    assert set(ASKED) == set(LEFT_OVER)


@pytest.mark.parametrize(
    ("loader", "name"),
    [
        (None, "LlamaForCausalLM"),
        ("AutoModelForCausalLM", "LlamaForCausalLM"),
        ("AutoModel", "LlamaModel"),
        ("AutoModelForSequenceClassification", "GenericForSequenceClassification"),
        ("LlamaForCausalLM", "LlamaForCausalLM"),
    ],
)
def test_the_class_that_refuses_it(tmp_path: Path, loader: str | None, name: str) -> None:
    """The one behind the Auto class; heads that have no constructor of their own say whose it is."""
    assert left(tmp_path, "5.23.0", loader=loader, bf16=True) == [f"{name}.__init__() got an unexpected keyword argument 'bf16'"]


@pytest.mark.parametrize(
    ("config", "call"),
    [
        pytest.param({"temperature": 0.5}, {"temperature": 1.0}, id="config.json has it"),
        pytest.param({"model_type": "qwen", "auto_map": {"AutoModelForCausalLM": "m.M"}}, {"bf16": True, "trust_remote_code": True}, id="code of the checkpoint may take it"),
        pytest.param({}, {"bf16": True, "loader": "TheirOwnModel"}, id="a class of their own"),
        pytest.param({}, {"device": "cuda:0", "loader": "AutoGPTQForCausalLM"}, id="a class of another package"),
        pytest.param({}, {"_attn_implementation": "eager"}, id="an attribute of the configuration"),
        pytest.param({}, {"num_labels": 3}, id="what only the configuration's class knows"),
        pytest.param({}, {"use_cache": False}, id="near to nothing"),
    ],
)  # fmt: skip
def test_what_may_be_read(tmp_path: Path, config: dict[str, Any], call: dict[str, Any]) -> None:
    """Silence."""
    assert left(tmp_path, "5.23.0", config, **call) == []


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ("devices_map", "device_map"), ("device_mapp", "device_map"), ("Device_Map", "device_map"), ("torch_dtypes", "torch_dtype"), ("trust_remote_codes", "trust_remote_code"),
        ("atnn_implementation", "attn_implementation"), ("quantisation_config", "quantization_config"), ("load_in_4bits", "load_in_4bit"),
        ("vision_config", None), ("hidden_size", None), ("rope_theta", None), ("tokens", None), ("num_labels", None), ("pad_token_id", None),
    ],
)  # fmt: skip
def test_slips(written: str, right: str | None) -> None:
    """Two letters in a long name, one in a shorter one."""
    assert meant(written) == right


@pytest.mark.parametrize(
    "name", [*LEFT_OVER, "device_map", "tp_plan", "fusion_config", "kernel_config", "text_config", "cache_dirs_of_mine"]
)
def test_what_some_release_reads_is_no_slip(name: str) -> None:
    """Each is right as it stands, or far from everything."""
    assert meant(name) is None


@pytest.mark.parametrize(
    ("release", "given", "fixed"),
    [
        ("5.23.0", {"bf16": True}, {"dtype": {"__dtype__": "bfloat16"}}),
        ("4.45.2", {"fp16": True}, {"torch_dtype": {"__dtype__": "float16"}}),
        ("4.45.2", {"bf16": True, "torch_dtype": {"__dtype__": "bfloat16"}}, {"torch_dtype": {"__dtype__": "bfloat16"}}),
        ("4.45.2", {"fp16": False}, {}),
        ("5.23.0", {"use_auth_token": "hf"}, {"token": "hf"}),
        ("5.23.0", {"resume_download": True}, {}),
        ("5.23.0", {"use_flash_attention_2": False}, {}),
        ("4.37.2", {"dtype": {"__dtype__": "float16"}}, {"torch_dtype": {"__dtype__": "float16"}}),
        ("4.34.1", {"attn_implementation": "eager"}, {}),
        ("4.37.2", {"device": "cuda:0"}, {"device_map": "cuda:0"}),
        ("4.37.2", {"devices_map": "cuda:0"}, {"device_map": "cuda:0"}),
        ("4.37.2", {"devices_map": "cuda:0", "device_map": "cuda:0"}, {"device_map": "cuda:0"}),
    ],
)
def test_the_same_said_as_the_release_reads_it(tmp_path: Path, release: str, given: dict[str, Any], fixed: dict[str, Any]) -> None:
    """And nothing else is changed."""
    (tmp_path / "config.json").write_text('{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}')
    facts = machine(packages={**STACKS["legacy"]["packages"], "transformers": release, "accelerate": "1.15.0"})
    done = qvl_preflight.fix_kwargs(str(tmp_path), facts=facts, select=["QVL903", "QVL913"], **given)
    assert done.to_plain() == fixed


def test_settings_of_generate_are_dropped_on_request_alone(tmp_path: Path) -> None:
    """In transformers 4 they changed what generate() does."""
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert qvl_preflight.fix_kwargs(str(tmp_path), facts=machine(), select=["QVL903"], do_sample=True) == {"do_sample": True}
    assert qvl_preflight.fix_kwargs(str(tmp_path), facts=machine(), select=["QVL903"], unsafe=True, do_sample=True) == {}


def test_code_of_the_checkpoint_may_read_what_transformers_does_not(tmp_path: Path) -> None:
    """A warning then."""
    config = {"model_type": "qwen", "auto_map": {"AutoModelForCausalLM": "m.M"}}
    [finding] = [
        found
        for found in report(tmp_path, "5.23.0", config, trust_remote_code=True, use_flash_attention_2=True).findings
        if found.code == "QVL903"
    ]
    assert finding.severity is Severity.WARNING


# Each was passed to a tiny Llama, GPT-2, OPT and Mixtral with 4.37.2, 4.57.1 and 5.23.0, and refused.
REFUSED = (
    "padding_side",
    "attn_impl",
    "attention_implementation",
    "quant_config",
    "bnb_config",
    "data_type",
    "dtypes",
    "模型",
    "my_own_argument",
    "eval_mode",
)


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("release", ["4.37.2", "4.57.1", "5.23.0"])
def test_a_name_that_nothing_takes(tmp_path: Path, release: str, name: str) -> None:
    """Whatever the name: the class refuses it."""
    assert left(tmp_path, release, **{name: 1}) == [f"LlamaForCausalLM.__init__() got an unexpected keyword argument '{name}'"]


@pytest.mark.parametrize(
    ("model_type", "name"),
    [("llama", "num_labels"), ("llama", "rope_theta"), ("bert", "add_pooling_layer"), ("bert", "classifier_dropout"), ("mpt", "attn_impl"), ("llama", "output_attentions"), ("gpt2", "n_layer"), ("llama", "attn_implementation")],
)  # fmt: skip
def test_a_name_that_the_model_knows(model_type: str, name: str) -> None:
    """A setting of its configuration, or an argument of its classes."""
    assert may_take(model_type, name) is not False


@pytest.mark.parametrize(
    ("config", "call"),
    [
        pytest.param({"model_type": "qwen", "auto_map": {"AutoModelForCausalLM": "m.M"}}, {"trust_remote_code": True}, id="code of the checkpoint"),
        pytest.param({"model_type": "of_tomorrow"}, {}, id="a model type that no release has"),
        pytest.param({}, {"loader": "modelscope.AutoModelForCausalLM"}, id="modelscope's own class"),
    ],
)  # fmt: skip
def test_a_name_that_somebody_else_may_take_is_open(tmp_path: Path, config: dict[str, Any], call: dict[str, Any]) -> None:
    """Nothing is raised, and it is listed as not checked."""
    plan = report(tmp_path, "5.23.0", config, my_own_argument=1, **call).plan
    assert plan is not None
    assert not [raised for raised in plan.raises if raised.code == "QVL903"]
    assert any("my_own_argument" in reason for _, _, reason in plan.undecided)
