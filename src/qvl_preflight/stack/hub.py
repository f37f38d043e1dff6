"""What transformers and huggingface_hub do for a file that is not in the cache: whether they may fetch it, and in which words they give up.

Run on 4.28.1, 4.32.0, 4.37.2, 4.41.2, 4.45.2, 4.51.3, 4.57.1 (huggingface_hub 0.36) and 5.23.0 (2.4), on a CPU without network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qvl_preflight.unknown import Unknown, attempt, need
from qvl_preflight.versions import ByRelease, Evidence, Row

if TYPE_CHECKING:
    from qvl_preflight.facts import Facts, Packages
    from qvl_preflight.plan import Situation
    from qvl_preflight.sources import Asked

TRUE_WORDS = ("1", "ON", "YES", "TRUE")  # huggingface_hub constants.py ENV_VARS_TRUE_VALUES, since 0.14
NO_NETWORK = "the hub cannot be reached from here"
DEFAULT_ENDPOINT = "https://huggingface.co"
_FOR_FILE = (
    "We couldn't connect to '{endpoint}' to load this file, couldn't find it in the cached files and it looks like {repo} is not the path to a "
    "directory containing a file named {file}."
)
_FOR_FILES = "We couldn't connect to '{endpoint}' to load the files, and couldn't find them in the cached files."
# A file that the load cannot do without: config.json, a file of code.
REQUIRED: ByRelease[str] = ByRelease(
    "transformers",
    Row("4.28", "4.50", _FOR_FILE, Evidence.RUN, "transformers 4.28.1, 4.32.0, 4.37.2, 4.41.2, 4.45.2 utils/hub.py"),
    Row("4.50", None, _FOR_FILES, Evidence.RUN, "transformers 4.51.3, 4.57.1, 5.23.0 utils/hub.py"),
)
_FOR_ANY = "We couldn't connect to '{endpoint}' to load "  # what every release says
SHARD: ByRelease[str] = ByRelease(
    "transformers",
    Row("4.28", "4.50", _FOR_FILE, Evidence.RUN, "transformers 4.28.1, 4.32.0, 4.37.2, 4.41.2, 4.45.2 utils/hub.py"),
    Row("4.50", None, "{repo} does not appear to have a file named {file}. Checkout 'https://huggingface.co/{repo}/tree/", Evidence.RUN, "transformers 4.51.3, 4.57.1, 5.23.0 utils/hub.py"),
)  # fmt: skip
# No weights of any kind. Up to 4.41 the hub is then asked for TensorFlow's, offline or not; later ones up to 4.57 go on with None.
NO_WEIGHTS: ByRelease[tuple[str, str]] = ByRelease(
    "transformers",
    Row("4.28", "4.41", ("OSError", ""), Evidence.RUN, "transformers 4.28.1, 4.32.0, 4.37.2 modeling_utils.py: a ConnectionError where there is no network"),
    Row("4.41", "5.0", ("AttributeError", "'NoneType' object has no attribute 'endswith'"), Evidence.RUN, "transformers 4.45.2, 4.51.3, 4.57.1 modeling_utils.py"),
    Row("5.0", None, ("OSError", "{repo} does not appear to have a file named {bin} or {safe}."), Evidence.RUN, "transformers 5.23.0 modeling_utils.py"),
)  # fmt: skip
# The same where the hub is asked and cannot be reached.
NO_WEIGHTS_NO_NETWORK: ByRelease[tuple[str, str]] = ByRelease(
    "transformers",
    Row("4.28", "4.45", ("OSError", ""), Evidence.RUN, "transformers 4.37.2 modeling_utils.py: a ConnectionError of tf_model.h5"),
    Row("4.45", "5.0", ("OSError", "{repo} does not appear to have a file named {bin}, {safe}, tf_model.h5, model.ckpt or flax_model.msgpack."), Evidence.RUN, "transformers 4.57.1 modeling_utils.py"),
    Row("5.0", None, ("OSError", "{repo} does not appear to have a file named {bin} or {safe}."), Evidence.RUN, "transformers 5.23.0 modeling_utils.py"),
)  # fmt: skip
# use_safetensors=True and none in the cache: from 4.36 to 4.57 the hub is asked to convert the weights, and what that raises differs.
NO_SAFETENSORS: ByRelease[tuple[str, str]] = ByRelease(
    "transformers",
    Row("4.28", "4.36", ("OSError", " {safe} or {safe_index} and thus cannot be loaded with `safetensors`."), Evidence.RUN, "transformers 4.28.1, 4.32.0 modeling_utils.py"),
    Row("4.36", "5.0", ("OSError", ""), Evidence.RUN, "transformers 4.37.2, 4.41.2, 4.45.2, 4.51.3, 4.57.1 safetensors_conversion.py"),
    Row("5.0", None, ("OSError", "{repo} does not appear to have a file named {safe} or {safe_index} and thus cannot be loaded with `safetensors`."), Evidence.RUN, "transformers 5.23.0 modeling_utils.py"),
)  # fmt: skip
_READS_HUB_OFFLINE = (4, 42)  # before, transformers itself knows TRANSFORMERS_OFFLINE alone (utils/hub.py is_offline_mode)


def required(packages: Packages) -> Row[str]:
    """What is said of a file that the load cannot do without; of a release that is not known, or not there, what all of them say."""
    row = attempt(lambda: REQUIRED.row(packages))
    return Row("4.28", None, _FOR_ANY, Evidence.RUN, "as REQUIRED") if isinstance(row, Unknown) else row


def offline(facts: Facts, packages: Packages, asked: Asked) -> str | None:
    """Why this call fetches nothing, as a person would say it; None where it may. Raises Undecided."""
    if asked.local_files_only:
        return "local_files_only=True"
    env = need(facts.env)
    # huggingface_hub reads the second only where the first is empty; old releases of transformers read the second by themselves.
    spoken = env.get("HF_HUB_OFFLINE") or env.get("TRANSFORMERS_OFFLINE") or ""
    if spoken.upper() in TRUE_WORDS:
        name = "HF_HUB_OFFLINE" if env.get("HF_HUB_OFFLINE") else "TRANSFORMERS_OFFLINE"
        return f"{name}={spoken}"
    own = env.get("TRANSFORMERS_OFFLINE", "")
    if own.upper() in TRUE_WORDS and not packages.at_least("transformers", *_READS_HUB_OFFLINE):
        return f"TRANSFORMERS_OFFLINE={own}"
    if not isinstance(facts.build, Unknown) and facts.build.network is False:
        return NO_NETWORK
    return None


def is_offline(facts: Facts, packages: Packages, asked: Asked) -> bool:
    """Does this call certainly fetch nothing?"""
    return isinstance(attempt(lambda: offline(facts, packages, asked)), str)


def unaware(packages: Packages, otherwise: tuple[str, str]) -> tuple[str, str]:
    """What is raised for missing weights under HF_HUB_OFFLINE alone: 4.41 does not know it yet, and tries to reach the hub."""
    knows = packages.at_least("transformers", *_READS_HUB_OFFLINE)
    return otherwise if knows or not packages.at_least("transformers", 4, 41) else ("OSError", "")


def endpoint(situation: Situation) -> str:
    """The address of the hub as messages quote it."""
    env = situation.facts.env
    return ("" if isinstance(env, Unknown) else env.get("HF_ENDPOINT", "").rstrip("/")) or DEFAULT_ENDPOINT


def asks(situation: Situation) -> bool:
    """Does this call try to ask the hub for anything? Raises Undecided."""
    source = situation.checkpoint.source
    if source is None or source.hub != "huggingface":
        return False
    return offline(situation.facts, situation.packages, situation.checkpoint.asked) in (None, NO_NETWORK)
