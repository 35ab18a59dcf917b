#!/usr/bin/env bash
# Run the linters, the type checker, and the tests against a real PostgreSQL.
#
#   ./test.sh                        everything
#   ./test.sh --fix                  only correct what ruff can correct, and format
#   ./test.sh --lint                 only the linters and the type checker
#   ./test.sh --faults               only the faults, all of them; the ordinary tests have a share
#   ./test.sh tests/plan -k late     arguments go to pytest, and the linters are left out
#
# PYTHON=python3.13 ./test.sh takes another Python.
set -euo pipefail
unset CDPATH
# Hundreds of tests start a Python. Where these may not keep what they have compiled, each of them
# compiles psycopg and Flask again, and each process of pytest every test.
unset PYTHONDONTWRITEBYTECODE
cd "$(dirname "${BASH_SOURCE[0]}")"

if [ "${1:-}" = --help ]; then
  sed -n '2,/^set /s/^# \{0,1\}//p' test.sh
  exit
fi

# Print the path of a Python that can run the bundle: PYTHON if it is set, else the first of these
# that is 3.11 or newer. Each is tried from / too: the python3 of a version manager fails beside a
# .python-version that names a version which is not installed.
find_python() {
  local folder candidate candidates=(python3 python3.14 python3.13 python3.12 python3.11 python)
  local code='import sys; sys.version_info < (3, 11) and sys.exit(1); print(sys.executable)'
  if [ -n "${PYTHON:-}" ]; then candidates=("$PYTHON"); fi
  for folder in . /; do
    for candidate in "${candidates[@]}"; do
      if (cd "$folder" && "$candidate" -c "$code") 2>/dev/null; then return; fi
    done
  done
  local advice="; install one, or name it in PYTHON."
  if [ -n "${PYTHON:-}" ]; then advice=": PYTHON names $PYTHON, which is older or does not run."; fi
  printf '%s: no Python 3.11 or newer was found%s\n' "${0##*/}" "$advice" >&2
  return 1
}

# One environment for each version of Python, so that several can be tested side by side.
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
  # uv takes a fifth of the time. Where only pip knows the package index, pip installs the rest.
  pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check)
  "${pip[@]}" "$(grep '^uv==' requirements-dev.txt)"
  "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" -r requirements-dev.txt ||
    "${pip[@]}" -r requirements-dev.txt
  printf '%s' "$stamp" >"$venv/installed"
fi

lint() {
  "$venv/bin/ruff" check .
  "$venv/bin/ruff" format --check .
  "$venv/bin/mypy"
  "$venv/bin/shellcheck" ./*.sh migrate frontend/*.sh .ci/run
  "$venv/bin/zizmor" --offline --quiet --no-progress action.yml .github/workflows docs/github
}

case "${1:-}" in
  '') lint ;;
  --lint)
    lint
    exit
    ;;
  --fix)
    "$venv/bin/ruff" check --fix-only --quiet .
    "$venv/bin/ruff" format .
    exec "$venv/bin/ruff" check .
    ;;
  --faults) set -- tests/whole/test_faults.py "$@" ;;
esac
exec "$venv/bin/python" -m pytest -n auto "$@"
