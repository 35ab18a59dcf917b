#!/usr/bin/env bash
# Copy the page that leads to the status page, and the description of the endpoints, to public/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
mkdir -p ../public
cp index.html openapi.json ../public/
