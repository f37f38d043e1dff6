"""What drawn calls met on real stacks (transformers 4.37.2, 4.57.1, 5.23.0) and what the plan says of it, each beside what must stay quiet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.testing import STACKS, machine

MODELS = Path(__file__).parents[1] / "recordings" / "models"
LORA = {"r": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}


def said(
    release: str, model: str = "plain-bf16", purpose: str = "inference", peft: Any = None, **kwargs: Any
) -> list[tuple[str, str]]:
    """Type and text of the exceptions that are errors."""
    stack = STACKS["legacy" if release < "5" else "today"]["packages"]
    facts = machine(packages={**stack, "transformers": release, "bitsandbytes": "0.48.1"})
    report = qvl_preflight.check(str(MODELS / model), purpose=purpose, facts=facts, peft=peft, **kwargs)
    return [(f.raises.type, f.raises.text) for f in report.findings if f.raises and f.severity and f.severity.value == "error"]


@pytest.mark.parametrize(
    ("release", "call", "type_", "text"),
    [
        ("4.37.2", {"quantization_config": {"__class__": "HqqConfig"}}, "ImportError", "cannot import name 'HqqConfig' from 'transformers'"),
        ("5.23.0", {"loader": "AutoModelForCasualLM"}, "ImportError", "cannot import name 'AutoModelForCasualLM' from 'transformers'"),
        ("4.37.2", {"quantization_config": {"__class__": "GPTQConfig", "bits": 4, "exllama_config": {}}, "device_map": "gpu"}, "ValueError", "`exllama_config` needs to have a `version` key."),
        ("4.57.1", {"model": "gptq-int4", "quantization_config": None}, "AttributeError", "'NoneType' object has no attribute 'to_dict'"),
        ("4.37.2", {"torch_dtype": 16}, "IndexError", "list index out of range"),
        ("5.23.0", {"dtype": 16}, "ValueError", "`dtype` can be one of"),
        ("5.23.0", {"dtype": "fp16", "device_map": -1}, "AttributeError", "module 'torch' has no attribute 'fp16'"),
        ("4.57.1", {"dtype": "int8"}, "ValueError", "Can't instantiate LlamaForCausalLM model under dtype=torch.int8"),
        ("4.57.1", {"model": "gptq-int4", "dtype": "int8", "device_map": {"model": "cpu"}}, "ValueError", "Can't instantiate LlamaForCausalLM model under dtype=torch.int8"),
        ("5.23.0", {"model": "gptq-int4", "dtype": "int8"}, "ValueError", "LlamaForCausalLM cannot be instantiated under `dtype=torch.int8`"),
        ("5.23.0", {"device_map": {"model": "10GB"}}, "RuntimeError", "Expected one of cpu"),
        ("5.23.0", {"device_map": {"model.layers": 9, "lm_head": "cpu"}}, "AcceleratorError", "CUDA error: invalid device ordinal"),
        ("5.23.0", {"device_map": {"model.layers": 0, "lm_head": "cpu"}}, "ValueError", "The device_map provided does not give any device"),
        ("5.23.0", {"device_map": {"": "0"}}, "RuntimeError", "Invalid device string: '0'"),
        ("5.23.0", {"num_gpus": 1}, "TypeError", "LlamaForCausalLM.__init__() got an unexpected keyword argument 'num_gpus'"),
        ("4.37.2", {"attn_implementation": "xformers", "dtype": "float16"}, "ValueError", 'Specified `attn_implementation="xformers"`'),
        ("4.37.2", {"model": "gptq-int4", "loader": "AutoModel"}, "ValueError", "Block pattern could not be match."),
        ("5.23.0", {"quantization_config": {"__class__": "BitsAndBytesConfig", "load_in_4bit": True}, "device_map": {"model": 0, "lm_head": "cpu"}, "num_gpus": 1}, "ValueError", "Some modules are dispatched on the CPU or the disk."),
    ],
)  # fmt: skip
def test_what_is_met_first(release: str, call: dict[str, Any], type_: str, text: str) -> None:
    """The first error, before the others that the call would meet."""
    assert [(kind, words[: len(text)]) for kind, words in said(release, **call)][:1] == [(type_, text)]


@pytest.mark.parametrize(
    ("release", "call"),
    [
        ("5.23.0", {"model": "gptq-int4", "quantization_config": None}),
        ("4.57.1", {"quantization_config": None}),
        ("4.57.1", {"model": "gptq-int4", "quantization_config": None, "loader": "LlamaForCausalLM"}),
        ("5.23.0", {"loader": "AutoPeftModelForCausalLM"}),
        ("5.23.0", {"dtype": {"": "float16"}}),
        ("4.37.2", {"max_position_embeddings": 64}),
        ("5.23.0", {"dtype": "half"}),
        ("5.23.0", {"device_map": {"cpu": "10GB"}}),
    ],
)
def test_what_loads(release: str, call: dict[str, Any]) -> None:
    """Near to the above, and fine."""
    assert [words for kind, words in said(release, **{"device_map": {"": 0}, **call}) if "exllama" not in words] == []


@pytest.mark.parametrize(("placed", "kernel"), [("balanced", "modules"), ({"": "cpu"}, None)])
def test_what_stays_unquantised_on_the_cpu(placed: Any, kernel: str | None) -> None:
    """5.x asks a map what stays as it is before it works a strategy out."""
    quantization = {"__class__": "BitsAndBytesConfig", "load_in_4bit": True, "llm_int8_enable_fp32_cpu_offload": True}
    facts = machine(packages={**STACKS["today"]["packages"], "transformers": "5.23.0", "bitsandbytes": "0.50.2"}, gpus=[])
    report = qvl_preflight.check(
        str(MODELS / "plain-bf16"), facts=facts, device_map=placed, dtype="float16", quantization_config=quantization
    )
    assert report.plan is not None
    assert report.plan.to_dict()["kernel"] == kernel


@pytest.mark.parametrize(
    ("release", "setting", "text"),
    [
        ("4.37.2", {"use_dora": True}, "LoraConfig.__init__() got an unexpected keyword argument 'use_dora'"),
        ("4.37.2", {"init_lora_weights": "pissa"}, "Unknown initialization init_lora_weights='pissa'"),
        ("5.23.0", {"bias": "some"}, "Requested bias: some, is not implemented."),
        (
            "5.23.0",
            {"layers_pattern": "layers"},
            "When `layers_pattern` is specified, `layers_to_transform` must also be specified.",
        ),
        ("5.23.0", {"lora_dropout": 1.5}, "dropout probability has to be between 0 and 1, but got 1.5"),
        ("5.23.0", {"init_lora_weights": "pissa_niter_4"}, None),
        ("4.37.2", {"use_dora": False, "exclude_modules": None, "init_lora_weights": "gaussian"}, None),
    ],
)
def test_settings_of_adapters(release: str, setting: dict[str, Any], text: str | None) -> None:
    """As the release of peft takes them; what nobody set, a live LoraConfig shows all the same."""
    found = [words for _, words in said(release, purpose="lora", peft={**LORA, **setting}, device_map={"": 0})]
    assert found == ([] if text is None else [text])


def test_triton_trains_on_the_cpu() -> None:
    """model.train() takes its layers through torch; the forward of a loaded model does not."""
    facts = machine("no-gpu", "today")
    folder = str(MODELS / "gptq-int4")
    trained = qvl_preflight.check(folder, purpose="qlora", facts=facts, peft=LORA, device_map="auto")
    assert "QVL306" not in [finding.code for finding in trained.findings]
