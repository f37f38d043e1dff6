"""What bitsandbytes says, beside what the plan knows, and the rule or entry whose cause it is."""

from qvl_preflight.symptoms import Symptom

WORDS = (
    ("QVL310", Symptom(r"need to be on the same GPU, but found some tensors to not be on a GPU", weight=.6, source="bitsandbytes 0.49.2 functional.py:416")),
    ("QVL332", Symptom(r"found some tensors to not be on a GPU", weight=.55, source="bitsandbytes 0.49.2 functional.py:416")),
    ("QVL493", Symptom(r"need to be on the same (GPU|device), but found the following tensor and device combinations", weight=.75, source="bitsandbytes 0.50.2 functional.py:387")),
    ("QVL702", Symptom(r"but found the following tensor and device combinations", weight=.6, source="bitsandbytes 0.50.2 functional.py:387")),
    ("QVL332", Symptom(r"Device type not supported for FP4 quantization", source="bitsandbytes 0.45.5 functional.py:1199")),
    ("QVL332", Symptom(r"quantization state not initialized\. Please call \.cuda\(\)", weight=.6, source="bitsandbytes 0.50.2 nn/modules.py:492")),
    ("QVL332", Symptom(r"Embedding layer is not quantized\. Please call \.cuda\(\)", weight=.6, source="bitsandbytes 0.50.2 nn/modules.py:864")),
    ("QVL332", Symptom(r"quantized checkpoint into non-quantized Linear8bitLt", weight=.6, source="bitsandbytes 0.50.2 nn/modules.py:1146")),
    ("QVL396", Symptom(r"4-bit quantization data type .{1,40} is not implemented", source="bitsandbytes 0.45.5 functional.py:1336")),
    ("QVL396", Symptom(r"Gradient\+optimizer bit data type combination not supported", source="bitsandbytes 0.50.2 backends/cuda/ops.py:1091")),
    ("QVL396", Symptom(r"Unsupported gradient dtype: \S+ Supported dtypes", weight=.85, source="bitsandbytes 0.50.2 backends/cuda/ops.py:1183")),
    ("QVL390", Symptom(r"Failed to load CPU-only bitsandbytes library", source="bitsandbytes 0.50.2 cextension.py:224")),
    ("QVL390", Symptom(r"Attempted to use bitsandbytes native library functionality but it's not available", source="bitsandbytes 0.50.2 cextension.py:243")),
    ("QVL390", Symptom(r"bitsandbytes library load error", source="bitsandbytes 0.50.2 cextension.py:399")),
    ("QVL390", Symptom(r"Native code method attempted to call", source="bitsandbytes 0.50.2 cextension.py:326")),
    ("QVL390", Symptom(r"CUDA SETUP: (CUDA version lower than 11|CUDA 10\.0 not supported|Something unexpected happened|Is seems that your cuda installation|Solution)", source="bitsandbytes 0.42.0 cuda_setup/main.py")),
    ("QVL390", Symptom(r"CUDA SETUP ERROR: Missing dependency", source="bitsandbytes 0.46.1 cextension.py")),
    ("QVL390", Symptom(r"WARNING: No libcudart\.so found!", source="bitsandbytes 0.39.0 cuda_setup/main.py")),
    ("QVL390", Symptom(r"CUDA_?SETUP: WARNING! libcud\w+\.so not found", source="bitsandbytes 0.42.0 cuda_setup/main.py")),
    ("QVL390", Symptom(r"libcudart\.so could not be read from path", source="bitsandbytes 0.39.0 cuda_setup/main.py")),
    ("QVL332", Symptom(r"No GPU detected! Check your CUDA paths\. Proceeding to load CPU-only library", source="bitsandbytes 0.39.0 cuda_setup/main.py")),
    ("QVL390", Symptom(r"CUDA VERSION MISMATCH", weight=.7, source="bitsandbytes 0.50.2 cextension.py")),
    ("QVL390", Symptom(r"BNB_CUDA_VERSION=.{1,8} (environment variable )?detected", weight=.7, source="bitsandbytes 0.49.2 cextension.py:42")),
    ("QVL390", Symptom(r"bitsandbytes: failed to load backend", source="bitsandbytes 0.50.2 __init__.py:67")),
    ("QVL390", Symptom(r"CUDA exception! Error code", weight=.5, source="bitsandbytes 0.39.0 cuda_setup/main.py")),
    ("QVL395", Symptom(r"Compute capability < 7\.5 detected!", source="bitsandbytes 0.50.2 diagnostics/cuda.py")),
)  # fmt: skip
