"""What a new release changes is found in its source: small releases, written here, whose differences are known."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from qvl_preflight.versions import ByRelease, Evidence, Row, parse

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
import watch
from releases import Release, fragments
from watch import compared, outdated, strings, tables

from recorded import cases, replay

MODELING = """
class PreTrainedModel:
    def from_pretrained(cls, name, *args, config=None, **kwargs):
        '''Docstrings do not count.'''
        state = kwargs.pop("state_dict", None)
        {more}
        raise ValueError(f"{{cls}} does not take `device_map={{name}}` here, nor will it")
"""
QUANTIZER = """
class FpQuantizer:
    def validate_environment(self, *args):
        "A docstring."
        {check}
"""


def release(
    root: Path, version: str, more: str = "pass", check: str = "pass", minimum: str = "1.0", methods: str = '"fp": FpQuantizer'
) -> Release:
    """An unpacked release of four files."""
    (root / version / "quantizers").mkdir(parents=True)
    (root / version / "utils").mkdir()
    (root / version / "modeling_utils.py").write_text(MODELING.format(more=more))
    (root / version / "quantizers" / "quantizer_fp.py").write_text(QUANTIZER.format(check=check))
    (root / version / "quantizers" / "auto.py").write_text(f"AUTO_QUANTIZER_MAPPING = {{{methods}}}\n")
    (root / version / "utils" / "import_utils.py").write_text(f'ACCELERATE_MIN_VERSION = "{minimum}"\n')
    return Release(version, root / version)


def test_releases_that_are_alike_differ_in_nothing(tmp_path: Path) -> None:
    """A docstring, or where a line stands, is no difference."""
    one, other = release(tmp_path, "5.0.0"), release(tmp_path, "5.1.0", more="pass\n        # a comment")
    assert list(compared(one, other)) == []


def test_arguments_minima_methods_and_functions_are_compared(tmp_path: Path) -> None:
    """As a patch: what went with a minus, what came with a plus."""
    one = release(tmp_path, "5.0.0")
    other = release(
        tmp_path, "5.1.0", more='kwargs.pop("fresh", True)', check='raise ImportError("fp needs fast")', minimum="1.2",
        methods='"fp": FpQuantizer, "int2": Int2Quantizer',
    )  # fmt: skip
    found = list(compared(one, other))
    assert "+fresh = True" in found
    assert [line for line in found if "ACCELERATE_MIN_VERSION" in line] == [
        "-ACCELERATE_MIN_VERSION = '1.0'",
        "+ACCELERATE_MIN_VERSION = '1.2'",
    ]
    assert "+'int2' = Int2Quantizer" in found
    assert "+    raise ImportError('fp needs fast')" in found


def test_a_message_that_is_gone_names_its_table(tmp_path: Path) -> None:
    """The fixed part of an f-string is looked for; what Python words itself is in neither source, and nothing is said of it."""
    one, other = release(tmp_path, "5.0.0"), release(tmp_path, "5.1.0")
    (other.root / "modeling_utils.py").write_text(MODELING.format(more="pass").replace("nor will it", "but it may"))
    words = Row("4.32", None, ("ValueError", "{} does not take `device_map={}` here, nor will it"), Evidence.SOURCE, "")
    pythons = Row("4.32", None, "module 'torch' has no attribute '{}'", Evidence.SOURCE, "")
    gone = list(
        outdated(
            one,
            other,
            iter(
                [("stack/one.py _WORDS", ByRelease("transformers", words)), ("stack/two.py _P", ByRelease("transformers", pythons))]
            ),
        )
    )
    assert gone[0] == "@@ stack/one.py _WORDS: the row from 4.32 on @@"
    assert len(gone) == 3
    old = Row("4.32", "5.0", words.value, Evidence.SOURCE, "")
    assert list(outdated(one, other, iter([("stack/one.py _OLD", ByRelease("transformers", old))]))) == []


def test_every_table_of_the_plan_is_watched() -> None:
    """Also those inside a dict."""
    names = {name for name, _ in tables()}
    assert {"stack/transformers.py _BAD_DTYPE", "stack/left_over.py LEFT_OVER"} <= names


def test_texts_inside_a_value() -> None:
    """However deep."""
    assert list(strings(("ValueError", {"a": ["text"]}, True, None))) == ["ValueError", "text"]


def test_fragments_are_long_enough_to_mean_something() -> None:
    """`{}` and what is short say nothing."""
    assert fragments("{} does not take `device_map={}` here") == [" does not take `device_map="]


def test_what_an_import_asks_for_and_what_places_a_model_are_compared(tmp_path: Path) -> None:
    """Ranges of other packages; functions outside of classes."""
    one, other = release(tmp_path, "5.0.0"), release(tmp_path, "5.1.0")
    for each, hub, buffer in ((one, ">=1.0", "sum(sizes)"), (other, ">=1.31", "max(sizes)")):
        (each.root / "dependency_versions_table.py").write_text(
            f'deps = {{"huggingface-hub": "huggingface-hub{hub}", "av": "av"}}\n'
        )
        (each.root / "dependency_versions_check.py").write_text('pkgs = ["huggingface-hub"]\n')
        (each.root / "integrations").mkdir()
        (each.root / "integrations" / "accelerate.py").write_text(f"def buffer_size(sizes):\n    return {buffer}\n")
    found = list(compared(one, other))
    assert one.requirements == {"huggingface-hub": "huggingface-hub>=1.0"}
    assert "+huggingface-hub = huggingface-hub>=1.31" in found
    assert "+    return max(sizes)" in found


# Each table that has rows newer than 5.17, and by what the watch shows that it needs one. docs/watch/5.17-to-5.23.patch is what
# `python scripts/watch.py 5.23.0 --base 5.17.0 --no-run` prints, which sees nothing that the tables say of releases after 5.17.
SHOWN_BY = {
    "stack/fp8_forward.py KERNELS": "+KERNELS_MIN_VERSION = '0.18.2'",
    "stack/quant_training.py _KERNELS": "+KERNELS_MIN_VERSION = '0.18.2'",
    "stack/quant_training.py _TRAINABLE": "+++ 5.23.0 quantizers/quantizer_finegrained_fp8.py FineGrainedFP8HfQuantizer.is_trainable",
    "stack/requirements.py PINS": "+huggingface-hub = huggingface-hub>=1.31.0,<3.0",
    "stack/requirements.py _HUB_NAMES": "+huggingface-hub = huggingface-hub>=1.31.0,<3.0",
    "stack/requirements.py _OLDEST_TORCH": "+        if is_available and parsed_version < version.parse('2.6.0'):",
    "stack/requirements.py _NO_TORCH": "@@ stack/requirements.py _NO_TORCH: the row from 4.28 on @@",
    "stack/strategy_map.py _TRANSFORMERS": "+    biggest_leaf = max(leave_modules_sizes.values(), default=0)",
}


# What only the grid's real calls show: the import of TrainingArguments without accelerate.
SEEN_BY_RUNNING = {
    "stack/absent.py _NO_ACCELERATE",
    "stack/config_values.py _TEXT",
    "stack/other_devices.py _NO_XLA",
    "stack/attention.py _NO_PAGES",
}


def test_the_watch_found_what_5_23_changed() -> None:
    """Every table that has gained a row since 5.17 is betrayed by the patch, or by running that release."""
    patch = (Path(__file__).parents[1] / "docs" / "watch" / "5.17-to-5.23.patch").read_text(encoding="utf-8")
    newer = {name for name, table in tables() for row in table.rows if (5, 17, 0) < (parse(row.since) or ()) <= (5, 23, 0)}
    assert newer - SEEN_BY_RUNNING == set(SHOWN_BY)
    for name, line in SHOWN_BY.items():
        assert line in patch, name


def test_the_grid_is_made_on_an_environment_of_that_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its installation names the release; each call of the grid is held against the plan, and what parts is printed."""
    import stacks
    import test_reality as reality

    asked: dict[str, list[list[str]]] = {}
    recorded = {case["id"]: case for stack, case in cases() if stack == "cpu-modern"}

    def outcomes(name: str, kind: str) -> dict[str, Any]:
        asked[kind] = stacks.STEPS[name]
        return {name: recorded.get(name, case) for name, case in reality.CASES.items()}

    shared = {name: case for name, case in reality.CASES.items() if name in recorded}
    monkeypatch.setattr(reality, "CASES", shared)
    monkeypatch.setattr(reality, "outcomes", outcomes)
    monkeypatch.setattr(reality, "predicted", lambda name, case: replay("cpu-modern", case))
    assert len(shared) > 50
    assert list(watch.ran("5.99.0")) == []
    assert any("transformers==5.99.0" in part for step in asked["grid"] for part in step)
    name = next(name for name, case in shared.items() if recorded[name]["outcome"] == "error")
    recorded[name] = {**recorded[name], "error": {"type": "NewError", "message": "said otherwise"}}
    ((line),) = watch.ran("5.99.0")
    assert line.startswith(f"@@ call {name} @@\n+raised NewError: said otherwise")
