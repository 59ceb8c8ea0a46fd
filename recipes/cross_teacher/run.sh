#!/usr/bin/env bash
# A conformer teaches a wav2vec2 of 4 layers, across frame rates and vocabularies, on the Free Spoken Digit Dataset.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tools/stages.sh

usage() {
  cat <<'HELP'
usage: bash recipes/cross_teacher/run.sh [--stage N] [--stop_stage M] [KEY=VALUE ...]

  stage 0  set-up    .venv with pinned dependencies
  stage 1  teacher   a conformer with a CTC head (transformers' ParakeetForCTC), 40 ms a frame, small letters
  stage 2  student   4 layers of a wav2vec2, 20 ms a frame, capital letters; the control without the teacher; report.md

The data: fsdd in BIGFOOT_DATA=/folder/of/corpora (../shared/data without it), a folder that holds
recordings/7_jackson_32.wav and its like.
KEY=VALUE sets any key of recipes/cross_teacher/cross_teacher.yaml.
HELP
}

parse_stages "$@"
export BIGFOOT_DATA="${BIGFOOT_DATA:-../shared/data}"
if wants 0 "set-up"; then bash tools/setup_venv.sh synthetic; fi
if wants 1 "teacher"; then
  needs_setup
  .venv/bin/python recipes/cross_teacher/train_teacher.py --fsdd "$BIGFOOT_DATA/fsdd" --out runs/conformer
fi
if wants 2 "student"; then
  needs_setup
  .venv/bin/python -m bigfoot compress --config recipes/cross_teacher/cross_teacher.yaml ${overrides[@]+"${overrides[@]}"}
fi
