"""A QLoRA run on one GPU in the shape of Qwen-VL's finetune.py: a GPTQ checkpoint, adapters, a Trainer.

usage: python examples/finetune_qlora.py --model_name_or_path ./Qwen-VL-Chat-Int4 --output_dir out --max_steps 1
       qvl-preflight run --mode fix --purpose qlora -- python examples/finetune_qlora.py …

The data are made up, so that nothing has to be fetched.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import torch
import transformers
from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
from transformers import AutoModelForCausalLM, GPTQConfig, HfArgumentParser, Trainer, TrainingArguments


@dataclass
class ModelArguments:
    model_name_or_path: str = field(default="Qwen/Qwen-VL-Chat-Int4")


@dataclass
class LoraArguments:
    lora_r: int = 8
    lora_alpha: int = 16
    lora_dropout: float = 0.05
    lora_target_modules: list[str] = field(default_factory=lambda: ["q_proj", "v_proj"])


class MadeUp(torch.utils.data.Dataset):
    """Sentences of random words."""

    def __init__(self, vocabulary: int, length: int = 16, size: int = 8) -> None:
        torch.manual_seed(0)
        self.rows = torch.randint(3, vocabulary, (size, length))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {
            "input_ids": self.rows[index],
            "labels": self.rows[index],
            "attention_mask": torch.ones_like(self.rows[index]),
        }


def train() -> None:
    parser = HfArgumentParser((ModelArguments, LoraArguments, TrainingArguments))
    model_arguments, lora, training = parser.parse_args_into_dataclasses()

    ddp = int(os.environ.get("WORLD_SIZE", "1")) != 1
    device_map = {"": int(os.environ.get("LOCAL_RANK") or 0)} if ddp and torch.cuda.is_available() else None
    model = AutoModelForCausalLM.from_pretrained(
        model_arguments.model_name_or_path,
        device_map=device_map,
        trust_remote_code=True,
        quantization_config=GPTQConfig(bits=4),
    )
    model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=training.gradient_checkpointing)
    config = LoraConfig(
        r=lora.lora_r,
        lora_alpha=lora.lora_alpha,
        target_modules=lora.lora_target_modules,
        lora_dropout=lora.lora_dropout,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(model, config)
    result = Trainer(model=model, args=training, train_dataset=MadeUp(model.config.vocab_size)).train()
    print(f"transformers {transformers.__version__}: {result.global_step} step, loss {result.training_loss:.3f}")


if __name__ == "__main__":
    train()
