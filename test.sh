#!/usr/bin/env bash
# The one command that passes the tests on a fresh machine: linters, types, and the tests on a real PostgreSQL.
# Arguments go to pytest, and the linters are then left out:  ./test.sh tests/plan -k late
# ./test.sh --faults strikes at the runner with every fault of tests/whole/test_faults.py, where the ordinary tests have a share.
set -euo pipefail
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")"

# A Python that can run the bundle: PYTHON if it is set, else the first of these that is 3.11 or newer. It is tried from
# / too, since a version manager's python3 fails beside a .python-version that it hasn't got; the real binary is printed.
find_python() {
  local folder candidate candidates=(python3 python3.14 python3.13 python3.12 python3.11 python)
  local code='import sys; sys.version_info < (3, 11) and sys.exit(1); print(sys.executable)'
  if [ -n "${PYTHON:-}" ]; then candidates=("$PYTHON"); fi
  for folder in . /; do
    for candidate in "${candidates[@]}"; do
      if (cd "$folder" && "$candidate" -c "$code") 2>/dev/null; then return; fi
    done
  done
  if [ -n "${PYTHON:-}" ]; then
    printf '%s\n' "${0##*/}: no Python 3.11 or newer was found: PYTHON names $PYTHON, which isn't one, or doesn't run." >&2
  else
    printf '%s\n' "${0##*/}: no Python 3.11 or newer was found; install one, or name it in PYTHON." >&2
  fi
  return 1
}

# An environment for each version, so that several can be tested side by side.
base=$(find_python)
version=$("$base" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
venv=.local/venv-$version
if [ ! -x "$venv/bin/python" ]; then
  echo "Making $venv"
  "$base" -m venv "$venv"
fi
stamp=$(cat requirements.txt requirements-local.txt requirements-dev.txt)
if [ ! -f "$venv/installed" ] || [ "$(cat "$venv/installed")" != "$stamp" ]; then
  echo "Installing requirements-dev.txt"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
  printf '%s' "$stamp" >"$venv/installed"
fi

if [ $# -eq 0 ]; then
  "$venv/bin/ruff" check .
  "$venv/bin/ruff" format --check .
  "$venv/bin/mypy"
  "$venv/bin/shellcheck" ./*.sh frontend/*.sh .ci/run
fi
if [ "${1:-}" = --faults ]; then set -- tests/whole/test_faults.py "$@"; fi
exec "$venv/bin/python" -m pytest -n auto "$@"
