"""The checkpoint of a call, where the call itself would find it, or, where a person says so, as the hub has it now."""

from __future__ import annotations

import os
from dataclasses import replace

from qvl_preflight.checkpoint import NOT_FETCHED, Checkpoint, read_checkpoint, read_config
from qvl_preflight.exceptions import InputError
from qvl_preflight.facts import Facts, Packages
from qvl_preflight.request import Request
from qvl_preflight.sources import Asked, Place, find_source
from qvl_preflight.stack.hub import is_offline
from qvl_preflight.unknown import Unknown, attempt


def locate(request: Request, facts: Facts, *, here: bool, online: bool | float = False) -> Checkpoint:
    """The checkpoint of a call. ``here``: the facts are this machine's own. ``online``: ask the hub for what is not here; for how many
    seconds. Raises InputError."""
    packages, asked = Packages(facts), Asked.of(request.kwargs)
    release = attempt(lambda: packages.release("transformers"))
    env = None if here or isinstance(facts.env, Unknown) else facts.env
    own = {**os.environ, **facts.env} if here and not isinstance(facts.env, Unknown) else os.environ  # what counts in this process
    place = Place(own, {} if env is None and not here else env, None if isinstance(release, Unknown) else release, request.hub)
    offline = is_offline(facts, packages, asked)
    source = find_source(request.model, asked, place)
    if online is False or offline or source is None or source.hub != "huggingface":
        return read_checkpoint(request.model, os.environ, asked, place, offline=offline)
    try:
        found = read_checkpoint(request.model, os.environ, asked, place)
        if found.weights != NOT_FETCHED:
            return found
    except InputError:
        pass  # nothing of it is here
    return _asked(request.model, asked, online)


def _asked(model: str, asked: Asked, online: bool | float) -> Checkpoint:
    from qvl_preflight.online import SECONDS, ask_hub  # only where a person says so

    answer = ask_hub(model, asked, SECONDS if online is True else float(online))
    name = "/".join(filter(None, (asked.subfolder.strip("/"), "config.json")))
    folder = answer.source.folder or ""
    checkpoint = Checkpoint(folder, read_config(os.path.join(folder, *name.split("/"))), answer.source, asked)
    return checkpoint if answer.weights is None else replace(checkpoint, at_hub=answer.weights)
