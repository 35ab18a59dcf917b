#!/usr/bin/env bash
# Copy the status page to public/. Its files need no compiler.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
mkdir -p ../public
cp index.html style.css page.js openapi.json ../public/
