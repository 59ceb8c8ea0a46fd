#!/usr/bin/env bash
# Tasks on speechocean762: age and gender of speakers who are not in train.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tools/stages.sh

usage() {
  cat <<'HELP'
usage: bash recipes/task_speechocean762/run.sh [--task NAME] [--stage N] [--stop_stage M] [KEY=VALUE ...]

tasks, each with its YAML, configs/tasks/speechocean762_NAME.yaml; gender by default
  gender               female or male; the head of stage 2 does not beat its floor,
                       by utterance the mean of three heads in stage 4 does
  age                  years, a regression
  age_group            five ratings in order

  stage 0  set-up          .venv with pinned dependencies
  stage 1  data            manifests, and train, dev and test
  stage 2  train           the task head on the encoder
  stage 3  report          metrics with intervals beside the floors: report.html in the run folder
  stage 4  folds           gender and age: heads scored over five folds of all speakers, since 31 in test are few;
                           with the extra [prosody] (Praat, GPL-3.0), which stage 0 installs

Every stage may be run again: what is done is skipped, a killed stage goes on from its last checkpoint.
The data: BIGFOOT_DATA=/folder/of/corpora (with speechocean762 in it), or data.root=/folder/of/speechocean762.
HELP
}

# shellcheck disable=SC2034 # read by tools/stages.sh
option_task=gender task_extras=prosody
parse_stages "$@"
choose_task "gender age age_group"
run_task_stages "tasks/speechocean762_$option_task.yaml"
if [[ $option_task != age_group ]] && wants 4 "folds of all speakers"; then
  run_dir=runs/tasks/speechocean762_$option_task
  for each in ${overrides[@]+"${overrides[@]}"}; do
    if [[ $each == run_dir=* ]]; then run_dir=${each#run_dir=}; fi
  done
  .venv/bin/python recipes/task_speechocean762/folds.py "$run_dir" "$option_task"
fi
