"""Arguments that nothing reads: what from_pretrained and the configuration leave over reaches the model's constructor, which refuses it.

Sources: modeling_utils.py, configuration_utils.py and models/auto/auto_factory.py of transformers 4.28 to 5.23. Run, argument by argument, on 4.28.1,
4.30.2, 4.32.0, 4.34.1, 4.36.2, 4.37.2, 4.39.3, 4.45.2, 4.48.3, 4.51.3, 4.53.3, 4.55.4, 4.57.1 and 5.23.0 with a tiny Llama.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.auto_tables import tables
from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.spelling import distance
from qvl_preflight.stack.argument_names import may_take
from qvl_preflight.stack.auto_classes import autos_of
from qvl_preflight.unknown import Undecided, Unknown, attempt
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation


def _until(release: str, source: str = "run on the releases around") -> ByRelease[bool]:
    """Not read before this release."""
    rows = [Row("4.28", release, True, Evidence.RUN, source), Row(release, None, False, Evidence.RUN, source)]
    return ByRelease("transformers", *rows)


def _from(release: str, source: str = "run on the releases around") -> ByRelease[bool]:
    """No longer read from this release on."""
    rows = [Row("4.28", release, False, Evidence.RUN, source), Row(release, None, True, Evidence.RUN, source)]
    return ByRelease("transformers", *rows)


_NEVER: ByRelease[bool] = ByRelease("transformers", Row("4.28", None, True, Evidence.RUN, "transformers 4.28.1 to 5.23.0"))
# True where a release leaves the argument over.
LEFT_OVER: dict[str, ByRelease[bool]] = {
    "load_in_4bit": ByRelease(
        "transformers",
        Row("4.28", "4.30", True, Evidence.RUN, "transformers 4.28.1"),
        Row("4.30", "5.0", False, Evidence.RUN, "transformers 4.30.2 to 4.57.1"),
        Row("5.0", None, True, Evidence.RECORDED, "transformers 5.17.0"),
    ),
    "load_in_8bit": ByRelease(
        "transformers", Row("4.28", "5.0", False, Evidence.RUN, "transformers 4.57.1"), Row("5.0", None, True, Evidence.RECORDED, "transformers 5.17.0")
    ),
    "use_flash_attention_2": ByRelease(
        "transformers",
        Row("4.28", "4.34", True, Evidence.RUN, "transformers 4.32.0"),
        Row("4.34", "4.53", False, Evidence.RUN, "transformers 4.34.1 to 4.51.3"),
        Row("4.53", "5.0", True, Evidence.RUN, "transformers 4.53.3, 4.57.1"),
        Row("5.0", None, True, Evidence.RECORDED, "transformers 5.17.0"),
    ),
    "attn_implementation": _until("4.36", "recorded on 4.32.0, run on 4.34.1, 4.36.2"),
    "dtype": _until("4.56", "run on 4.32.0, 4.37.2, 4.51.3, 4.55.4, 4.57.1"),
    "token": _until("4.31"), "offload_buffers": _until("4.39"), "gguf_file": _until("4.41"), "generation_config": _until("4.45"), "weights_only": _until("4.46"),
    "tp_plan": _until("4.47"), "key_mapping": _until("4.50"), "tp_size": _until("4.52"), "device_mesh": _until("4.52"), "use_kernels": _until("4.53"),
    "distributed_config": _until("4.54"), "experts_implementation": _until("5.0"),
    "use_auth_token": _from("5.0"), "resume_download": _from("5.0"), "do_sample": _from("5.0"), "temperature": _from("5.0"), "max_length": _from("5.0"), "torchscript": _from("5.0"),
    "bf16": _NEVER, "fp16": _NEVER, "fp32": _NEVER, "device": _NEVER, "load_in_16bit": _NEVER, "use_flash_attn": _NEVER,
}  # fmt: skip
# Read by no release, and an attribute of no configuration class of 4.28 to 5.23: of other calls, other packages, or of a quantization_config.
NOWHERE = frozenset({
    "use_fast", "padding_side", "num_gpus", "use_triton", "use_marlin", "fuse_layers", "do_fuse", "inject_fused_attention", "inject_fused_mlp", "use_exllama", "disable_exllama", "bits",
    "gpu_memory_utilization", "tensor_parallel_size", "safetensors", "no_split_module_classes", "low_cpu_memory_usage", "trust_remote", "compression", "batch_size", "max_seq_length",
    "no_split_modules", "device_ids", "load_in_fp8", "load_in_8bits", "model_basename", "model", "enable_lora", "swap_space", "warmup_triton",
})  # fmt: skip
# The same, but for the model types that have an attribute of that name.
_ONLY_OF: dict[str, tuple[str, ...]] = {
    "max_seq_len": ("dbrx", "mpt"), "max_new_tokens": ("seamless_m4t", "seamless_m4t_v2"), "gradient_checkpointing": (), "attention": ("bamba", "falcon_h1", "granitemoehybrid", "jamba", "nemotron_h", "recurrent_gemma"),
    "model_max_length": ("bailing_hybrid", "inkling", "inkling2", "kimi_linear"),
}  # fmt: skip
# What people misspell: long names, none near to an attribute of a configuration (vision_config and fusion_config are).
_TARGETS = (
    "device_map", "torch_dtype", "quantization_config", "attn_implementation", "trust_remote_code", "low_cpu_mem_usage", "max_memory", "load_in_4bit", "load_in_8bit",
    "offload_folder", "offload_state_dict", "ignore_mismatched_sizes", "local_files_only", "revision", "cache_dir", "use_safetensors", "output_loading_info",
    "force_download", "resume_download", "use_auth_token", "use_flash_attention_2", "code_revision",
)  # fmt: skip
_LONG_ENOUGH = 7  # shorter names are near to too much


def left_over(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """MODEL: arguments that this release does not read, and slips of those that it reads. Code of the checkpoint may read them itself."""
    loader = situation.request.loader
    if loader is not None and not tables().is_class(loader):
        return  # a class of their own, or of another package, takes what it likes
    open_names = []
    for name in situation.request.kwargs:
        if name in situation.checkpoint.config:
            continue  # the configuration takes it
        if name in LEFT_OVER:
            row = LEFT_OVER[name].row(situation.packages)
            if row.value and not (LEFT_OVER[name] is _NEVER and situation.checkpoint.remote_code):
                code = "QVL337" if name == "load_in_4bit" and not situation.packages.at_least("transformers", 4, 30) else "QVL903"
                yield _refused(situation, name, code, f"this release does not read {name}", row.evidence)
        elif nowhere(situation, name):
            if not situation.checkpoint.remote_code and situation.packages.at_least("transformers", 4, 28):
                yield _refused(situation, name, "QVL903", f"no release reads {name}", Evidence.RUN)
        elif (right := meant(name)) and situation.packages.at_least("transformers", 4, 28):
            yield _refused(situation, name, "QVL913", f"{name} is no argument; {right} is", Evidence.RUN)
        elif name not in _TARGETS and not name.startswith(_OF_BITSANDBYTES):
            taken = _taken(situation, name)
            if taken is None:
                open_names.append(name)
            elif not taken:
                why = f"{name} is neither an argument of from_pretrained nor a setting of this model's configuration"
                yield _refused(situation, name, "QVL903", why, Evidence.RUN)
    if open_names:
        raise Undecided(f"argument {', '.join(open_names)}: whether the model's class takes it is not known")


_OF_BITSANDBYTES = ("bnb_4bit_", "llm_int8_")  # read beside load_in_4bit; else refused for that reason (quantizers.py)


def _taken(situation: Situation, name: str) -> bool | None:
    """Does from_pretrained, the configuration or the class take a name that nothing else is known of?"""
    request, model_type = situation.request, situation.checkpoint.config.get("model_type")
    taken = may_take(model_type if isinstance(model_type, str) else "", name)
    elsewhere = situation.checkpoint.remote_code or request.hub != "huggingface" or request.loader == "AutoBackbone"
    if taken is False and (elsewhere or not situation.packages.at_least("transformers", 4, 28)):
        return None
    return taken


def nowhere(situation: Situation, name: str) -> bool:
    """Is an argument of no release, and no attribute of this model's configuration?"""
    if name in NOWHERE:
        return True
    model_type = situation.checkpoint.config.get("model_type")
    return name in _ONLY_OF and isinstance(model_type, str) and model_type not in _ONLY_OF[name]


