#!/usr/bin/env bash
# Vercel's build command, and the one command on a fresh machine: migrate the database, then build the frontend.
# Any step that fails fails the build with its own exit code, and nothing after it runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

say() { printf '%s\n' "$*"; }

# A Python that can run the bundle: PYTHON if it is set, else the first of these that is 3.11 or newer.
find_python() {
  local candidate candidates=(python3 python3.14 python3.13 python3.12 python3.11 python)
  if [ -n "${PYTHON:-}" ]; then candidates=("$PYTHON"); fi
  for candidate in "${candidates[@]}"; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  say "build.sh: no Python 3.11 or newer was found; install one, or name it in PYTHON." >&2
  return 1
}

# 1. The runner's dependencies. On Vercel the builder has just installed them and put them on the path.
if [ -n "${VERCEL:-}" ]; then
  python=$(find_python)
  if ! "$python" -c 'import psycopg, flask' 2>/dev/null; then
    say "build.sh: psycopg and flask are not installed; does requirements.txt still name them?" >&2
    exit 1
  fi
else
  wanted=requirements-local.txt
  if [ -n "${CI:-}" ] || [ ! -f "$wanted" ]; then wanted=requirements.txt; fi
  # A .venv whose making was interrupted has no pip yet, and one whose Python has gone doesn't run.
  if ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    rm -rf .venv
    base=$(find_python)
    say "Making .venv"
    "$base" -m venv .venv
  fi
  python=.venv/bin/python
  # The stamp says what is installed, so that a second build takes no time for it.
  stamp=$("$python" --version && cat requirements.txt "$wanted")
  if [ ! -f .venv/installed ] || [ "$(cat .venv/installed)" != "$stamp" ]; then
    say "Installing $wanted"
    "$python" -m pip install --quiet --disable-pip-version-check -r "$wanted"
    printf '%s' "$stamp" >.venv/installed
  fi
fi

# 2. The database.
"$python" -m lib migrate --source build

# 3. The frontend.
mkdir -p public
if [ -n "${FRONTEND_BUILD_COMMAND:-}" ]; then
  say "Building the frontend: FRONTEND_BUILD_COMMAND"
  bash -c "$FRONTEND_BUILD_COMMAND"
elif [ -f frontend/build.sh ]; then
  say "Building the frontend: frontend/build.sh"
  bash frontend/build.sh
elif [ -f frontend/package.json ]; then
  say "Building the frontend: npm run build in frontend/"
  if [ -f frontend/package-lock.json ]; then npm --prefix frontend ci; else npm --prefix frontend install; fi
  npm --prefix frontend run build
else
  say "No frontend to build: neither FRONTEND_BUILD_COMMAND nor frontend/ is there."
fi

if [ -z "${VERCEL:-}" ]; then
  say ""
  "$python" -m lib status
  say ""
  say "Next:"
  printf '  %-52s %s\n' "$python -m lib create \"add invoices table\"" "write the next migration" \
    "./build.sh" "apply it" "$python -m lib serve" "see the status page"
fi
