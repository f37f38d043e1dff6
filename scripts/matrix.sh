#!/usr/bin/env bash
# The fast tests on the oldest and the newest Python; the oldest with the oldest dependencies.
set -eu
cd "$(dirname "$0")/.."
for pair in "python3.10 rich==12.3.0 packaging==21.0" "python3.13"; do
  read -r python pins <<<"$pair"
  command -v "$python" >/dev/null || { echo "$python is not here: skipped"; continue; }
  venv=".venv-$python"
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  # shellcheck disable=SC2086
  "$venv/bin/python" -m pip install -q --disable-pip-version-check -e . $pins "pytest>=8" "hypothesis>=6.100"
  echo "== $("$venv/bin/python" --version) ${pins:-with the newest dependencies}"
  "$venv/bin/python" -m pytest -q
done
