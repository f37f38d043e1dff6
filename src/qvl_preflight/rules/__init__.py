"""The rules, one module per theme. Codes: 1xx cuda, 2xx devices, 3xx quantization, 4xx placement, 6xx packages, 7xx launch, 8xx training,
9xx checkpoint and call."""

from qvl_preflight.rules import call, cuda, devices, launch, packages, placement, quantization, training

THEMES = (cuda, devices, quantization, placement, packages, launch, training, call)
