"""The values that draws.py draws from: what people write, and what they get wrong."""

from __future__ import annotations

from typing import Any


def _dtype(name: str) -> dict[str, str]:
    return {"__dtype__": name}


def _device(name: str) -> dict[str, str]:
    return {"__device__": name}


def _config(name: str, **fields: Any) -> dict[str, Any]:
    return {"__class__": name, **fields}


Values = tuple[tuple[Any, ...], tuple[Any, ...]]  # good ones, odd ones

DTYPES: tuple[Any, ...] = ("auto", "float16", "bfloat16", "float32", _dtype("float16"), _dtype("bfloat16"), _dtype("float32"), None)
ODD_DTYPES: tuple[Any, ...] = ("bf16", "fp16", "fp32", "half", "torch.float16", "torch.bfloat16", "float", "int8", "AUTO", "", _dtype("float64"), _dtype("int8"), {"": "float16"}, 16, True)  # fmt: skip

PLACES: tuple[Any, ...] = (*("cpu",) * 12, *("disk",) * 3, "cuda", "cuda:0", 0, 1)
MAPS: tuple[Any, ...] = (
    None, "auto", "auto", "auto", "cpu", "cpu", "balanced", "sequential", "balanced_low_0", "cuda", "cuda:0", 0, {"": 0}, {"": "cpu"}, {"": "cpu"},
    _device("cpu"), _device("cuda"), _device("cuda:0"), {"": "cuda:0"}, {"": _device("cpu")}, {"model": "cpu", "lm_head": "cpu"},
)  # fmt: skip
ODD_MAPS: tuple[Any, ...] = (
    {"": "disk"}, "meta", "disk", "gpu", "AUTO", "CPU", "auto ", "none", "", "cuda:9", "cuda:-1", "mps", "xpu", "npu", -1, 3, True, 1.0, [], ["cpu"], {},
    {"": None}, {"": "gpu"}, {"": -1}, {"": _device("cuda:0")}, {"": "auto"}, {"model": "cpu"}, {"model.layers": "cpu"}, {"transformer.h": 0}, {"layers.0": "cpu", "": "cpu"},
    {"model": "cpu", "lm_head": "disk"}, {"model": "disk", "lm_head": "cpu"}, {"model": "cpu", "lm_head": 0}, {"base_model.model": "cpu"}, {"": "cpu", "lm_head": "disk"},
    {"model.embed_tokens": "cpu", "model.layers": "disk", "model.norm": "cpu", "lm_head": "cpu"}, {"": "0"}, "0", _device("meta"), {"cpu": "10GB"}, {0: "10GB", "cpu": "10GB"},
    {"": "cpu", "model.layers.7": "cpu"}, {"": "cpu", "vision_tower": "cpu"}, {"model.language_model": "cpu", "lm_head": "cpu"},
)  # fmt: skip

