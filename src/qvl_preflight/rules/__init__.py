"""The rules, one module per theme. Codes: 1xx cuda, 2xx devices, 3xx quantization, 4xx placement, 6xx packages, 7xx launch, 8xx training,
9xx checkpoint and call."""

from functools import cache
from importlib import import_module

# Themes whose rules also judge a machine alone, without a call: the doctor loads these and no others.
ENVIRONMENT = (
    "cuda.driver",
    "cuda.reach",
    "cuda.torch_build",
    "cuda.gpus",
    "cuda.health",
    "devices.visible",
    "devices.numbering",
    "devices.process",
    "twice",
    "skew",
)
THEMES = (
    *ENVIRONMENT, "devices.ordinals", "quantization.methods", "quantization.environment", "quantization.awq", "quantization.asked", "quantization.backends", "quantization.configs", "quantization.kernels", "quantization.bnb", "placement", "memory", "spread", "split", "offload", "maps", "packages",
    "launch.maps", "launch.data_parallel", "launch.sharding", "launch.jobs",
    "training.kernels", "files.cache", "files.weights", "files.hub", "call.auto_classes", "call.own_code", "call.weights", "call.arguments", "call.attention",
    "training.arguments", "training.precision", "training.adapters", "training.lora_runs",
    "call.precision",
)  # fmt: skip


@cache
def load_themes(themes: tuple[str, ...] = THEMES) -> None:
    """Import the themes, which registers their rules."""
    for theme in themes:
        import_module(f"{__name__}.{theme}")
