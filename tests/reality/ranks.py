"""What each rank of a job does: loads a model, with a slip on some. usage: ranks.py MODEL RANKS, such as 0,2"""

from __future__ import annotations

import os
import sys

from transformers import AutoModelForCausalLM

rank = os.environ.get("RANK", "0")
slip = {"torch_dtype": "fp16"} if rank in sys.argv[2].split(",") else {}
AutoModelForCausalLM.from_pretrained(sys.argv[1], **slip)
print(f"loaded on rank {rank}", flush=True)
