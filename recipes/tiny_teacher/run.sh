#!/usr/bin/env bash
# Make the tiny teacher that ships with bigfoot: 12 layers that recognize digits, from synthetic speech and FSDD.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tools/stages.sh

option_fsdd=${BIGFOOT_DATA:-../shared/data}/fsdd
option_out=runs/tiny_teacher
train_args=()

usage() {
  cat <<'HELP'
usage: bash recipes/tiny_teacher/run.sh [--stage N] [--stop_stage M] [--fsdd FOLDER] [--out FOLDER] [-- TRAIN ARGUMENTS]

  stage 0  set-up    .venv with pinned dependencies
  stage 1  train     hours on a CPU; stop it at will, the same command goes on from the last checkpoint
  stage 2  measure   WER on synthetic test strings (unseen voices) and on strings of FSDD's official test recordings
  stage 3  install   copy the model into bigfoot/assets/tiny_teacher, which the package ships

  --fsdd   the Free Spoken Digit Dataset ($BIGFOOT_DATA/fsdd)
  --out    checkpoints, curve and model (runs/tiny_teacher)
What follows -- goes to train.py (python recipes/tiny_teacher/train.py --help):
  bash recipes/tiny_teacher/run.sh --stage 1 --stop_stage 2 --out runs/short_teacher -- --steps 3000
A teacher that has two of FSDD's speakers to be tested on, for compare_methods.sh ... scale_to=runs/unseen/model
'data.unseen_speakers=[lucas,theo]':
  bash recipes/tiny_teacher/run.sh --stage 1 --stop_stage 1 --out runs/unseen -- --unseen lucas theo
HELP
}

options=()
while (($#)); do
  if [[ $1 == -- ]]; then
    shift
    train_args=("$@")
    break
  fi
  options+=("$1")
  shift
done
parse_stages ${options[@]+"${options[@]}"}
((${#overrides[@]} == 0)) || die "'${overrides[0]}': what train.py is to have stands after --"
model=$option_out/model

if ((stage <= 2 && stop_stage >= 1)) && [[ ! -d $option_fsdd ]]; then
  die "no FSDD at $option_fsdd: say --fsdd FOLDER, or set BIGFOOT_DATA to the folder that holds fsdd"
fi
if wants 0 "set-up"; then bash tools/setup_venv.sh synthetic; fi
if wants 1 "train"; then
  needs_setup
  .venv/bin/python recipes/tiny_teacher/train.py --fsdd "$option_fsdd" --out "$option_out" \
    ${train_args[@]+"${train_args[@]}"}
fi
if wants 2 "measure"; then
  needs_setup
  # Both test splits hold more than 1,000 words; neither the voices nor the recordings were trained on.
  .venv/bin/python -m bigfoot evaluate "$model" --config demo_config.yaml --run-dir "$option_out/synthetic" data.num_train=1
  .venv/bin/python -m bigfoot evaluate "$model" --config fsdd.yaml --run-dir "$option_out/fsdd" data.num_train=1 \
    data.root="$option_fsdd"
fi
if wants 3 "install into bigfoot/assets/tiny_teacher"; then
  for file in config.json model.safetensors vocab.json; do
    [[ -f $model/$file ]] || die "no $model/$file: run stage 1 first"
  done
  mkdir -p bigfoot/assets/tiny_teacher
  for file in config.json model.safetensors vocab.json tokenizer_config.json special_tokens_map.json \
    processor_config.json preprocessor_config.json; do
    # Which of the processor's files there are depends on the version of transformers.
    if [[ -f $model/$file ]]; then cp "$model/$file" bigfoot/assets/tiny_teacher/; fi
  done
  ls -l bigfoot/assets/tiny_teacher
fi
