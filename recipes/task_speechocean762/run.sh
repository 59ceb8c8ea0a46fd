#!/usr/bin/env bash
# Tasks on speechocean762: age and gender of speakers who are not in train.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tools/stages.sh

usage() {
  cat <<'HELP'
usage: bash recipes/task_speechocean762/run.sh [--task NAME] [--stage N] [--stop_stage M] [KEY=VALUE ...]

tasks, each with its YAML, configs/tasks/speechocean762_NAME.yaml; gender by default
  gender               female or male
  age                  years, a regression
  age_group            five ratings in order

  stage 0  set-up          .venv with pinned dependencies
  stage 1  data            manifests, and train, dev and test
  stage 2  train           the task head on the encoder
  stage 3  report          metrics with intervals beside the floors: report.html in the run folder; its 31 test
                           speakers are too few to show a gain of some points
  stage 4  folds           the verdict, over all 125 speakers in five folds: the score of all answers together and
                           its gain on the floor, with intervals, in repeats.md of the run folder

Every stage may be run again: what is done is skipped, a killed stage goes on from its last checkpoint.
The data: BIGFOOT_DATA=/folder/of/corpora (with speechocean762 in it), or data.root=/folder/of/speechocean762.
HELP
}

# shellcheck disable=SC2034 # set by parse_stages
option_task=gender
parse_stages "$@"
choose_task "gender age age_group"
run_task_stages "tasks/speechocean762_$option_task.yaml"
if wants 4 "the verdict: five folds of all speakers"; then
  needs_setup
  .venv/bin/python recipes/tasks.py --config "tasks/speechocean762_$option_task.yaml" --folds 5 \
    ${overrides[@]+"${overrides[@]}"}
fi
