#!/usr/bin/env bash
# From a bare machine to a table: set-up, then a 12-layer teacher becomes a 4-layer student, with WER, size and speed.
set -euo pipefail

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  cat <<'HELP'
usage: bash recipes/demo/run.sh [KEY=VALUE ...]

Installs what is needed into .venv, makes a corpus of spoken digits on the spot, and runs
  python recipes/compress.py --config demo_config.yaml [KEY=VALUE ...]
which prints the table and where the report lies. A killed run goes on where it stopped; a finished one only reports.
Any key of configs/demo_config.yaml can be set:
  bash recipes/demo/run.sh student.num_hidden_layers=6 run_dir=runs/six_layers
TORCH_INDEX_URL chooses the package index torch is taken from (see tools/setup_venv.sh --help).
HELP
  exit 0
fi

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
bash tools/setup_venv.sh onnx,synthetic
exec .venv/bin/python recipes/compress.py --config demo_config.yaml "$@"
