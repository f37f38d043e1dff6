"""What a guard adds to a call of from_pretrained: the first, another, and one that is known. Needs neither transformers nor torch.

usage: python benchmarks/guard.py
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time

import qvl_preflight
from qvl_preflight.guarding import call
from qvl_preflight.testing import write_checkpoint


class Model:
    """What is loaded: nothing."""


def milliseconds(model: str, **kwargs: object) -> float:
    start = time.perf_counter()
    call.loads(lambda cls, *args, **kwargs: None, Model, (model,), kwargs)
    return 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # the reports
    with tempfile.TemporaryDirectory() as folder, qvl_preflight.guard():
        write_checkpoint(folder, {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, [{"a": ("F32", (8,))}])
        print(f"the first call    {milliseconds(folder, device_map='cpu'):8.2f} ms")
        print(f"another           {statistics.median(milliseconds(folder, max_memory={0: n}) for n in range(1, 20)):8.2f} ms")
        print(f"one that is known {statistics.median(milliseconds(folder, device_map='cpu') for _ in range(200)):8.2f} ms")
