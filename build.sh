#!/usr/bin/env bash
# Migrate the database, then build the frontend: the build command on Vercel, and the only command
# that a fresh machine needs. A step that fails ends the build with its own exit code.
#
# With `--` and a command of the runner, as ./migrate calls it, that command runs in their place, in
# the folder of the caller.
set -euo pipefail
unset CDPATH
package=lib
caller=$PWD
case ${BASH_SOURCE[0]} in */*) cd "${BASH_SOURCE[0]%/*}/" ;; esac

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

# Where a Python for Windows, run from Git Bash, puts the interpreter.
venv=.venv/bin/python
case ${OSTYPE:-} in msys*) venv=.venv/Scripts/python.exe ;; esac

# True if a Python runs and is new enough. A .venv that another tool made may be neither.
runs_here() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# Print what .venv holds once a requirements file is installed there.
stamp_of() { printf '%s\n' "$("$venv" --version 2>/dev/null)" "$(<requirements.txt)" "$(<"$1")"; }

# True if that file is installed. ./migrate asks before each command, so few processes are started.
is_filled() { [ -f .venv/installed ] && [ "$(<.venv/installed)" = "$(stamp_of "$1")" ]; }

# Install a requirements file into .venv.
fill_venv() {
  local base
  # A .venv has no pip if uv made it or its creation was interrupted, and does not run if its Python
  # was removed.
  if ! runs_here "$venv" ||
    ! { "$venv" -c 'import pip' || "$venv" -m ensurepip; } >/dev/null 2>&1; then
    base=$(find_python)
    rm -rf .venv
    say "Making .venv"
    "$base" -m venv .venv
  fi
  say "Installing $1"
  "$venv" -m pip install --quiet --disable-pip-version-check -r "$1"
}

# Do the same with uv, which the build machine of Vercel has: one second instead of ten.
fill_venv_with_uv() {
  local base
  if ! runs_here "$venv"; then
    base=$(find_python)
    rm -rf .venv
    say "Making .venv"
    uv venv --quiet --python "$base" .venv
  fi
  say "Installing $1"
  uv pip install --quiet --python "$venv" -r "$1"
}

# Let one command at a time fill .venv: another waits until it has ended, however it ends. The lock
# is the system's, on the open file 9. Each Python but that for Windows can take it, and macOS has
# no other program that does.
wait_for_others() {
  local by=$venv
  if ! runs_here "$by"; then by=$(find_python); fi
  exec 9<requirements.txt
  "$by" -I -c '
import signal, sys
# Ctrl-C ends the waiting without a traceback.
signal.signal(signal.SIGINT, signal.SIG_DFL)
try:
    import fcntl
    try:
        fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("Waiting for another command, which makes .venv", flush=True)
        fcntl.flock(9, fcntl.LOCK_EX)
except (ImportError, OSError):
    sys.exit()  # Windows, or a file system without locks.
'
}

# psycopg has Connection.cancel_safe, which stops a statement when a signal arrives, from 3.2 on.
recent='import sys, psycopg; sys.exit(tuple(map(int, psycopg.__version__.split(".")[:2])) < (3, 2))'

# Set `python` to the one that has the packages of the runner. Vercel has installed them already,
# unless the project uses a framework preset with a builder of its own, or an install command. In
# these cases, and on any other machine, they go into .venv.
prepare() {
  local wanted=requirements.txt
  python=$venv
  if is_marked "${VERCEL:-}"; then
    python=$(find_python)
    if "$python" -c "import flask; $recent" 2>/dev/null; then return; fi
    python=$venv
  elif ! is_marked "${CI:-}" && [ -f requirements-local.txt ]; then
    wanted=requirements-local.txt
  fi
  if is_filled "$wanted"; then return; fi
  wait_for_others
  # Another may have filled it meanwhile.
  if ! is_filled "$wanted"; then fill "$wanted"; fi
  exec 9<&-
}

# Install a requirements file into .venv, and check that it has what the runner needs.
fill() {
  if is_marked "${VERCEL:-}" && uv --version >/dev/null 2>&1; then
    fill_venv_with_uv "$1"
  else
    fill_venv "$1"
  fi
  if ! "$venv" -c "$recent" 2>/dev/null; then
    say "build.sh: psycopg 3.2 or newer is not installed;" \
      "add psycopg[binary] and flask to requirements.txt." >&2
    exit 1
  fi
  # What is installed is recorded, so that the next build skips this step.
  stamp_of "$1" >.venv/installed
}

if [ "${1:-}" = -- ]; then
  # Standard output is for what the command prints.
  prepare >&2
  root=$PWD
  case $python in .venv/*) python=$root/$python ;; esac
  cd -- "$caller"
  # -P: a folder of the caller with the name of the package is not taken for it.
  PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} exec "$python" -P -m "$package" "${@:2}"
fi

# 1. Install the dependencies of the runner.
prepare

# 2. Migrate the database.
if [ -f migrate ]; then export MIGRATE_COMMAND=./migrate; fi
"$python" -m "$package" migrate --source build

# 3. Build the frontend.
build_frontend() {
  if [ -n "${FRONTEND_BUILD_COMMAND//[[:space:]]/}" ]; then
    say "Building the frontend: the command in FRONTEND_BUILD_COMMAND"
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
  elif ! is_marked "${VERCEL:-}" && grep -qs FRONTEND_BUILD_COMMAND vercel.json; then
    say "The site is not built: vercel.json sets FRONTEND_BUILD_COMMAND, which Vercel alone reads."
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

# 4. Say where the status page is; on Vercel, it is there once this deployment is live.
if is_marked "${VERCEL:-}"; then
  host=${VERCEL_URL:-}
  if [ "${VERCEL_ENV:-}" = production ]; then host=${VERCEL_PROJECT_PRODUCTION_URL:-$host}; fi
  # Only what is the name of a host: a log is no place for anything else.
  case "$host" in
    '' | *[!A-Za-z0-9.-]*) ;;
    *) say "Status page: https://$host/api/migration-status?format=page" ;;
  esac
else
  say ""
  "$python" -m "$package" status
  say ""
  say "Next:"
  command=${MIGRATE_COMMAND:-"$python -m $package"}
  printf '  %-40s %s\n' "$command create add invoices table" "write the next migration" \
    "./build.sh" "apply it" "$command serve" "status page: http://127.0.0.1:3000/"
fi
