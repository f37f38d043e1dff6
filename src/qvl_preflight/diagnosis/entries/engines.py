"""Engines that serve a model: what they refuse at their start."""

from qvl_preflight.diagnosis.entry import Entry
from qvl_preflight.symptoms import Symptom

_ENGINES = r"vllm|sglang|lmdeploy|text_generation_server"


def _said(text: str, weight: float, frames: str = "") -> Symptom:
    return Symptom(text, frames=frames, weight=weight, source="vLLM and SGLang, which no stack holds")


ENTRIES = (
    Entry("QVL980", "no-room-for-the-cache", "kv-cache-fit", "Beside the weights no room is left for the cache of keys and values at this context length.",
          "Ask for a shorter context (`--max-model-len 8192`), let the engine have more of the GPU (`--gpu-memory-utilization 0.95`), take 4-bit weights, or spread over more GPUs (`--tensor-parallel-size`).",
          (_said(r"No available memory for the cache blocks", .95), _said(r"max seq len \(?\d+\)? is larger than the maximum number of tokens that can be stored in (the )?KV cache", .97),
           _said(r"max seq len.{0,120}KV cache is needed, which is larger than the available KV cache memory", .97), _said(r"(KV cache|cache blocks).{0,80}(not enough|too small|insufficient|larger than)", .65), _said(r"Not enough memory\. Please try to increase --?mem-fraction-static", .95))),
    Entry("QVL981", "not-divisible-by-the-gpus", "tp-divisibility", "The model's heads or quantised shapes do not divide by the number of GPUs that tensor parallelism is asked for.",
          "Choose a number that divides the heads, 1, 2 or 4 mostly (`--tensor-parallel-size`); a quantised checkpoint may need fewer, or `--pipeline-parallel-size` in its place.",
          (_said(r"attention heads.{0,30}must be divisible by (the )?tensor.?(model.?)?parallel", .97), _said(r"^AssertionError: \d+ is not divisible by \d+$", .9, _ENGINES), _said(r"(input|output) size is not aligned with the quantized weight shape", .95),
           _said(r"(input|output)_size\w* = \d+ is not divisible by (min_thread_[kn]|weight quantization block)", .9), _said(r"output_size of gate's and up's weight = \d+ is not divisible", .95), _said(r"(not|must be) divisible by.{0,30}(tensor.?parallel|tp.?size|world.?size)", .7))),
    Entry("QVL982", "dtype-of-engine-kernels", "quant-bf16-engine", "The engine's kernels for this quantisation take other dtypes than the one of the checkpoint's config.",
          "Start the engine with `--dtype float16` (`--dtype half`).",
          (_said(r"torch\.\w+ is not supported for quantization method \w+\. Supported dtypes", .97),)),
    Entry("QVL983", "quantisation-without-a-kernel", "engine-quant-unsupported", "The engine has no kernel or loader for this quantisation, with this model or on this GPU.",
          "Take a checkpoint of a method that the engine lists for this GPU (its page \"supported hardware\" of quantisation); on a GPU before 8.0 plain `--quantization gptq` or `awq` with `--dtype half`. Or update the engine.",
          (_said(r"quantization method \S+ is not supported for the current GPU", .97), _said(r"(Unknown|Invalid) quantization method: ", .9, _ENGINES), _said(r"does not support \w+ quantization yet", .9), _said(r"(Prequant )?BitsAndBytes.{0,40}with (TP|tensor parallel\w*) is not supported", .9),
           _said(r"Failed to find a kernel that can implement the", .85), _said(r"has no attribute 'bitsandbytes_stacked_params_mapping'", .95), _said(r"^KeyError: '?\S{0,200}(qweight|qzeros|g_idx|weight_scale\w*|absmax|quant_state\w*)'?$", .8, _ENGINES))),
)  # fmt: skip
