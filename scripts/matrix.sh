#!/usr/bin/env bash
# The fast tests on the oldest and the newest Python; the oldest with the oldest dependencies.
set -eu
cd "$(dirname "$0")/.."

# An interpreter by name: on PATH, or among pyenv's versions.
find_python() {
  if "$1" -c '' 2>/dev/null; then
    command -v "$1"
  elif command -v pyenv >/dev/null; then
    version=$(pyenv versions --bare | grep "^${1#python}\." | tail -n 1)
    [ -z "$version" ] || echo "$(pyenv root)/versions/$version/bin/$1"
  fi
}

for pair in "python3.10 rich==12.3.0 packaging==21.0" "python3.13"; do
  read -r name pins <<<"$pair"
  python=$(find_python "$name")
  [ -n "$python" ] || { echo "$name is not here: skipped"; continue; }
  venv=".venv-$name"
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  # shellcheck disable=SC2086
  "$venv/bin/python" -m pip install -q --disable-pip-version-check -e . $pins "pytest>=8" "hypothesis>=6.100" "pyyaml>=6"
  echo "== $("$venv/bin/python" --version) ${pins:-with the newest dependencies}"
  "$venv/bin/python" -m pytest -q
done
