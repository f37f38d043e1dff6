"""HF_ENDPOINT: the address of the hub or of a mirror, to which the names of files are appended as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qvl_preflight.plan import Stage, WillRaise
from qvl_preflight.stack import hub
from qvl_preflight.unknown import Unknown
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.plan import Draft, Situation

# What the HTTP library of a release says of an address without http:// or https://, and of one without a host.
_NO_ADDRESS: ByRelease[tuple[tuple[str, str], tuple[str, str]]] = ByRelease(
    "huggingface-hub",
    Row("0.14", "1.0", (("MissingSchema", "Invalid URL '{endpoint}/{repo}/resolve/"), ("InvalidURL", "Invalid URL '{endpoint}/{repo}/resolve/")), Evidence.RUN, "huggingface_hub 0.36.0, 0.36.2 with requests; transformers 4.37.2, 4.57.1"),
    Row("1.0", None, (("UnsupportedProtocol", "Request URL is missing an 'http://' or 'https://' protocol."),) * 2, Evidence.RUN, "huggingface_hub 2.4.0 with httpx; transformers 5.23.0"),
)  # fmt: skip
_EMPTY_COUNTS = (0, 29)  # before, an empty variable is as an unset one (constants.py ENDPOINT)


def endpoint(situation: Situation, draft: Draft) -> Iterator[WillRaise]:
    """CONFIG: an address that no request can be sent to. Only calls that ask the hub read it."""
    env = situation.facts.env
    given = None if isinstance(env, Unknown) else env.get("HF_ENDPOINT")
    if given is None or re.match(r"https?://[^/]", given, re.IGNORECASE) or not hub.asks(situation):
        return
    if not given and not situation.packages.at_least("huggingface-hub", *_EMPTY_COUNTS):
        return
    row = _NO_ADDRESS.row(situation.packages)
    kind, text = row.value[bool(re.match(r"https?:", given, re.IGNORECASE))]
    told = text.format(endpoint=given.rstrip("/"), repo=situation.request.model)
    why = f"HF_ENDPOINT is {given!r}, which is no address" + ("" if given else ": empty, it counts as one all the same")
    yield WillRaise("QVL959", Stage.CONFIG, kind, told, "endpoint", why, evidence=row.evidence)
