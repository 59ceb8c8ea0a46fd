#!/usr/bin/env bash
# Compress a teacher on the Free Spoken Digit Dataset: real recordings of six speakers, joined into strings of digits.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tools/stages.sh

usage() {
  cat <<'HELP'
usage: bash recipes/fsdd/run.sh [--stage N] [--stop_stage M] [KEY=VALUE ...]

  stage 0  set-up          .venv with pinned dependencies
  stage 1  data            strings of digits from the recordings; official test split (INDEX 0 to 4)
  stage 2  distill         cut the student out of the teacher, train it to answer as the teacher does
  stage 3  fine-tune       CTC on the transcripts
  stage 4  report          WER, CER, size, MACs and speed of teacher and student: report.md in the run folder

Every stage may be run again: what is done is skipped, a killed stage goes on from its last checkpoint.
The data: a folder that holds recordings/7_jackson_32.wav and its like (repository free-spoken-digit-dataset by
Jakobovski on GitHub, CC BY-SA 4.0). Say where it lies by one of
  BIGFOOT_DATA=/folder/of/corpora bash recipes/fsdd/run.sh      (with fsdd in it)
  bash recipes/fsdd/run.sh data.root=/folder/of/fsdd
KEY=VALUE sets any key of configs/fsdd.yaml:
  bash recipes/fsdd/run.sh --stage 2 student.num_hidden_layers=6 run_dir=runs/fsdd_6
HELP
}

parse_stages "$@"
run_compress_stages fsdd.yaml
