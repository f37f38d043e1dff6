"""Launching, training, and messages that mislead."""

from qvl_preflight.diagnosis.entry import Entry
from qvl_preflight.symptoms import Symptom

_TRL = r"(SFT|DPO|ORPO|KTO|CPO|GKD|PPO|GRPO|Reward|RLOO|OnlineDPO)(Trainer|Config)\."
_PYTHON = "Python's own words, with a name of the library"
ENTRIES = (
    Entry("QVL791", "deepspeed-configuration-alone", "deepspeed-no-launcher", "A DeepSpeed configuration is in force, and DeepSpeed did not start: its placeholder of an optimizer remains.",
          "Start with `deepspeed`, `torchrun` or `accelerate launch`; or take the DeepSpeed configuration out.",
          (r"DummyOptim' object has no attribute", r"cannot create a DummyOptim", r"No module named 'mpi4py")),
    Entry("QVL792", "data-parallel-over-a-split-model", "dataparallel-split", "Plain python with several visible GPUs: DataParallel copies a model that is split or quantised.",
          "Set CUDA_VISIBLE_DEVICES=0, or start with `torchrun --nproc_per_node N` and one whole model per rank.",
          (r"module must have its parameters and buffers on device", Symptom(r"Caught \w+ in replica \d", weight=.6))),
    Entry("QVL793", "partitioned-weights", "zero3-quant", "ZeRO-3 holds pieces of the weights, and something needs them whole: quantised layers, or a loader that does not know of it.",
          "Use ZeRO-2 or plain data parallel with quantised models.",
          (Symptom(r"the shape in current model is torch\.Size\(\[0\]\)", weight=.8), Symptom(r"'weight' must be 2-D", weight=.6))),
    Entry("QVL795", "spread-model-under-ddp", "device-map-ddp", "A model that is spread over several GPUs is wrapped in data parallel.",
          'Give each rank the whole model on its own GPU: `device_map={"": LOCAL_RANK}`, or no device_map.',
          (Symptom(r"device_ids and output_device arguments only work with single-device", weight=.85),)),
    Entry("QVL796", "one-gpu-framework", "visible-devices-env", "The framework takes one GPU, and the process sees several.",
          "Set CUDA_VISIBLE_DEVICES=0 before Python starts.", (r"Unsloth currently does not support multi GPU",)),
    Entry("QVL494", "device-map-word", "device-map-string", "The device_map is a word that this transformers does not take.",
          'Pass "auto", or `device_map={"": 0}`.', (r"If passing a string for device_map, please choose",)),
    Entry("QVL890", "infinite-probabilities", "fp16-overflow", "The model gives inf or nan: mostly a model that was trained in bfloat16, in float16.",
          "Load in bfloat16 where the GPU has it, else float32.",
          (Symptom(r"probability tensor contains either inf, ?nan or element", weight=.7),)),
    Entry("QVL891", "initialised-in-half", "half-init-cpu", "The model's code initialises weights in a half dtype on the CPU, where this torch cannot.",
          "Load in float32 and convert afterwards, let `low_cpu_mem_usage=True` skip the initialisation, or update torch.",
          (Symptom(r"(erfinv|normal_kernel_cpu|uniform_cpu|trunc_normal)\w* not implemented for '?(Half|BFloat16)", weight=.97),)),
    Entry("QVL992", "argument-of-a-trainer", "version-skew", "The constructor of the installed trainer does not take this argument: it was renamed, or moved into the configuration.",
          "tokenizer= is processing_class= (transformers from 4.46 on, trl from 0.12 on); SFTTrainer's max_seq_length, packing and dataset_text_field go into SFTConfig, where newer releases of trl call the first max_length. Releases before those know the older words alone.",
          (Symptom(rf"^\w+: {_TRL}__init__\(\) got an unexpected keyword argument '(tokenizer|processing_class|max_seq_length|max_length|max_prompt_length|dataset_text_field|packing|dataset_num_proc|neftune_noise_alpha|beta|loss_type|peft_config)'", weight=.85, source=_PYTHON),
           Symptom(r"^\w+: (Seq2Seq)?Trainer\.__init__\(\) got an unexpected keyword argument '(tokenizer|processing_class)'", weight=.85, source=_PYTHON))),
    Entry("QVL991", "a-message-that-misleads", "misleading-message", "This line is a warning that does not stop anything: the model was built on the CPU and is moved later.",
          "Nothing, where a GPU is used afterwards; the cause of the crash is another line.",
          (Symptom(r"attempting to use Flash Attention 2(\.0)? with a model not initialized on GPU", weight=.4),)),
)  # fmt: skip
