#!/usr/bin/env bash
# Migrate the database, then build the frontend: the build command on Vercel, and the only command
# that a fresh machine needs. A step that fails ends the build with its own exit code.
set -euo pipefail
unset CDPATH
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { printf '%s\n' "$*"; }

# True unless a variable is unset or a word for no. lib/settings/variables.py has the same rule.
is_marked() {
  local value=${1#"${1%%[![:space:]]*}"}
  case "${value%"${value##*[![:space:]]}"}" in
    '' | 0 | [Ff][Aa][Ll][Ss][Ee] | [Nn][Oo] | [Oo][Ff][Ff]) return 1 ;;
  esac
}

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

# True if a Python runs and is new enough. A .venv that another tool made may be neither.
runs_here() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# Install a requirements file into .venv. The stamp records what is installed, so that the next
# build skips this step.
fill_venv() {
  local base stamp
  # A .venv has no pip if uv made it or its creation was interrupted, and does not run if its Python
  # was removed.
  if ! runs_here .venv/bin/python ||
    ! { .venv/bin/python -c 'import pip' || .venv/bin/python -m ensurepip; } >/dev/null 2>&1; then
    base=$(find_python)
    rm -rf .venv
    say "Making .venv"
    "$base" -m venv .venv
  fi
  stamp=$(.venv/bin/python --version && cat requirements.txt "$1")
  if [ ! -f .venv/installed ] || [ "$(cat .venv/installed)" != "$stamp" ]; then
    say "Installing $1"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$1"
    printf '%s' "$stamp" >.venv/installed
  fi
}

# Do the same with uv, which the build machine of Vercel has: one second instead of ten.
fill_venv_with_uv() {
  local base
  if ! runs_here .venv/bin/python; then
    base=$(find_python)
    rm -rf .venv
    say "Making .venv"
    uv venv --quiet --python "$base" .venv
  fi
  say "Installing $1"
  uv pip install --quiet --python .venv/bin/python -r "$1"
}

# psycopg has Connection.cancel_safe, which stops a statement when a signal arrives, from 3.2 on.
recent='import sys, psycopg; sys.exit(tuple(map(int, psycopg.__version__.split(".")[:2])) < (3, 2))'

# 1. Install the dependencies of the runner. Vercel has installed them already, unless the project
# uses a framework preset with a builder of its own, or an install command. In these cases, and on
# any other machine, they go into .venv.
if ! is_marked "${VERCEL:-}"; then
  wanted=requirements-local.txt
  if is_marked "${CI:-}" || [ ! -f "$wanted" ]; then wanted=requirements.txt; fi
  fill_venv "$wanted"
  python=.venv/bin/python
else
  python=$(find_python)
  if ! "$python" -c "import flask; $recent" 2>/dev/null; then
    if uv --version >/dev/null 2>&1; then
      fill_venv_with_uv requirements.txt
    else
      fill_venv requirements.txt
    fi
    python=.venv/bin/python
  fi
fi
if [ "$python" = .venv/bin/python ] && ! "$python" -c "$recent" 2>/dev/null; then
  say "build.sh: psycopg 3.2 or newer is not installed;" \
    "add psycopg[binary] and flask to requirements.txt." >&2
  exit 1
fi

# 2. Migrate the database.
"$python" -m lib migrate --source build

# 3. Build the frontend.
build_frontend() {
  if [ -n "${FRONTEND_BUILD_COMMAND//[[:space:]]/}" ]; then
    say "Building the frontend: FRONTEND_BUILD_COMMAND"
    bash -eo pipefail -c "$FRONTEND_BUILD_COMMAND"
  elif [ -f frontend/build.sh ]; then
    say "Building the frontend: frontend/build.sh"
    bash frontend/build.sh
  elif [ -f frontend/package.json ]; then
    say "Building the frontend: npm run build in frontend/"
    if [ -f frontend/package-lock.json ]; then
      npm --prefix frontend ci
    else
      npm --prefix frontend install
    fi && npm --prefix frontend run build
  else
    say "No frontend to build: FRONTEND_BUILD_COMMAND is not set, and there is no frontend/."
    # Vercel refuses an output directory that is empty.
    if is_marked "${VERCEL:-}" && [ -z "$(ls -A public)" ]; then : >public/.keep; fi
  fi
}

FRONTEND_BUILD_COMMAND=${FRONTEND_BUILD_COMMAND:-}
if ! [ -e public ] && ! [ -L public ]; then mkdir public; fi
build_frontend || {
  code=$?
  say "✗ The build of the frontend failed with exit code $code. The migrations stay applied." >&2
  exit "$code"
}

if ! is_marked "${VERCEL:-}"; then
  say ""
  "$python" -m lib status
  say ""
  say "Next:"
  printf '  %-52s %s\n' "$python -m lib create \"add invoices table\"" "write the next migration" \
    "./build.sh" "apply it" "$python -m lib serve" "see the status page"
fi
