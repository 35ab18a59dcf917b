#!/usr/bin/env bash
# The status page needs no compiler: its files are copied as they are.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
mkdir -p ../public
cp index.html style.css page.js openapi.json ../public/
