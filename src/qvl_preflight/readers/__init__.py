"""Reads what other programs are configured by: TrainingArguments, DeepSpeed, accelerate, peft, LLaMA-Factory. Nothing of them is imported."""
