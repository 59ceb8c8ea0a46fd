#!/usr/bin/env bash
# Several labels at once of voices that espeak-ng makes on the spot: sex, accent, speed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tools/stages.sh

usage() {
  cat <<'HELP'
usage: bash recipes/task_synthetic/run.sh [--task NAME] [--stage N] [--stop_stage M] [KEY=VALUE ...]

tasks, each with its YAML, configs/tasks/synthetic_NAME.yaml; traits by default
  traits               female, american, british, caribbean, fast: any number of them

  stage 0  set-up          .venv with pinned dependencies
  stage 1  data            manifests, and train, dev and test
  stage 2  train           the task head on the encoder
  stage 3  report          metrics with intervals beside the floors: report.html in the run folder

Every stage may be run again: what is done is skipped, a killed stage goes on from its last checkpoint.
There is nothing to download: the voices are made in stage 1.
HELP
}

# shellcheck disable=SC2034 # set by parse_stages
option_task=traits
parse_stages "$@"
choose_task "traits"
run_task_stages "tasks/synthetic_$option_task.yaml"
