"""Memory, GPUs, and what runs on them."""

from qvl_preflight.diagnosis.entry import Entry
from qvl_preflight.symptoms import Symptom

ENTRIES = (
    Entry("QVL290", "fabric-manager-not-running", "no-cuda-visible", "The driver is there, and CUDA is not ready: mostly NVSwitch machines whose fabric manager is not running, or is of another release than the driver.",
          "`systemctl status nvidia-fabricmanager`; install the release of the driver exactly, and start it (`systemctl enable --now nvidia-fabricmanager`).",
          (r"(cudaGetDeviceCount.{0,200}Error 802|CUDA error): system not yet initialized", r"cudaErrorSystemNotReady|CUDA_ERROR_SYSTEM_NOT_READY")),
    Entry("QVL190", "cuda-out-of-memory", "oom-fit", "The GPU's memory does not hold what the model and this step need.",
          "Use a smaller batch or shorter sequences, 4-bit weights with LoRA, gradient checkpointing, or more GPUs; `nvidia-smi` shows what others hold.",
          (r"CUDA out of memory\. Tried to allocate", r"CUDA error: out of memory", Symptom(type="OutOfMemoryError"), r"HIP out of memory", r"CUBLAS_STATUS_ALLOC_FAILED")),
    Entry("QVL191", "host-out-of-memory", "cpu-ram-oom", "The host has not enough RAM: the system ended the process, or refused memory, while the model was loaded.",
          "Load with `low_cpu_mem_usage=True` (the default from 5.0) and a device_map on a GPU, give the container or job more memory, and let one rank load at a time.",
          (r"DefaultCPUAllocator: (can't allocate memory|not enough memory)", Symptom(r"Signal 9 \(SIGKILL\)", weight=.7), Symptom(r"exitcode\s*: -9", weight=.7), Symptom(r"died with <Signals\.SIGKILL", beside=r"accelerate|torchrun|deepspeed|torch\.distributed", weight=.7), r"paging file is too small", r"\(os error 1455\)")),
    Entry("QVL192", "device-side-assert", "device-side-assert", "A kernel on the GPU met an index that is out of range: mostly a token id that is not in the vocabulary, or a label.",
          "Set CUDA_LAUNCH_BLOCKING=1, or run the step on the CPU, to see which; compare the tokenizer's length with the embedding's.",
          (r"CUDA error: device-side assert triggered",)),
    Entry("QVL193", "bfloat16-on-mps", "mps-bf16", "bfloat16 on Apple's MPS, which this macOS or torch does not support.",
          'Load with `torch_dtype=torch.float16` (from 4.56 on `dtype=`), or update to macOS 14 and a torch that takes bfloat16 there.',
          (r"BFloat16 is not supported on MPS", r"MPS BFloat16 is only supported on MacOS", r"Trying to convert BFloat16 to the MPS backend", r"MPS backend .* BFloat16", r"BFloat16.* MPS (device|backend|framework)")),
    Entry("QVL291", "cuda-not-available-here", "no-cuda-visible", "This process reaches no GPU.",
          "See what `qvl-preflight doctor` says of driver, container and CUDA_VISIBLE_DEVICES; a container needs `--gpus all`.",
          (r"torch\.cuda\.is_available\(\) should be True", Symptom(r"0 active drivers", weight=.8), r"no CUDA-capable device is detected", r"Attempting to deserialize object on a CUDA device but torch\.cuda\.is_available\(\) is False")),
    Entry("QVL790", "nccl-on-rtx-40", "nccl-p2p-4000", "GPUs of the RTX 40 series have no peer-to-peer transfers, and NCCL is told to use them.",
          "Set NCCL_P2P_DISABLE=1 and NCCL_IB_DISABLE=1, or start with `accelerate launch`, which does so.",
          (r"Using RTX 4000 series (doesn't|which doesn't)",)),
)  # fmt: skip
