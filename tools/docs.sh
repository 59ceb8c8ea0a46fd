#!/usr/bin/env bash
# Build the documentation into site/, strictly; --serve shows it while you write.
set -euo pipefail
if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  cat <<'HELP'
usage: bash tools/docs.sh [--serve]

Installs the extra [docs] into .venv and builds site/. A broken link, picture or reference fails the build.
Needs Python 3.11 or later.
HELP
  exit 0
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tools/setup_venv.sh train,docs
export PYTHONPATH=.
.venv/bin/python tools/docs_reference.py docs/reference
if [[ ${1:-} == --serve ]]; then exec .venv/bin/zensical serve; fi
exec .venv/bin/zensical build --strict
