"""The rules, one module per theme. Codes: 1xx cuda, 2xx devices, 3xx quantization, 4xx placement, 6xx packages, 7xx launch, 8xx training,
9xx checkpoint and call."""

from importlib import import_module

THEMES = (
    "cuda", "devices", "quantization.backends", "quantization.configs", "quantization.kernels", "quantization.bnb", "placement", "spread", "packages", "launch", "training", "call",
)  # fmt: skip


def load_themes() -> None:
    """Import every theme, which registers its rules."""
    for theme in THEMES:
        import_module(f"{__name__}.{theme}")
