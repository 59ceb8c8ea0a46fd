#!/usr/bin/env bash
# Compress a teacher on speechocean762: children and adults, Mandarin natives, reading English.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tools/stages.sh

usage() {
  cat <<'HELP'
usage: bash recipes/speechocean762/run.sh [--stage N] [--stop_stage M] [KEY=VALUE ...]

  stage 0  set-up          .venv with pinned dependencies
  stage 1  data            manifests of train and test, 10 speakers of train held out as dev
  stage 2  distill         cut the student out of the teacher, train it to answer as the teacher does
  stage 3  fine-tune       CTC on the transcripts
  stage 4  report          WER, CER, size, MACs and speed of teacher and student: report.md in the run folder

Every stage may be run again: what is done is skipped, a killed stage goes on from its last checkpoint.
The data: train.tsv and dev.tsv (id, path, speaker, transcript) beside their audio, or the corpus as published
(openslr.org, resource 101): WAVE/SPEAKER0001/000010011.WAV and train/wav.scp, train/text, train/utt2spk, which also
has a test split. Say where it lies by one of
  BIGFOOT_DATA=/folder/of/corpora bash recipes/speechocean762/run.sh      (with speechocean762 in it)
  bash recipes/speechocean762/run.sh data.root=/folder/of/speechocean762 data.test_splits=[test]
KEY=VALUE sets any key of configs/speechocean762.yaml:
  bash recipes/speechocean762/run.sh --stage 2 teacher.path=facebook/wav2vec2-base-960h finetune.head=teacher
HELP
}

parse_stages "$@"
run_compress_stages speechocean762.yaml
