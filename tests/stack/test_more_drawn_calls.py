"""More of what drawn calls met on real stacks without a GPU (transformers 4.37.2, 4.57.1, 5.23.0), each beside what must stay quiet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import qvl_preflight
from qvl_preflight.testing import STACKS, machine

MODELS = Path(__file__).parents[1] / "recordings" / "models"
LORA = {"r": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
STACK = {"4.37.2": "legacy", "4.57.1": "recent-4", "5.23.0": "today"}
PARTS = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "cpu", "model.norm": "cpu", "lm_head": "cpu"}
FLAG = {"loader": "AutoModelForQuestionAnswering"}
AWQ = {"__class__": "AwqConfig", "bits": 4, "do_fuse": True, "fuse_max_seq_len": 512}
FP8 = {"__class__": "FineGrainedFP8Config", "activation_scheme": "static"}


def said(release: str, model: str = "plain-bf16", hardware: str = "no-gpu", **call: Any) -> list[tuple[str, str]]:
    """Type and text of the exceptions that are errors, on a machine without a GPU."""
    packages = {**STACKS[STACK[release]]["packages"], "transformers": release, "bitsandbytes": "0.48.1"}
    if release == "4.57.1":
        packages |= {"gptqmodel": "4.2.5", "optimum": "2.0.0"}
    facts = machine(
        hardware, packages=packages, torch={"cuda_build": call.pop("build", False), "hip_build": False, "xpu_build": False}
    )
    purpose = call.pop("purpose", "inference")
    report = qvl_preflight.check(str(MODELS / model), purpose=purpose, facts=facts, **call)
    return [(f.raises.type, f.raises.text) for f in report.findings if f.raises and f.severity and f.severity.value == "error"]


@pytest.mark.parametrize(
    ("release", "call", "type_", "text"),
    [
        pytest.param("5.23.0", {"loader": "LlamaModel", "device_map": {**PARTS, "model.norm": 1}}, "ValueError", "The device_map provided does not give any device", id="a device that no part goes to is not asked for (5.x)"),
        pytest.param("4.57.1", {"loader": "LlamaModel", "device_map": {**PARTS, "model.norm": 1}}, "ValueError", "embed_tokens.weight doesn't have any device set.", id="nor in 4.57"),
        pytest.param("4.57.1", {"device_map": {"model.embed_tokens": "cpu", "model.layers.0": "cuda", "model.layers.1": "cpu", "model.norm": "cpu"}}, "AssertionError", "Torch not compiled with CUDA enabled", id="4.57 asks the GPUs before it reads a tensor"),
        pytest.param("4.37.2", {"device_map": {"model.embed_tokens": "cpu", "model.layers": "cpu", "lm_head": 1}}, "AssertionError", "Torch not compiled with CUDA enabled", id="4.37 meets lm_head before the hole"),
        pytest.param("4.37.2", {"device_map": {"model.embed_tokens": "cpu", "model.layers": "cpu", "model.norm": 1}}, "ValueError", "lm_head.weight doesn't have any device set.", id="and the hole before the norm"),
        pytest.param("5.23.0", {"loader": "AutoModelForSequenceClassification", "device_map": {**PARTS, "model.layers.0": "disk"}}, "ValueError", "The device_map provided does not give any device", id="a head that is made anew has no place"),
        pytest.param("4.57.1", {"device_map": "xpu"}, "AssertionError", "Torch not compiled with XPU enabled", id="a torch that is built for none of them"),
        pytest.param("5.23.0", {"model": "gptq-int8", "quantization_config": {"__class__": "AutoRoundConfig", "bits": 4}}, "ImportError", "Loading an AutoRound quantized model requires auto-round library", id="AutoRoundConfig goes before the stored method"),
        pytest.param("5.23.0", {"device_map": {**PARTS, "model.embed_tokens": "disk"}, "quantization_config": {"__class__": "GPTQConfig", "bits": 4, "dataset": "c4", "tokenizer": "x"}}, "ValueError", "disk offload is not supported with GPTQ quantization", id="quantising with parts on the disk"),
        pytest.param("5.23.0", {"quantization_config": {"__class__": "Mxfp4Config"}, "build": "13.0"}, "ValueError", "MXFP4 quantization is only supported on GPUs with compute capability >= 7.5", id="a torch for CUDA that finds none"),
        pytest.param("4.57.1", {"model": "gptq-int4", "quantization_config": AWQ}, "ValueError", "You current version of `autoawq` does not support module fusing", id="fused modules without autoawq"),
        pytest.param("4.57.1", {"model": "gptq-int4", "quantization_config": FP8}, "ValueError", "Activation scheme static not supported", id="a scheme that the class refuses"),
        pytest.param("4.57.1", {"load_in_4bit": "yes", "device_map": {"model": "disk", "lm_head": "cpu"}}, "TypeError", "load_in_4bit must be a boolean", id="a flag's type before the map"),
        pytest.param("4.57.1", {"model": "gptq-int4", "quantization_config": {"__class__": "GPTQConfig", "bits": 4, "backend": "ipex"}}, "ValueError", "{'Packing' if pack else ''} Kernel: IPEX is not installed.", id="ipex that is not installed"),
        pytest.param("4.37.2", {"quantization_config": {"__class__": "BitNetQuantConfig"}, "device_map": "auto", "offload_buffers": True}, "ImportError", "cannot import name 'BitNetQuantConfig' from 'transformers'", id="a class that came later under another name"),
        pytest.param("4.57.1", {"model": "gptq-int8", "device_map": {"__device__": "meta"}}, "ValueError", "'meta' is not a valid DEVICE", id="meta as an object"),
        pytest.param("5.23.0", {"model": "gptq-int4", **FLAG}, "ValueError", "Block pattern could not be match.", id="blocks under another name"),
    ],
)  # fmt: skip
def test_what_is_met_first(release: str, call: dict[str, Any], type_: str, text: str) -> None:
    """The first error, before the others that the call would meet."""
    assert [(kind, words[: len(text)]) for kind, words in said(release, **call)][:1] == [(type_, text)]


@pytest.mark.parametrize(
    ("release", "call"),
    [
        pytest.param("5.23.0", {"loader": "LlamaModel", "device_map": {"": "cpu"}}, id="all of a class without a head"),
        pytest.param("5.23.0", {"loader": "LlamaModel", "device_map": {"embed_tokens": "cpu", "layers": "disk", "norm": "cpu"}}, id="by its own names"),
        pytest.param("5.23.0", {"loader": "AutoModelForSequenceClassification", "device_map": {**PARTS, "model.layers.0": "disk", "score": "cpu"}}, id="a head with a place"),
        pytest.param("5.23.0", {"loader": "AutoModelForSequenceClassification", "device_map": PARTS}, id="one device: 5.x looks at no map again"),
        pytest.param("5.23.0", {"quantization_config": {**FP8}, "hardware": "a100", "device_map": {"": 0}, "build": "13.0"}, id="a static scheme in 5.x"),
        pytest.param("4.57.1", {"device_map": PARTS}, id="a whole map"),
        pytest.param("5.23.0", {"model": "gptq-int4"}, id="the class that the checkpoint names"),
    ],
)  # fmt: skip
def test_what_loads(release: str, call: dict[str, Any]) -> None:
    """Near to the above, and fine."""
    assert said(release, **call) == []


@pytest.mark.parametrize(
    ("release", "model", "setting", "text"),
    [
        ("5.23.0", "gptq-int8", {"rank_pattern": {"q_proj": 0}}, "`r` should be a positive integer value but the value passed is 0"),
        ("5.23.0", "plain-bf16", {"rank_pattern": {"q_proj": 0}}, "`r` should be a positive integer value but the value passed is 0"),
        ("5.23.0", "plain-bf16", {"rank_pattern": {"o_proj": 0}}, None),
        ("5.23.0", "plain-bf16", {"rank_pattern": {"q_proj": 2}}, None),
        ("5.23.0", "plain-bf16", {"rank_pattern": {"nope": 0}, "target_modules": ["q_proj", "nope"]}, None),
        ("4.57.1", "gptq-int4", {"use_dora": True, "r": -1}, "GPTQLoraLinear does not support DoRA yet, please set it to False"),
    ],
)  # fmt: skip
def test_ranks_and_dora(release: str, model: str, setting: dict[str, Any], text: str | None) -> None:
    """A pattern's rank counts for the layers that it names; DoRA is refused before the rank is looked at."""
    purpose = "qlora" if model.startswith("gptq") else "lora"
    found = [words for _, words in said(release, model, purpose=purpose, peft={**LORA, **setting}, device_map="cpu")]
    assert found[:1] == ([] if text is None else [text])


@pytest.mark.parametrize(
    ("device_map", "raises"),
    [
        pytest.param({"model.embed_tokens": "cpu", "model.layers": "disk", "model.norm": "cpu", "lm_head": "cpu"}, True, id="the list of blocks"),
        pytest.param({"model": "disk", "lm_head": "cpu"}, True, id="what holds it"),
        pytest.param({**PARTS, "model.layers.0": "disk"}, False, id="one block: not seen"),
        pytest.param({**PARTS, "lm_head": "disk"}, False, id="a part without blocks"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("release", ["4.37.2", "4.57.1", "5.23.0"])
def test_all_blocks_on_the_disk_take_no_gradient(release: str, device_map: Any, raises: bool) -> None:
    """Whatever the entry is called that holds them."""
    found = said(release, purpose="lora", peft=LORA, device_map=device_map)
    assert [words for _, words in found] == (["Function MmBackward0 returned an invalid gradient"] if raises else [])
