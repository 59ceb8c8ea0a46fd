#!/usr/bin/env bash
# Compress a teacher on LibriSpeech: a miniature to see it work, or 100, 460 or 960 hours of training speech.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tools/stages.sh

usage() {
  cat <<'HELP'
usage: bash recipes/librispeech/run.sh [--part mini|100|360|960] [--stage N] [--stop_stage M] [KEY=VALUE ...]

  --part mini  train-mini and dev-mini, an hour of it (the default): shows that everything works, no good WER yet
  --part 100   train-clean-100
  --part 360   train-clean-100 and train-clean-360
  --part 960   these and train-other-500

  stage 0  set-up          .venv with pinned dependencies
  stage 1  data            manifests of the splits; bad files and transcripts are counted, and listed in the report
  stage 2  distill         cut the student out of the teacher, train it to answer as the teacher does
  stage 3  fine-tune       CTC on the transcripts
  stage 4  report          WER, CER, size, MACs and speed of teacher and student: report.md in the run folder

Every stage may be run again: what is done is skipped, a killed stage goes on from its last checkpoint.
The data: the corpus's own tree, train-clean-100/19/198/19-198.trans.txt and its like (openslr.org, resource 12,
CC BY 4.0). Say where it lies by one of
  BIGFOOT_DATA=/folder/of/corpora bash recipes/librispeech/run.sh      (with LibriSpeech in it)
  bash recipes/librispeech/run.sh data.root=/folder/of/LibriSpeech
KEY=VALUE sets any key of configs/librispeech.yaml (mini: configs/librispeech_mini.yaml):
  bash recipes/librispeech/run.sh --part 100 teacher.path=facebook/wav2vec2-base-960h run_dir=runs/libri_100
HELP
}

option_part=mini
parse_stages "$@"
train_100=data.train_clean_100=true
train_360=data.train_clean_360=true
train_500=data.train_other_500=true
case $option_part in
  mini) run_compress_stages librispeech_mini.yaml ;;
  100) run_compress_stages librispeech.yaml "$train_100" ;;
  360) run_compress_stages librispeech.yaml "$train_100" "$train_360" ;;
  960) run_compress_stages librispeech.yaml "$train_100" "$train_360" "$train_500" ;;
  *) die "--part is mini, 100, 360 or 960, not '$option_part'" ;;
esac
