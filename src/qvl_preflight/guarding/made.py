"""What a process made that says what its model is for. Imports say nothing: transformers' Trainer imports peft by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class Made:
    """The last of each."""

    trainer: Any = None  # TrainingArguments, or trl's configurations, which derive from it
    lora: Any = None
    prepared: bool = False  # prepare_model_for_kbit_training was called

    @property
    def words(self) -> str:
        """``SFTConfig and LoraConfig were made``"""
        names = [type(each).__name__ for each in (self.trainer, self.lora) if each is not None]
        made = f"{' and '.join(names)} {'were' if len(names) > 1 else 'was'} made" if names else ""
        called = "prepare_model_for_kbit_training was called" if self.prepared else ""
        return " and ".join(filter(None, (made, called)))


MADE = Made()


def note_trainer(arguments: Any) -> None:
    MADE.trainer = arguments


def note_lora(config: Any) -> None:
    """Not one that was read with an adapter that is only used."""
    if not getattr(config, "inference_mode", False):
        MADE.lora = config


def note_prepared() -> None:
    MADE.prepared = True


def forget() -> None:
    """Nothing is kept alive for a guard that is gone."""
    MADE.trainer, MADE.lora, MADE.prepared = None, None, False


def purposes(made: Made, quantised: bool) -> tuple[str, ...]:
    """What the model may be loaded for, as far as that shows; () where nothing was made. Arguments for a Trainer alone leave full and lora open."""
    if made.prepared or (quantised and (made.lora is not None or made.trainer is not None)):
        return ("qlora",)
    if made.lora is not None:
        return ("lora",)
    return ("lora", "full") if made.trainer is not None else ()
