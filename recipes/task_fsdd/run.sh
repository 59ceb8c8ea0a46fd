#!/usr/bin/env bash
# Tasks on the Free Spoken Digit Dataset: which digit, of new speakers, and which speaker.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tools/stages.sh

usage() {
  cat <<'HELP'
usage: bash recipes/task_fsdd/run.sh [--task NAME] [--stage N] [--stop_stage M] [KEY=VALUE ...]

tasks, each with its YAML, configs/tasks/fsdd_NAME.yaml; digit by default
  digit                which digit it is, for speakers who are not in train
  speaker              who speaks, saying digits that are not in train

  stage 0  set-up          .venv with pinned dependencies
  stage 1  data            manifests, and train, dev and test
  stage 2  train           the task head on the encoder
  stage 3  report          metrics with intervals beside the floors: report.html in the run folder
  stage 4  folds           speaker: five folds by digit, the score of all answers together and its gain on the
                           floor, in repeats.md

Every stage may be run again: what is done is skipped, a killed stage goes on from its last checkpoint.
The data: BIGFOOT_DATA=/folder/of/corpora (with fsdd in it), or data.root=/folder/of/fsdd.
HELP
}

# shellcheck disable=SC2034 # set by parse_stages
option_task=digit
parse_stages "$@"
choose_task "digit speaker"
run_task_stages "tasks/fsdd_$option_task.yaml"
if [[ $option_task == speaker ]] && wants 4 "five folds by digit"; then
  needs_setup
  .venv/bin/python recipes/tasks.py --config tasks/fsdd_speaker.yaml --folds 5 ${overrides[@]+"${overrides[@]}"}
fi
