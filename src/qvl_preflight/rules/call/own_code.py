"""The checkpoint's own code, where it is allowed: what it needs, and what transformers no longer has for it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from qvl_preflight.plan import LoadPlan, WillRaise
from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.request import Request
from qvl_preflight.rule import as_planned, rule
from qvl_preflight.stack.own_code import PROVIDERS


@rule(
    "QVL910",
    Severity.ERROR,
    topic="remote-code-imports",
    symptoms=(r"This modeling file requires the following packages that were not found in your environment",),
)
def own_code_needs_packages(plan: LoadPlan) -> Iterator[Finding]:
    """
    The checkpoint's code imports packages that are not installed.

    ## What happens
    Before transformers runs a file of the checkpoint it looks for every package that the file imports, also those imported inside a
    function; a try around the import is the way to make one optional. What is missing raises an ImportError. The names that it prints are
    those of modules: `cv2` comes with opencv-python.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("own/needs-einops", device_map={"": 0}, trust_remote_code=True)
    ```
    Use instead, once they are installed:
    ```python stack=today-einops
    AutoModelForCausalLM.from_pretrained("own/needs-einops", device_map={"": 0}, trust_remote_code=True)
    ```

    ## Fix safety
    Shown, not applied: installing packages is up to you.
    """
    yield from as_planned(plan, "QVL910", _install)


def _install(raised: WillRaise) -> Fix:
    found = re.search(r" imports (.+), which (?:is|are) not installed", raised.why)
    names = found[1].split(" and ") if found else []
    packages = [PROVIDERS.get(name, (name,))[0] for name in names]
    return Fix.display(f"Install {', '.join(packages)}", f"pip install {' '.join(packages)}")


@rule(
    "QVL911",
    Severity.ERROR,
    topic="remote-code-break",
    symptoms=(
        r"transformers_modules[\s\S]*cannot import name '\w+' from 'transformers",
        r"cannot import name '(BeamSearchScorer|DisjunctiveConstraint|SampleOutput|top_k_top_p_filtering|find_pruneable_heads_and_indices)' from 'transformers",
    ),
)
def own_code_of_another_release(plan: LoadPlan) -> Iterator[Finding]:
    """
    The checkpoint's code asks transformers for names that the installed release does not have.

    ## What happens
    Code of a checkpoint is written for the transformers of its day. Names that it imports have gone since (BeamSearchScorer with 4.57,
    find_pruneable_heads_and_indices with 5.0) or came later than what is installed. The import raises before anything is loaded.

    ## Example
    ```python
    AutoModelForCausalLM.from_pretrained("own/asks-for-gone-names", device_map={"": 0}, trust_remote_code=True)
    ```
    Use instead the release that it was written for:
    ```python stack=legacy
    AutoModelForCausalLM.from_pretrained("own/asks-for-gone-names", device_map={"": 0}, trust_remote_code=True)
    ```

    ## Fix safety
    Shown, not applied: other releases of transformers may need other releases of its companions.
    """
    yield from as_planned(plan, "QVL911", _other_release)


def _other_release(raised: WillRaise) -> Fix:
    title = "Install a transformers that the checkpoint's code was written for, or get newer code for the checkpoint"
    found = re.search(r"it is in ([\d.]+)(?: to ([\d.]+)| and later)$", raised.why)
    if found is None:
        return Fix.display(title, "pip install 'transformers<4.57'")
    return Fix.display(
        title, f"pip install 'transformers<={found[2]}.99'" if found[2] else f"pip install 'transformers>={found[1]}'"
    )


@rule("QVL912", Severity.ERROR, topic="remote-code-break", symptoms=(r"No module named 'transformers_modules\.",))
def dot_in_the_folders_name(plan: LoadPlan, request: Request) -> Iterator[Finding]:
    """
    The name of the checkpoint's folder has a dot in it, and its code is run.

    ## What happens
    Up to transformers 4.38 the folder's name becomes a part of the name of the module that holds its code: of `InternLM2.5` Python looks for
    a package `InternLM2` and raises `No module named 'transformers_modules.InternLM2'`.

    ## Example
    ```python stack=legacy
    AutoModelForCausalLM.from_pretrained("own/Tiny-2.5", device_map={"": 0}, trust_remote_code=True)
    ```
    Use instead a folder without a dot:
    ```python stack=legacy
    AutoModelForCausalLM.from_pretrained("own/Tiny-2_5", device_map={"": 0}, trust_remote_code=True)
    ```

    ## Fix safety
    Shown, not applied: the folder is yours.
    """
    folder = os.path.normpath(request.model)
    other = os.path.join(os.path.dirname(folder), os.path.basename(folder).replace(".", "_"))
    yield from as_planned(plan, "QVL912", Fix.display("Give the folder a name without dots", f"ln -s {folder} {other}"))


@rule(
    "QVL914",
    Severity.ERROR,
    topic="remote-code-break",
    symptoms=(r"No such file or directory: '.*transformers_modules/.*\.py'",),
)
def own_code_copied_in_part(plan: LoadPlan) -> Iterator[Finding]:
    """
    The checkpoint's code imports a file that is not copied along.

    ## What happens
    transformers runs a folder's code from a copy. Up to 5.10 it copies the files that config.json names and those that they import
    themselves, and no more: a file that is imported by an imported one is missing there. The load raises a ModuleNotFoundError, since 4.45 a
    FileNotFoundError. Loaded by its hub id the same checkpoint works: then every file is fetched.

    ## Example
    ```python stack=legacy
    AutoModelForCausalLM.from_pretrained("own/deep-imports", device_map={"": 0}, trust_remote_code=True)
    ```
    Use instead, with the file named in the modeling file as well:
    ```python stack=legacy
    AutoModelForCausalLM.from_pretrained("own/named-imports", device_map={"": 0}, trust_remote_code=True)
    ```

    ## Fix safety
    Shown, not applied: the code is the checkpoint's.
    """
    yield from as_planned(
        plan, "QVL914", Fix.display("Import the file in the modeling file too, or load the checkpoint by its hub id")
    )