GPTQ: dict[str, tuple[Any, ...]] = {
    "bits": (4, 4, 8, 2, 3, 5), "use_exllama": (True, False, False), "disable_exllama": (True, True, False), "exllama_config": ({"version": 1}, {"version": 2}, {"version": 3}, {}),
    "backend": ("auto", "auto_trainable", "auto_trainable", "torch", "triton", "exllama_v2", "marlin", "ipex", "tritonv2", "torch_fused", "cuda"),
    "group_size": (128, 32, -1, 0), "desc_act": (True, False), "sym": (True, False), "damp_percent": (0.1, 2), "max_input_length": (4096,), "use_cuda_fp16": (True, False),
    "dataset": (None, "c4", ["some text"]), "tokenizer": (None,), "model_seqlen": (2048,), "batch_size": (1, 0), "pad_token_id": (0,), "true_sequential": (True,),
    "cache_block_outputs": (False,), "modules_in_block_to_quantize": (None, [["self_attn.q_proj"]]), "checkpoint_format": ("gptq", "gptq_v2"), "meta": (None,), "module_name_preceding_first_block": (None,),
}  # fmt: skip
BNB: dict[str, tuple[Any, ...]] = {
    "load_in_4bit": (True, False), "load_in_8bit": (True, False), "llm_int8_enable_fp32_cpu_offload": (True, True, False), "bnb_4bit_quant_type": ("nf4", "nf4", "fp4", "nf5", "int4"),
    "bnb_4bit_compute_dtype": (_dtype("bfloat16"), _dtype("float16"), "bfloat16", "float16", "bf16", None), "bnb_4bit_use_double_quant": (True, False, "yes"),
    "bnb_4bit_quant_storage": (_dtype("bfloat16"), "uint8", "bf16", None), "llm_int8_skip_modules": (["lm_head"], None, [], "lm_head", ["o_proj"]), "llm_int8_threshold": (6.0, 0.0, 6),
    "llm_int8_has_fp16_weight": (True, False),
}  # fmt: skip
ODD_CONFIGS: tuple[Any, ...] = (
    None, "4bit", "gptq", {}, {"bits": 4}, {"quant_method": "gptq", "bits": 4}, {"quant_method": "bitsandbytes", "load_in_4bit": True}, {"load_in_4bit": True}, {"load_in_8bit": True},
    {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": "bfloat16"}, {"quant_method": "awq", "bits": 4}, {"quant_method": "gptqmodel", "bits": 4}, {"quant_method": "fp8"},
    _config("BitsAndBytesConfig"), _config("BitsAndBytesConfig", load_in_4bit=True, load_in_8bit=True), _config("AwqConfig", bits=4), _config("AwqConfig", bits=4, do_fuse=True, fuse_max_seq_len=512),
    _config("AwqConfig", bits=8), _config("HqqConfig", nbits=4, group_size=64), _config("QuantoConfig", weights="int8"), _config("QuantoConfig", weights="int3"), _config("TorchAoConfig", quant_type="int8_weight_only"),
    _config("TorchAoConfig", quant_type="int5"), _config("FineGrainedFP8Config"), _config("FineGrainedFP8Config", activation_scheme="static"), _config("Mxfp4Config"), _config("Mxfp4Config", dequantize=True),
    _config("EetqConfig", weights="int8"), _config("FbgemmFp8Config"), _config("AqlmConfig"), _config("CompressedTensorsConfig"), _config("BitNetQuantConfig"), _config("HiggsConfig"), _config("VptqConfig"),
    _config("FPQuantConfig"), _config("AutoRoundConfig", bits=4), _config("QuarkConfig"), _config("SpQRConfig", shapes={"a.b.shape": 3}),
)  # fmt: skip

# name → good values, odd values
OTHERS: dict[str, Values] = {
    "max_memory": (
        ({"cpu": "1GB"}, {"cpu": "1GiB"}, {"cpu": 10**9}, {0: "1GB", "cpu": "1GB"}, {0: "10GiB"}, {"cpu": "800KB"}, None),
        ({"cpu": "200KB"}, {"cpu": "20G"}, {"cpu": "lots"}, {"cuda:0": "1GB"}, {"gpu": "1GB"}, {"disk": "1GB"}, {"cpu": 0}, {"cpu": None}, {}, "1GB", ["1GB"], {-1: "1GB"}, {"cpu": 1.5}, {"cpu": "1 GB"}, {"cpu": "-1GB"}),
    ),
    "load_in_4bit": ((True, False), (None, "yes")), "load_in_8bit": ((True, False), (None,)), "low_cpu_mem_usage": ((True, True, False), (None,)),
    "attn_implementation": (("eager", "sdpa", "sdpa", None), ("flash_attention_2", "flash_attention_3", "flex_attention", "flash_attention", "xformers", "kernels-community/flash-attn", "SDPA", "auto", "paged|eager", {"": "sdpa"}, True)),
    "use_flash_attention_2": ((True, False), ()), "use_cache": ((True, False), ()), "offload_folder": (("/tmp/qvl-preflight-offload",), (None,)), "offload_state_dict": ((True, False), ()), "offload_buffers": ((True, False), ()),
    "use_safetensors": ((True, None), (False,)), "variant": ((None,), ("fp16",)), "revision": (("main",), (None, "refs/pr/1", "nonsense")), "subfolder": (("",), ("model",)),
    "trust_remote_code": ((True, False, None), ("yes",)), "local_files_only": ((True, False), ()), "force_download": ((True, False), ()), "token": ((None, False), ("hf_nonsense",)), "cache_dir": ((None, "/tmp/qvl-preflight-cache"), ()),
    "ignore_mismatched_sizes": ((True, False), ()), "output_loading_info": ((True, False), ()), "return_dict": ((True, False), ()), "pad_token_id": ((0, None), ()), "config": ((None,), ()),
    "torchscript": ((True, False), ()), "max_length": ((32,), ()), "temperature": ((0.7,), ()), "do_sample": ((True,), ()), "output_attentions": ((True, False), ()), "output_hidden_states": ((True, False), ()), "code_revision": ((None, "main"), ()),
    "use_auth_token": ((None, False), ()), "resume_download": ((True, False), ()), "_fast_init": ((True, False), ()), "tie_word_embeddings": ((True, False), ()), "weights_only": ((True, False), ()), "key_mapping": ((None, {}), ()),
    "num_labels": ((3,), ()), "max_position_embeddings": ((256,), ()), "gradient_checkpointing": ((True, False), ()), "_attn_implementation": (("eager", "sdpa"), ("nonsense",)),
    "state_dict": ((None,), ()), "mirror": ((None,), ()), "from_tf": ((False,), ()), "tp_plan": ((None,), ("auto",)), "use_kernels": ((False,), (True,)), "generation_config": ((None,), ()), "attention_dropout": ((0.0,), ()), "proxies": ((None,), ()), "gguf_file": ((None,), ()),
}  # fmt: skip
# What no release reads, or not every one.
UNREAD: dict[str, Any] = {
    "bf16": True, "fp16": True, "fp32": True, "device": "cuda", "use_flash_attn": False, "load_in_16bit": True, "devices_map": "auto", "device_maps": "auto", "torchdtype": "auto", "torch_dype": "auto", "quantisation_config": None,
    "attn_implementaton": "sdpa", "max_memroy": None, "trust_remote": True, "low_cpu_memory_usage": True, "load_in_4bits": True, "bnb_4bit_compute_dtype": "bfloat16", "bits": 4, "inject_fused_attention": False, "use_triton": False,
    "use_marlin": False, "fuse_layers": True, "max_seq_len": 2048, "batch_size": 1, "do_fuse": True, "gpu_memory_utilization": 0.9, "tensor_parallel_size": 1, "num_gpus": 1, "safetensors": True, "use_fast": False, "padding_side": "left",
    "model_max_length": 512, "max_new_tokens": 20, "use_exllama": False, "disable_exllama": True, "compression": "gptq", "llm_int8_threshold": 6.0, "model": "x", "attention": "sdpa", "experts_implementation": "eager", "no_split_module_classes": ["LlamaDecoderLayer"],
}  # fmt: skip
LOADERS: tuple[str, ...] = (
    "AutoModel", "AutoModelForCausalLM", "LlamaForCausalLM", "LlamaModel", "AutoModelForSequenceClassification", "LlamaForSequenceClassification", "AutoModelForTokenClassification", "AutoModelForSeq2SeqLM",
    "AutoModelForImageTextToText", "AutoModelForVision2Seq", "AutoModelForMultimodalLM", "AutoModelForMaskedLM", "AutoModelForQuestionAnswering", "AutoModelWithLMHead", "LlamaForQuestionAnswering", "AutoModelForCasualLM",
)  # fmt: skip
ADAPTERS: dict[str, Values] = {
    "r": ((4, 8), (0, -1)), "lora_alpha": ((8, 16), (0,)), "lora_dropout": ((0.0, 0.05), (1.5,)), "bias": (("none", "all", "lora_only"), ("nonsense",)), "use_rslora": ((True, False), ()), "use_dora": ((True,), ()),
    "target_modules": (
        ("all-linear", ["q_proj", "k_proj", "v_proj", "o_proj"], ["gate_proj", "up_proj", "down_proj"], r".*self_attn\.(q|v)_proj", ["q_proj", "lm_head"], None),
        (["c_attn"], ["q_proj", "nope"], "q_proj", ["embed_tokens"], ["lm_head"], ["self_attn"], ["norm"], ["input_layernorm"], [], "nope", ["Linear"], ["model.layers.0.self_attn.q_proj"], ["qkv_proj"], "ALL-LINEAR"),
    ),
    "modules_to_save": ((None, ["lm_head"], ["embed_tokens", "lm_head"]), (["nope"], ["q_proj"], [])), "task_type": (("CAUSAL_LM", None), ("CAUSAL", "SEQ_CLS", "causal_lm", "QUESTION_ANS", "SEQ_2_SEQ_LM")),
    "layers_to_transform": ((None, [0], 1), ([7], [])), "layers_pattern": ((None,), ("layers", "nope")), "init_lora_weights": ((True, "gaussian", False), ("pissa", "olora", "loftq", "nonsense", "pissa_niter_4")), "rank_pattern": (({}, {"q_proj": 2}), ({"nope": 2}, {"q_proj": 0})),
    "alpha_pattern": (({}, {"q_proj": 4}), ({"nope": 2},)), "inference_mode": ((False,), (True,)), "fan_in_fan_out": ((False, True), ()), "exclude_modules": ((["lm_head"],), (["q_proj", "v_proj"], ["nope"])),
}  # fmt: skip
