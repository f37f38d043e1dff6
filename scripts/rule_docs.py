"""Writes docs/rules/*.md and the lists of rules in the READMEs from the rules' own docstrings. ``--check``: fail where they are not current."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import plan_messages

from qvl_preflight.api import explain
from qvl_preflight.loaded.causes import CAUSES
from qvl_preflight.rule import all_rules

ROOT = Path(__file__).parents[1]
LIST = re.compile(r"(<!-- rules -->\n).*?(<!-- /rules -->)", re.DOTALL)


def pages() -> dict[Path, str]:
    """File → what it must hold."""
    rules = all_rules()
    wanted = {ROOT / "docs" / "rules" / f"{rule.code}.md": explain(rule.code) + "\n" for rule in rules}
    wanted |= {ROOT / "docs" / "rules" / f"{cause.code}.md": explain(cause.code) + "\n" for cause in CAUSES}
    rows = "".join(f"| [{r.code}](docs/rules/{r.code}.md) | {r.name} | {r.severity.value} | {r.summary} |\n" for r in rules)
    table = f"| code | name | severity | what it says |\n|---|---|---|---|\n{rows}"
    for name in ("README.md", "README.zh-CN.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        wanted[ROOT / name] = LIST.sub(lambda match: match.group(1) + table + match.group(2), text)
    wanted[plan_messages.TABLE] = plan_messages.table()
    return wanted


def main() -> int:
    wanted = pages()
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    left_over = [path for path in (ROOT / "docs" / "rules").glob("*.md") if path not in wanted]
    if "--check" in sys.argv[1:]:
        for path in (*stale, *left_over):
            print(f"{path.relative_to(ROOT)} is not current: run 'make docs'", file=sys.stderr)
        return 1 if stale or left_over else 0
    (ROOT / "docs" / "rules").mkdir(parents=True, exist_ok=True)
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")
    for path in left_over:
        path.unlink()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
