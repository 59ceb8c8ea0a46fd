#!/usr/bin/env bash
# All tests that need a CUDA device, and the figures of a training step, in one JSON: bash benchmarks/gpu.sh [FILE]
# Under ten minutes on one card. Without a CUDA device nothing is run.
set -euo pipefail
cd "$(dirname "$0")/.."
file=${1:-gpu.json}
python -c 'import sys, torch; sys.exit("gpu.sh: PyTorch finds no CUDA device here" if not torch.cuda.is_available() else 0)'
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tested=0
timeout 240 python -m pytest -q -n 0 -m gpu -p no:cacheprovider tests 2>&1 | tee "$work/tests.txt" || tested=$?
step() { timeout 90 python benchmarks/train_step.py --precision bf16 --workers 4 --rounds 12 --json "$work/$1.json" "${@:2}" || true; }
step base_160 --shape base --seconds 10 --utterances 16
step base_640 --shape base --seconds 16 --utterances 40
step tiny_160 --shape tiny --seconds 10 --utterances 16
python - "$work" "$file" "$tested" <<'PYTHON'
import json, pathlib, sys

work, file, tested = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
tests = {"exit": tested, "summary": (work / "tests.txt").read_text().strip().splitlines()[-1:]}
figures = {path.stem: json.loads(path.read_text()) for path in sorted(work.glob("*.json"))}
file.write_text(json.dumps({"tests": tests, "train_step": figures}, indent=1) + "\n")
print(f"gpu.sh: {file}")
PYTHON
exit "$tested"
