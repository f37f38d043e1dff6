#!/usr/bin/env bash
# The fast tests on the oldest and the newest Python, with both majors of pydantic.
set -eu
cd "$(dirname "$0")/.."
for pair in "python3.10 pydantic>=1.10.13,<2" "python3.13 pydantic>=2"; do
  python=${pair%% *} pydantic=${pair#* }
  command -v "$python" >/dev/null || { echo "$python is not here: skipped"; continue; }
  venv=".venv-$python"
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install -q --disable-pip-version-check -e . "$pydantic" "pytest>=8" "hypothesis>=6.100"
  echo "== $($venv/bin/python --version), pydantic $($venv/bin/python -c 'import pydantic; print(pydantic.VERSION)')"
  "$venv/bin/python" -m pytest -q
done
