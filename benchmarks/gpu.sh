#!/usr/bin/env bash
# All tests that need a CUDA device, and the figures of a step, in one JSON: bash benchmarks/gpu.sh [--dry-run] [FILE]
# Under ten minutes on one card. Without a CUDA device nothing is run; --dry-run goes through all of it at small sizes
# on any machine, to show that it works.
set -euo pipefail
cd "$(dirname "$0")/.."
dry=
if [[ ${1:-} == --dry-run ]]; then dry=1; shift; fi
file=${1:-gpu.json}
if [[ -z $dry ]]; then
  python -c 'import sys, torch; sys.exit("gpu.sh: no CUDA device here" if not torch.cuda.is_available() else 0)'
fi
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tested=0
tests=(tests)
if [[ -n $dry ]]; then tests=(tests/training/test_loop.py tests/training/test_gpu.py); export BIGFOOT_GPU_TESTS=cpu; fi
timeout "${dry:+9}200" python -m pytest -q -n 0 -m gpu -p no:cacheprovider "${tests[@]}" 2>&1 | tee "$work/tests.txt" || tested=$?
measure() { # NAME SCRIPT ARGUMENT...
  local small=()
  if [[ -n $dry ]]; then small=(--shape tiny --seconds 1 --utterances 2 --rounds 1 --precision no); fi
  timeout "${dry:+9}$limit" python "benchmarks/$2.py" --precision bf16 --rounds 12 --json "$work/$1.json" "${@:3}" "${small[@]}" ||
    echo "gpu.sh: $1 failed" >&2
}
limit=50
measure step_base_160 train_step --workers 4 --shape base --seconds 10 --utterances 16
measure step_base_640 train_step --workers 4 --shape base --seconds 16 --utterances 40
measure plain_base_160 plain_loop --shape base --seconds 10 --utterances 16
measure plain_base_640 plain_loop --shape base --seconds 16 --utterances 40
limit=180 # compiling takes a minute of it
measure options_base_160 step_options --workers 4 --shape base --seconds 10 --utterances 16
python - "$work" "$file" "$tested" <<'PYTHON'
import json, pathlib, statistics, sys

work, file, tested = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
tests = {"exit": tested, "summary": (work / "tests.txt").read_text().strip().splitlines()[-1:]}
figures = {path.stem: json.loads(path.read_text()) for path in sorted(work.glob("*.json"))}
ratios = {}
for size in ("base_160", "base_640"):
    ours, plain = figures.get(f"step_{size}"), figures.get(f"plain_{size}")
    if ours and plain:
        rate = ours["audio_seconds"] / sum(ours["step"])
        ratios[size] = rate / (plain["audio_seconds"] / statistics.median(plain["step"]))
file.write_text(json.dumps({"tests": tests, "rate_over_plain_loop": ratios, "figures": figures}, indent=1) + "\n")
print(f"gpu.sh: {file}")
PYTHON
# pytest ends with 5 where it was asked for no test that there is.
[[ -n $dry && $tested == 5 ]] || exit "$tested"
