#!/usr/bin/env bash
# Compress a teacher on a published corpus in its own layout, by name and part.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tools/stages.sh

usage() {
  cat <<'HELP'
usage: bash recipes/corpus/run.sh --corpus NAME [--part PART] [--stage N] [--stop_stage M] [KEY=VALUE ...]

  --corpus common_voice  --part LANGUAGE, such as pl (en)
  --corpus gigaspeech    --part XS, S, M, L or XL (XS)
  --corpus librilight    --part small, medium or large (small), with the teacher's transcripts; give a dev corpus's
                         speakers by data.hold_out_speakers (16 by default)
  --corpus mls           --part LANGUAGE, such as polish (german)
  --corpus tedlium       --part train (train)
  --corpus voxpopuli     --part LANGUAGE, such as fr (en)
  --corpus kaldi         --part DATA, a folder of data/train, data/dev and data/test (data)
  LibriSpeech has a recipe of its own: recipes/librispeech/run.sh --part 100, 360 or 960.

  stage 0  set-up          .venv with pinned dependencies
  stage 1  data            manifests of the splits; bad files and transcripts are counted, and listed in the report
  stage 2  distill         cut the student out of the teacher, train it to answer as the teacher does
  stage 3  fine-tune       CTC on the transcripts
  stage 4  report          WER, CER, size, MACs and speed of teacher and student: report.md in the run folder

Every stage may be run again: what is done is skipped, a killed stage goes on from its last checkpoint.
Say where the corpus lies by BIGFOOT_DATA=/folder/of/corpora or data.root=/folder/of/the/corpus.
KEY=VALUE sets any key of configs/librispeech.yaml, whose settings are those of all corpora:
  bash recipes/corpus/run.sh --corpus mls --part polish teacher.path=facebook/wav2vec2-large-xlsr-53-polish
HELP
}

option_corpus=
option_part=
parse_stages "$@"

# splits TRAIN DEV TEST: the corpus's own names of its splits.
splits() {
  given=("data.corpus=$option_corpus" "data.train_splits=[$1]" "data.dev_splits=[$2]" "data.test_splits=[$3]")
}

case $option_corpus in
  common_voice) language=${option_part:-en}; splits "$language/train" "$language/dev" "$language/test" ;;
  gigaspeech) splits "${option_part:-XS}" DEV TEST ;;
  librilight)
    splits "${option_part:-small}" "" ""
    given+=(data.transcripts=none data.hold_out_speakers=16 "evaluate.splits=[dev]")
    ;;
  mls) language=${option_part:-german}; splits "$language/train" "$language/dev" "$language/test" ;;
  tedlium) splits "${option_part:-train}" dev test ;;
  voxpopuli) language=${option_part:-en}; splits "$language/train" "$language/dev" "$language/test" ;;
  kaldi) folder=${option_part:-data}; splits "$folder/train" "$folder/dev" "$folder/test" ;;
  *) die "--corpus is common_voice, gigaspeech, librilight, mls, tedlium, voxpopuli or kaldi, not '$option_corpus'" ;;
esac
run_compress_stages librispeech.yaml "run_dir=runs/$option_corpus" "${given[@]}"
