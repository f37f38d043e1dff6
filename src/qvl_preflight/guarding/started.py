"""What ``qvl-preflight run`` asks of a Python that it starts, by way of one environment variable."""

from __future__ import annotations

import json
import os
from dataclasses import asdict

from qvl_preflight.guarding import install
from qvl_preflight.guarding.active import Settings

VARIABLE = "QVL_PREFLIGHT_RUN"


def written(settings: Settings) -> str:
    """The settings as the variable holds them."""
    return json.dumps(asdict(settings))


def start() -> None:
    """The guard of this process. Raises where the variable holds something else; who calls says so."""
    install(Settings(**json.loads(os.environ[VARIABLE])))
