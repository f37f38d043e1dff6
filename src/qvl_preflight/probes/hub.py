"""What huggingface_hub holds for its settings in this process: it reads the environment when it is imported, and never again.

Sources: huggingface_hub 0.14 to 2.4 constants.py (ENDPOINT, HF_HUB_OFFLINE, HF_HUB_CACHE).
"""

from __future__ import annotations

import os
import sys
from typing import Any

_TRUE = ("1", "ON", "YES", "TRUE")


def in_force(env: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The variables as they count in this process, and those that were set, changed or removed too late: by name, with their value now."""
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is None:
        return env, {}
    counting, late = dict(env), dict[str, str]()
    for name, held in (("HF_ENDPOINT", _endpoint), ("HF_HUB_OFFLINE", _offline), ("HF_HUB_CACHE", _cache)):
        value = held(constants, env)
        if value is None:
            continue
        said = _name_that_says(name, env)
        late[said] = env.get(said, "")
        for other in {"HF_HUB_OFFLINE": ("TRANSFORMERS_OFFLINE",)}.get(name, ()):
            counting.pop(other, None)
        counting[name] = value
    return counting, late


def _name_that_says(name: str, env: dict[str, str]) -> str:
    """The variable that a person set for it."""
    others = {"HF_HUB_OFFLINE": ("TRANSFORMERS_OFFLINE",), "HF_HUB_CACHE": ("HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME")}
    return next((other for other in (name, *others.get(name, ())) if env.get(other)), name)


def _endpoint(constants: Any, env: dict[str, str]) -> str | None:
    held = getattr(constants, "ENDPOINT", None)
    now = env.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    return held if isinstance(held, str) and held and held != now else None


def _offline(constants: Any, env: dict[str, str]) -> str | None:
    held = getattr(constants, "HF_HUB_OFFLINE", None)
    now = (env.get("HF_HUB_OFFLINE") or env.get("TRANSFORMERS_OFFLINE") or "").upper() in _TRUE
    return ("1" if held else "0") if isinstance(held, bool) and held is not now else None


def _cache(constants: Any, env: dict[str, str]) -> str | None:
    held = getattr(constants, "HF_HUB_CACHE", None) or getattr(constants, "HUGGINGFACE_HUB_CACHE", None)
    home = env.get("HF_HOME") or os.path.join(env.get("XDG_CACHE_HOME") or os.path.join("~", ".cache"), "huggingface")
    now = env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    now = os.path.expandvars(os.path.expanduser(now))
    return held if isinstance(held, str) and held and os.path.abspath(held) != os.path.abspath(now) else None
