"""Stacks by name: releases that were installed together, with the Python and the CUDA of their day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TODAY = {
    "torch": "2.14.1",
    "transformers": "5.23.0",
    "accelerate": "1.15.0",
    "optimum": "2.3.0",
    "gptqmodel": "7.7.0",
    "peft": "0.21.2",
    "triton": "3.8.0",
    "huggingface-hub": "2.4.0",
    "safetensors": "0.8.0",
}
_MIDDLE = {
    "torch": "2.4.1",
    "transformers": "4.45.2",
    "accelerate": "1.0.1",
    "bitsandbytes": "0.44.1",
    "peft": "0.13.2",
    "triton": "3.0.0",
}
_RECENT_4 = {
    "torch": "2.8.0",
    "transformers": "4.57.1",
    "accelerate": "1.10.1",
    "peft": "0.18.0",
    "triton": "3.4.0",
}
_LEGACY = {
    "torch": "2.2.2",
    "transformers": "4.37.2",
    "accelerate": "0.26.1",
    "optimum": "1.16.2",
    "auto-gptq": "0.7.1",
    "peft": "0.8.2",
    "triton": "2.2.0",
}
_SEED = {
    "torch": "2.1.2",
    "transformers": "4.32.0",
    "accelerate": "0.23.0",
    "optimum": "1.13.2",
    "auto-gptq": "0.7.1",
    "peft": "0.8.2",
    "triton": "2.1.0",
}
_KERNELS = {"exllama_kernels": True, "exllamav2_kernels": True, "autogptq_cuda_64": False, "autogptq_cuda_256": False}
_NEW: dict[str, Any] = {"python": "3.12.3", "cuda": "13.0", "driver": {"version": "580.95.05", "cuda": "13.0"}, "extensions": {}}
_OLD: dict[str, Any] = {
    "python": "3.10.13",
    "cuda": "12.1",
    "driver": {"version": "535.104.05", "cuda": "12.2"},
    "extensions": _KERNELS,
}

STACKS: Mapping[str, dict[str, Any]] = {
    "today": {**_NEW, "packages": _TODAY},
    "today-flash": {**_NEW, "packages": {**_TODAY, "flash-attn": "2.8.3"}},
    "today-old-flash": {**_NEW, "packages": {**_TODAY, "flash-attn": "2.2.0"}},
    "today-old-tokenizers": {**_NEW, "packages": {**_TODAY, "tokenizers": "0.22.1"}},
    "today-kernels": {**_NEW, "packages": {**_TODAY, "kernels": "0.18.2"}},
    "today-torch-2.5": {**_NEW, "packages": {**_TODAY, "torch": "2.5.1"}},
    "legacy-foreign-flash": {
        **_OLD,
        "packages": {**_LEGACY, "flash-attn": "2.5.8"},
        "extensions": {**_KERNELS, "flash_attn_2_cuda": False},
    },
    "today-foreign-flash": {
        **_NEW,
        "packages": {**_TODAY, "flash-attn": "2.8.3"},
        "extensions": {"flash_attn_2_cuda": False},
    },
    "today-foreign-torchvision": {
        **_NEW,
        "packages": {**_TODAY, "torchvision": "0.20.1", "pillow": "12.0.0"},
        "extensions": {"torchvision._C": False},
    },
    "legacy-new-peft": {**_OLD, "packages": {**_LEGACY, "peft": "0.14.0"}},
    "today-bnb": {**_NEW, "packages": {**_TODAY, "bitsandbytes": "0.50.2"}},
    "today-bnb-0.46": {**_NEW, "packages": {**_TODAY, "bitsandbytes": "0.46.1"}},
    "today-deepspeed": {**_NEW, "packages": {**_TODAY, "deepspeed": "0.18.3"}},
    "today-bnb-deepspeed": {**_NEW, "packages": {**_TODAY, "bitsandbytes": "0.50.2", "deepspeed": "0.18.3"}},
    "today-hqq": {**_NEW, "packages": {**_TODAY, "hqq": "0.2.8"}},
    "today-einops": {**_NEW, "packages": {**_TODAY, "einops": "0.8.1"}},
    "today-without-gptqmodel": {**_NEW, "packages": {name: version for name, version in _TODAY.items() if name != "gptqmodel"}},
    "today-without-accelerate": {**_NEW, "packages": {name: version for name, version in _TODAY.items() if name != "accelerate"}},
    "today-without-torch": {
        **_NEW,
        "cuda": None,
        "packages": {name: version for name, version in _TODAY.items() if name != "torch"},
    },
    "today-without-peft": {**_NEW, "packages": {name: version for name, version in _TODAY.items() if name != "peft"}},
    "spring-2024": {**_OLD, "packages": {**_LEGACY, "transformers": "4.41.2"}},
    "today-old-torch": {**_NEW, "packages": {**_TODAY, "transformers": "4.57.1", "torch": "2.5.1", "huggingface-hub": "0.36.0"}},
    "today-old-gptqmodel": {**_NEW, "packages": {**_TODAY, "gptqmodel": "5.8.0"}},
    "middle-bnb": {**_OLD, "packages": _MIDDLE},
    "before-4-bit": {
        **_OLD,
        "packages": {
            **_MIDDLE,
            "torch": "2.0.1",
            "transformers": "4.29.2",
            "accelerate": "0.19.0",
            "bitsandbytes": "0.39.0",
            "triton": "2.0.0",
            "peft": "0.4.0",
        },
    },
    "older-4-bnb": {**_OLD, "packages": {**_MIDDLE, "transformers": "4.44.2", "accelerate": "1.2.1"}},
    "middle-awq": {**_OLD, "packages": {**_MIDDLE, "autoawq": "0.2.7"}},
    "recent-4": {**_OLD, "cuda": "12.6", "driver": _NEW["driver"], "packages": _RECENT_4},
    "recent-4-bnb": {**_OLD, "cuda": "12.6", "driver": _NEW["driver"], "packages": {**_RECENT_4, "bitsandbytes": "0.48.1"}},
    "recent-4-old-bnb": {**_OLD, "cuda": "12.6", "driver": _NEW["driver"], "packages": {**_RECENT_4, "bitsandbytes": "0.44.1"}},
    "recent-4-fbgemm": {
        **_OLD,
        "cuda": "12.6",
        "driver": _NEW["driver"],
        "packages": {**_RECENT_4, "fbgemm-gpu-genai": "1.4.0"},
    },
    "recent-4-awq": {**_OLD, "cuda": "12.6", "driver": _NEW["driver"], "packages": {**_RECENT_4, "autoawq": "0.2.9"}},
    "legacy": {**_OLD, "packages": _LEGACY},
    "seed": {**_OLD, "packages": _SEED},
    "seed-optimum-1.16": {**_OLD, "packages": {**_SEED, "optimum": "1.16.2"}},
}
