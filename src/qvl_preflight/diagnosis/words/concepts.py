"""How packages that are built on these libraries word the same refusals: what must come together in one message, in any of their words.

They weigh less than the libraries' own words: a person's program may say such a thing for a reason of its own.
"""

from qvl_preflight.symptoms import Symptom

WRAPPERS = "axolotl, ms-swift, diffusers, trl, unsloth and others, which no stack holds"
_NO = r"(not|n't|cannot|can not|incompatible|unsupported|mutually exclusive)"
_NEED = r"(requires?|required|needs?|must|have to|please|make sure|missing|not installed|not found|not available)"
_INSTALL = r"(pip install|install(ed|ation|ing)?|upgrade|update)"


def _said(code: str, *patterns: str, weight: float = 0.65, kind: str = "") -> tuple[tuple[str, Symptom], ...]:
    return tuple((code, Symptom(pattern, type=kind, weight=weight, source=WRAPPERS)) for pattern in patterns)


WORDS = (
    # A package that is not there, or too old
    *_said("QVL309", rf"{_INSTALL}.{{0,60}}bitsandbytes", rf"bitsandbytes.{{0,60}}{_NEED}.{{0,40}}{_INSTALL}", r"bitsandbytes.{0,20}(is )?not (installed|available|found)"),
    *_said("QVL601", rf"{_NEED}.{{0,60}}accelerate.{{0,60}}{_INSTALL}", rf"{_INSTALL}.{{0,20}}accelerate\b", r"(requires?|needs?) `?accelerate`?( version)? ?[>=v`'\d]", r"accelerate.{0,20}(is )?not (installed|available|found)"),
    *_said("QVL301", rf"{_INSTALL}.{{0,40}}(auto-?gptq|gptqmodel|autoawq|auto-awq|optimum|compressed-tensors|hqq|auto-round|aqlm|eetq)\b", r"(auto-?gptq|gptqmodel|autoawq|optimum|hqq)\W.{0,30}(is )?not (installed|available|found)"),
    *_said("QVL904", rf"{_INSTALL}.{{0,40}}flash[-_ ]?attn", r"flash[-_ ]?att(n|ention)\S*.{0,30}(is )?not (installed|available|found)"),
    *_said("QVL933", r"flash[-_ ]?att(n|ention)\S* ?(version )?(v|>=|>)\s?\d", r"(upgrade|version of) flash[-_ ]?attn"),
    *_said("QVL990", rf"{_INSTALL}.{{0,40}}transformers ?(>=|>|==)", r"(requires?|needs?|upgrade|newer|minimum|at least).{0,40}transformers ?(version ?)?(>=|>|==|v?\d)", r"transformers.{0,30}(too old|out of date|outdated|upgrade)"),
    # No GPU, or one that is not made for it
    *_said("QVL101", r"\bNo (CUDA|GPU|NVIDIA)\w*.{0,30}(device|GPU|accelerator)?s? ?(was |were |is |are |can be )?(found|detected|available|visible)",
           r"(CUDA|GPU)( device| support)?s? (is|are|was|does) not ?(seem to be )?(available|found|detected|enabled|visible|installed|correctly installed)",
           r"'cuda' does not seem to be", r"(requires?|needs?|only (supported|available) (on|with)|must have) (a |an )?(GPUs? with )?CUDA\b( device)?\W{0,3}($|to |for |but|with)", r"CUDA must be available", r"GPUs? (was |were )?requested but none", r"No supported (gpu|cuda|accelerator)", r"(requires?|needs?|only works? (on|with)|only (runs?|supported) on) ?(an? |at least one )?(CUDA|NVIDIA)( compatible| capable| enabled)? ?(GPU|device|card)"),
    *_said("QVL190", r"(no|not|in)t? ?(enough|sufficient) (free )?(gpu|cuda|device|video|graphics) ?memory", r"(gpu|cuda|device|video) memory.{0,30}(is )?(not enough|insufficient|exceeded|exhausted)"),
    *_said("QVL690", r"flash[-_ ]?attn\S*.{0,40}not installed correctly", r"flash[-_ ]?attn\S*.{0,120}(different|another|mismatch\w*|incompatible).{0,60}(torch|CUDA)", weight=.7),
    *_said("QVL114", r"\bGPU is too old", r"GPU (architecture|arch)\W.{0,40}not supported", weight=.6),
    *_said("QVL315", rf"(fp8|float8).{{0,80}}(too old|{_NO} support|capability|compute|Hopper|Ada)", r"not supported on GPUs with (CUDA )?(compute )?capability", r"too old for (fp8|float8)"),
    *_said("QVL930", rf"(bf16|bfloat16).{{0,80}}({_NO} support|Ampere|capability|too old)", rf"{_NO} support.{{0,30}}(bf16|bfloat16)"),
    *_said("QVL936", r"flash[-_ ]?att(n|ention)\S*.{0,80}(Ampere|Turing|capability|sm_?[89]0|too old)"),
    # Quantised models
    *_said("QVL805", r"(quantiz|quantis|[48]-?bit).{0,120}(without (an? |setting an? )?adapter|attach.{0,30}adapter|only.{0,30}(LoRA|adapter)|full.?(fine)?.?tun)"),
    *_said("QVL819", rf"{_NO}.{{0,20}}merge.{{0,80}}([48]-?bit|gptq|awq|quantiz|quantis)", rf"merg(e|ing).{{0,80}}([48]-?bit|gptq|awq|quantized|quantised).{{0,60}}{_NO}"),
    *_said("QVL392", rf"\.?(to|cuda)\(.{{0,12}}\).{{0,80}}(quantiz|quantis|bitsandbytes|[48]-?bit).{{0,160}}{_NO}", rf"{_NO}.{{0,40}}(move|cast).{{0,60}}(quantiz|quantis|[48]-?bit)"),
    *_said("QVL310", rf"(offload|cpu/disk|cpu or disk).{{0,80}}{_NO}.{{0,80}}(quant|bitsandbytes|[48]-?bit)", rf"(quant|[48]-?bit).{{0,80}}{_NO} support.{{0,30}}offload"),
    *_said("QVL793", rf"(quantiz|quantis|bitsandbytes|gptq|awq|[48]-?bit|qlora).{{0,80}}{_NO}.{{0,80}}zero-?\s?3", rf"zero-?\s?3.{{0,80}}{_NO}.{{0,80}}(quantiz|quantis|bitsandbytes|gptq|awq|[48]-?bit|qlora)"),
    *_said("QVL333", r"(bnb_4bit|llm_int8)_\w+.{0,40}must be"),
    *_said("QVL303", r"(quantization|quantisation)[_ ]?(config|method).{0,80}(does not match|mismatch|differ|conflict|already)"),
    # Where the model is
    *_said("QVL701", rf"device_?map.{{0,120}}{_NO}.{{0,120}}(distributed|DDP|multi-?gpu|NPROC|num_processes|data parallel)", rf"{_NO}.{{0,60}}device_?map.{{0,120}}(distributed|DDP|multi-?gpu|NPROC|num_processes|data parallel)"),
    *_said("QVL704", rf"(deepspeed|zero-?\s?3).{{0,60}}{_NO}.{{0,60}}(device_?map|low_cpu_mem_usage)", rf"(device_?map|low_cpu_mem_usage).{{0,60}}{_NO}.{{0,60}}(deepspeed|zero-?\s?3)"),
    *_said("QVL405", r"low_cpu_mem_usage.{0,40}False.{0,60}device_?map", r"device_?map.{0,80}low_cpu_mem_usage.{0,20}True", weight=.7),
    *_said("QVL491", rf"(device mapping|device_?map|dispatched|offload(ing|ed)?).{{0,160}}{_NO}.{{0,120}}(explicit device placement|\bto\(\)|move the (model|pipeline))", r"offloading.{0,120}attempting to move"),
    *_said("QVL490", r"offload_(folder|dir)\W.{0,60}(must|required|specif|provide|set)"),
    *_said("QVL712", r"same CUDA device.{0,120}(rank|role|process)", r"(more|greater) (processes|ranks|workers).{0,40}(GPUs|devices)", r"(num_gpus|nproc_per_node|number of (GPUs|processes)).{0,60}(larger|greater|more|exceed).{0,60}(GPUs|devices|available)", r"Larger --num-gpus",
           r"(requested|asked for|requires?|needs?|find) \S{1,12} (GPUs?|devices).{0,40}(only (has|have|sees?)|but|available).{0,20}(GPUs?|devices)?", r"(duplicate|same|must be unique).{0,20}(GPU|device) ?ids?|(GPU|device) ?(ids?|'?s)\W{0,3}.{0,10}must be unique|device[_ ]?index \S{1,8} is (invalid|out of range)", weight=.55),
    *_said("QVL796", rf"{_NO} support.{{0,20}}multi-?\s?gpu", weight=.5),
    *_said("QVL709", rf"(deepspeed and fsdp|fsdp and deepspeed).{{0,60}}{_NO}"),
    *_said("QVL710", r"deepspeed.{0,120}(launch|torchrun|launcher).{0,60}(required|must|please|use)", r"(please|must) (use|launch).{0,80}(torchrun|deepspeed launcher|accelerate launch)", weight=.6),
    # What is trained
    *_said("QVL811", r"No layers to finetune", r"target_?modules.{0,80}(not found|incorrect|no match|do(es)? not (match|exist))", r"no (target )?modules? (was|were) (found|matched).{0,60}(lora|target)"),
    # Code of the checkpoint
    *_said("QVL906", r"(set|pass|use|add|with|option).{0,30}trust_?remote_?code\s?=\s?True", weight=.75),
    *_said("QVL950", r"(could not|cannot|unable to) find.{0,60}(safetensors|weights?|checkpoint)\W{0,2} (file|in|weights)", r"no (\.?safetensors|model|weight) files? (were |was )?(found )?in\b", r"index .{1,120} references missing shard", kind="OSError|EnvironmentError|FileNotFoundError"),
    *_said("QVL890", r"(loss|logits|gradients?) (is|are|became|contains?) (nan|inf)\b.{0,120}(fp16|float16|bf16|half)"),
)  # fmt: skip
