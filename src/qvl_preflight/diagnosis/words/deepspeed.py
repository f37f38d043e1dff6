"""What DeepSpeed says, beside what the plan knows, and the rule or entry whose cause it is."""

from qvl_preflight.symptoms import Symptom

WORDS = (
    ("QVL710", Symptom(r"DeepSpeed requires the LOCAL_RANK environment variable", source="deepspeed 0.18.3 runtime/engine.py:1252")),
    ("QVL710", Symptom(r"DeepSpeed backend not set, please initialize it", weight=.8, source="deepspeed 0.18.3 comm/comm.py:778")),
    ("QVL710", Symptom(r"Distributed backend is not initialized\. Please set dist_init_required", weight=.8, source="deepspeed 0.18.3 comm/comm.py:828")),
    ("QVL710", Symptom(r"Please initialize the torch distributed backend", weight=.7, source="deepspeed 0.18.3 runtime/fp16/onebit/lamb.py:109")),
    ("QVL711", Symptom(r"Either train_batch_size or train_micro_batch_size_per_gpu needs to be provided", source="deepspeed 0.18.3 runtime/config.py:933")),
    ("QVL711", Symptom(r"train_batch_size is not equal to micro_batch_per_gpu", source="deepspeed 0.18.3 runtime/config.py:886")),
    ("QVL711", Symptom(r"Micro batch size per gpu: .{1,12} has to be greater than 0", source="deepspeed 0.18.3 runtime/config.py:882")),
    ("QVL711", Symptom(r"DeepSpeed requires --deepspeed_config to specify configuration file", source="deepspeed 0.18.3 __init__.py:186")),
    ("QVL711", Symptom(r"Expected a string path to an existing deepspeed config", source="deepspeed 0.18.3 runtime/config.py:664")),
    ("QVL711", Symptom(r"Duplicate keys in DeepSpeed config", source="deepspeed 0.18.3 runtime/config_utils.py:211")),
    ("QVL711", Symptom(r"bfloat16 and fp16 (modes cannot be simultaneously|cannot be enabled at once)", source="deepspeed 0.18.3 runtime/config.py:784")),
    ("QVL711", Symptom(r"DeepSpeedConfig: .{1,60}(is not defined|Maximum supported ZeRO stage is)", source="deepspeed 0.18.3 runtime/config.py:970")),
    ("QVL711", Symptom(r"You are using an untested ZeRO Optimizer", weight=.8, source="deepspeed 0.18.3 runtime/engine.py:1441")),
    ("QVL711", Symptom(r"Cannot enable both amp with \(legacy\) fp16", weight=.8, source="deepspeed 0.18.3 runtime/engine.py:1456")),
    ("QVL711", Symptom(r"zero stage .{1,12} requires an optimizer", weight=.8, source="deepspeed 0.18.3 runtime/engine.py:1809")),
    ("QVL930", Symptom(r"Type bf16 is not supported", source="deepspeed 0.18.3 runtime/engine.py:1287")),
    ("QVL807", Symptom(r"Type fp16 is not supported", source="deepspeed 0.18.3 runtime/engine.py:1284")),
    ("QVL291", Symptom(r"Cannot use fp16 without (accelerator|CUDA)", source="deepspeed 0.18.3 runtime/fp16/unfused_optimizer.py:49")),
    ("QVL291", Symptom(r"Accelerator is not detected, cannot perform low precision training", source="deepspeed 0.18.3 runtime/zero/stage_1_and_2.py:205")),
    ("QVL291", Symptom(r"Unable to proceed, no GPU resources available", source="deepspeed 0.18.3 launcher/runner.py:471")),
    ("QVL712", Symptom(r"No slot '.{1,12}' specified on host", source="deepspeed 0.18.3 launcher/runner.py:349")),
    ("QVL712", Symptom(r"Mismatch in local rank setting, args\.local_rank", weight=.7, source="deepspeed 0.18.3 runtime/engine.py:1261")),
    ("QVL696", Symptom(r"(PyTorch|CUDA|HIP|torch) version mismatch! DeepSpeed ops were compiled", source="deepspeed 0.18.3 builder.py:157")),
    ("QVL696", Symptom(r"DeepSpeed Op Builder: Installed CUDA version", source="deepspeed 0.18.3 builder.py:109")),
    ("QVL696", Symptom(r"must be 'cpu', make sure you enabled 'offload_optimizer': 'cpu' in your ZeRO config", weight=.7, source="deepspeed 0.18.3 ops/adam/zenflow_cpu_adam.py:114")),
    ("QVL492", Symptom(r"Meta tensors are not supported for this model", weight=.7, source="deepspeed 0.18.3 module_inject/containers/base.py:136")),
)  # fmt: skip
