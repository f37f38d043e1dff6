"""QVL6xx, continued: packages that are installed twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from qvl_preflight.report import Finding, Fix, Severity
from qvl_preflight.rule import ask, rule
from qvl_preflight.unknown import Unknown

if TYPE_CHECKING:
    from qvl_preflight.facts import Facts
    from qvl_preflight.plan import LoadPlan

# What decides a load: two releases of anything else are somebody else's business.
_DECIDE = (
    "torch", "torchvision", "transformers", "tokenizers", "accelerate", "optimum", "auto-gptq", "gptqmodel", "bitsandbytes", "peft", "trl", "deepspeed", "triton",
    "numpy", "safetensors", "huggingface-hub",
)  # fmt: skip


@rule("QVL602", Severity.WARNING, topic="dep-skew-import", environment=True)
def package_installed_twice(
    facts: Facts, packages_duplicates: Mapping[str, tuple[str, ...]], plan: LoadPlan | None
) -> Iterator[Finding]:
    """
    Two releases of one package are installed, and one hides the other.

    ## What happens
    Packages from `pip install --user` come before those of a conda environment, in every environment of that Python. An upgrade that broke off,
    or pip over conda, leaves two releases in one folder. What `pip list` shows is then not what is imported, and packages that were built
    for one release meet the other. A package that pip replaced behind conda's back is a note: it works until conda changes something.

    ## Example
    ```python hardware=two-torches
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```
    Use instead:
    ```python hardware=a100
    AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-7B-Instruct", device_map="cuda")
    ```

    ## Fix safety
    Shown, not applied: which of the two is wanted is for you to say.
    """
    duplicates = ask(packages_duplicates, plan) or {}
    found = {name: duplicates[name] for name in _DECIDE if len(duplicates.get(name, ())) > 1}
    places = {name: [copy.partition(" (")[2].rstrip(")") for copy in copies] for name, copies in found.items()}
    for name, copies in found.items():
        if places[name][-1] == "conda":
            yield _over_conda(name, copies)
        elif len(set(places[name])) < len(places[name]):
            fix = Fix.display("Install it anew", f"pip uninstall -y {name}", f"pip uninstall -y {name}", f"pip install {name}")
            yield Finding(f"two releases of {name} lie in one folder: {' and '.join(copies)}", "import", fix=fix)
    kind = "" if isinstance(facts.python, Unknown) else facts.python.environment
    # Outside an environment that is how a user replaces what the system brings.
    hiding = [name for name in found if places[name][0] == "user site"] if kind in ("conda", "venv") else []
    if hiding:
        shown = ", ".join(f"{name} {found[name][0].partition(' ')[0]} (here {found[name][1].partition(' ')[0]})" for name in hiding)
        commands = ("export PYTHONNOUSERSITE=1", f"python -m pip uninstall {' '.join(hiding)}")
        fix = Fix.display("Leave the user's packages out, or remove those", *commands)
        yield Finding(f"packages of the user site hide those of this environment: {shown}", "import", fix=fix)


def _over_conda(name: str, copies: tuple[str, ...]) -> Finding:
    """It works until conda changes something: conda goes by its records."""
    here, recorded = copies[0].partition(" ")[0], copies[-1].partition(" ")[0]
    message = (
        f"{name} {here} is installed, and conda's records say {recorded}: pip replaced it, and conda's next change may mix the two"
    )
    fix = Fix.display("Leave it to one of the two", f"conda list {name}", f"python -m pip show {name}")
    return Finding(message, "import", fix=fix, severity=Severity.NOTE)
