"""Calls that nobody thought of: their arguments are drawn, the same ones for the same seed.

hypothesis would mix constants of the code under test into what it draws, so that every change of the code changed some of the calls.

Each argument is drawn from what people write when all is well, or, one time in four, from what they get wrong: a call in which everything
is wrong says little, since the first mistake hides the others.
"""

from __future__ import annotations

from itertools import count
from random import Random
from typing import Any

import drawn_values as values
from grid import Case

MODELS = ("gptq-int4", "gptq-int8", "gptq-int4-desc", "gptq-int4-g-1", "gptq-int4-g32", *("plain-bf16", "plain-fp16") * 2)
LORA = {"r": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}
_PARTS = ("model.embed_tokens", "model.layers.0", "model.layers.1", "model.norm", "lm_head")


def draws(number: int, start: int) -> list[Case]:
    """``number`` different cases, the same for the same ``start`` whatever else changes."""
    found: dict[str, Case] = {}
    for attempt in count():
        case = _Draw(Random(f"{start}-{attempt}")).call()
        found.setdefault(repr(case), {"id": f"{start}-{len(found):03d}", **case})
        if len(found) == number:
            return list(found.values())
    raise AssertionError  # not reached


class _Draw:
    """One call: the model, the class, some arguments, and what is done with the model."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def one_in(self, count: int) -> bool:
        return self.random.randrange(count) == 0

    def of(self, good: tuple[Any, ...], odd: tuple[Any, ...] = ()) -> Any:
        return self.random.choice(odd if odd and self.one_in(4) else good)

    def some(self, names: Any, most: int, least: int = 0) -> list[str]:
        return self.random.sample(sorted(names), self.random.randint(least, most))

    def call(self) -> Case:
        model, kwargs = self.of(MODELS), dict[str, Any]()
        if not self.one_in(4):
            kwargs["device_map"] = self.parts() if self.one_in(5) else self.of(values.MAPS, values.ODD_MAPS)
        if self.one_in(2):
            kwargs[self.of(("torch_dtype", "torch_dtype", "dtype"))] = self.of(values.DTYPES, values.ODD_DTYPES)
        if self.one_in(2):
            kwargs["quantization_config"] = self.quantization(model)
        kwargs |= {name: self.of(*values.OTHERS[name]) for name in self.some(values.OTHERS, 2)}
        if self.one_in(10):
            name = self.of(tuple(values.UNREAD))
            kwargs[name] = values.UNREAD[name]
        return {"model": model, "kwargs": kwargs, **self.use(model, kwargs)}

    def use(self, model: str, kwargs: Case) -> Case:
        """What the model is loaded for."""
        if self.one_in(3):
            given = any(kwargs.get(name) for name in ("quantization_config", "load_in_4bit", "load_in_8bit"))
            adapters = (
                {name: self.of(*values.ADAPTERS[name]) for name in self.some(values.ADAPTERS, 2, 1)} if self.one_in(2) else {}
            )
            purpose = "lora" if model.startswith("plain") and not given else "qlora"
            return {"purpose": purpose, "action": "lora_step", **({"peft": LORA | adapters} if adapters else {})}
        loader = {"loader": self.of(values.LOADERS)} if self.one_in(4) else {}
        return {"purpose": "inference", "action": "forward", **loader}

    def quantization(self, model: str) -> Any:
        """The checkpoint's own method most often, on a plain one bitsandbytes; else any other."""
        if self.one_in(5):
            return self.of(values.ODD_CONFIGS)
        gptq = model.startswith("gptq") != self.one_in(6)
        fields = values.GPTQ if gptq else values.BNB
        chosen = {name: self.of(fields[name]) for name in self.some(fields, 2)}
        if gptq:
            return {"__class__": "GPTQConfig", "bits": 8 if model == "gptq-int8" else 4} | chosen
        return {"__class__": "BitsAndBytesConfig", self.of(("load_in_4bit", "load_in_8bit")): True} | chosen

    def parts(self) -> Case:
        """A map that names the modules one by one, now and then without one of them, or with one too many."""
        found = {name: self.of(values.PLACES) for name in _PARTS}
        if self.one_in(3):
            del found[self.of(_PARTS)]
        if self.one_in(6):
            found[self.of(("model.rotary_emb", "", "vision_tower"))] = self.of(values.PLACES)
        return found
