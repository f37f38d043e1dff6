"""QVL3xx: the quantised checkpoint, the packages that load it, the kernel that will hold it."""

from qvl_preflight.rules.quantization import backends, configs, kernels

__all__ = ["backends", "configs", "kernels"]