def meant(name: str) -> str | None:
    """The argument that ``name`` is a slip of: at most two letters off. None where it is right or something else."""
    if name in _TARGETS or name in LEFT_OVER or name in NOWHERE or len(name) < _LONG_ENOUGH or name.startswith("_"):
        return None  # _attn_implementation is an attribute of the configuration, and people pass it
    near = [(distance(name.lower(), known), known) for known in _TARGETS if abs(len(known) - len(name)) <= 2]
    off, best = min(near, default=(9, ""))
    return best if off <= (1 if len(best) < 10 else 2) else None


def _refused(situation: Situation, name: str, code: str, why: str, evidence: Evidence) -> WillRaise:
    remote = "the model's own code does not read it" if situation.checkpoint.remote_code else None
    text = f"{_constructor(situation)}.__init__() got an unexpected keyword argument '{name}'"
    return WillRaise(code, Stage.MODEL, "TypeError", text, f"left-over-{name}", why, remote, evidence)


def _constructor(situation: Situation) -> str:
    """Whose __init__ it is: since 4.54 many heads share that of a generic class (modeling_layers.py; run: 4.57.1, 5.23.0)."""
    name = class_made(situation)
    generic = next((head for head in _GENERIC if name.endswith(head)), None)
    if generic and name.startswith("Llama") and situation.packages.at_least("transformers", 4, 54):
        return f"Generic{generic}"
    return name


_GENERIC = ("ForQuestionAnswering", "ForSequenceClassification", "ForTokenClassification")


def class_made(situation: Situation) -> str:
    """The class that is made: the one behind the Auto class that is called, as far as that is known."""
    config, loader = situation.checkpoint.config, situation.request.loader
    architectures = config.get("architectures")
    saved = str(architectures[0]) if isinstance(architectures, list) and architectures else "The model"
    if loader is None or situation.checkpoint.remote_code:
        return saved
    if not loader.startswith("Auto"):
        return loader
    found = attempt(lambda: autos_of(situation, str(config.get("model_type"))).get(loader, ()))
    classes = () if isinstance(found, Unknown) else found
    return saved if saved in classes or not classes else classes[0]
