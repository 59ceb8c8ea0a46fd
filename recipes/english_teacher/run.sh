#!/usr/bin/env bash
# Train a teacher of real English from random weights: a plain Wav2Vec2ForCTC, on recorded and on synthesized speech.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tools/stages.sh

option_size=cpu
option_data=${BIGFOOT_DATA:-../shared/data}
option_out=runs/english_teacher
option_minutes=
option_spoken=9000
option_voices=

usage() {
  cat <<'HELP'
usage: bash recipes/english_teacher/run.sh [--size cpu|gpu] [--stage N] [--stop_stage M] [--data FOLDER] [--out FOLDER]
                                           [--minutes N] [--spoken N] [--voices FOLDER] [KEY=VALUE ...]

  --size cpu   1.8 M parameters, 5 layers, a frame every 40 ms: an hour or two on one thread (the default)
  --size gpu   16 M parameters, 12 layers, a frame every 20 ms: some sittings of 10 minutes on one GPU

  stage 0  set-up      .venv with pinned dependencies
  stage 1  data        tables of recorded speech, sentences spoken by espeak-ng with the times of their words, a trigram
                       of the texts, and a model with random weights
  stage 2  train       the first pass: log mels, then known times of words, then CTC
  stage 3  again       the second pass, from the first one's weights (gpu: with noise, and on its own transcripts)
  stage 4  evaluate    dev-mini, greedily and with the trigram
  stage 5  save        fp16, in shards below 12 MB

  --data       folder with LibriSpeech/train-mini and dev-mini, text, and commonvoice, speechocean762 and
               librispeech-extra where there ($BIGFOOT_DATA)
  --out        where data, runs and model are written (runs/english_teacher)
  --minutes    of one sitting: stages 2 and 3 then stop with a checkpoint and exit code 75; the same command goes on
  --spoken     sentences that espeak-ng speaks (9000, some 5 hours)
  --voices     folder of other synthesizers' speech, audio beside .txt of the same name
KEY=VALUE sets any key of recipes/english_teacher/SIZE.yaml in stages 2 and 3:
  bash recipes/english_teacher/run.sh --stage 2 --stop_stage 2 finetune.max_steps=7000
HELP
}

parse_stages "$@"
recipe=recipes/english_teacher
case $option_size in cpu | gpu) ;; *) die "--size is cpu or gpu, not '$option_size'" ;; esac
if ((stage <= 1 && stop_stage >= 1)) && [[ ! -d $option_data/LibriSpeech ]]; then
  die "no LibriSpeech in $option_data: say --data FOLDER, or set BIGFOOT_DATA"
fi

# train CONFIG NAME TEACHER: one pass, until its time is over.
train() {
  needs_setup
  .venv/bin/python recipes/compress.py --config "$recipe/$1" --until finetune "run_dir=$option_out/$2" \
    "teacher.path=$3" "data.root=$option_out/data" ${option_minutes:+"max_minutes=$option_minutes"} \
    ${overrides[@]+"${overrides[@]}"}
}

# evaluate MODEL NAME KEY=VALUE ...: on the 60 utterances of dev-mini.
evaluate() {
  local model=$1 name=$2
  shift 2
  .venv/bin/python -m bigfoot evaluate "$model" --config "$recipe/$option_size.yaml" \
    --run-dir "$option_out/evaluate_$name" "data.root=$option_out/data" "$@"
}

if wants 0 "set-up"; then bash tools/setup_venv.sh synthetic,lm; fi
if wants 1 "data, trigram, random weights"; then
  needs_setup
  .venv/bin/python $recipe/prepare.py --data "$option_data" --out "$option_out/data" --spoken "$option_spoken" \
    ${option_voices:+--voices "$option_voices"}
  .venv/bin/python tools/train_ngram.py "$option_out/data/text.txt" "$option_out/data/words.arpa" --order 3
  .venv/bin/python $recipe/make_model.py --shape "$recipe/${option_size}_shape.json" \
    --out "$option_out/random_$option_size"
fi
if wants 2 "train"; then train "$option_size.yaml" "$option_size" "$option_out/random_$option_size"; fi
if wants 3 "train again"; then
  train "${option_size}_again.yaml" "${option_size}_again" "$option_out/$option_size/finetune/model"
fi
model=$option_out/${option_size}_again/finetune/model
[[ -d $model ]] || model=$option_out/$option_size/finetune/model
if wants 4 "evaluate on dev-mini"; then
  needs_setup
  evaluate "$model" greedy
  # Weight and bonus were chosen on 12 utterances of dev, for the small model.
  evaluate "$model" trigram evaluate.decoder=lm "evaluate.lm_path=$option_out/data/words.arpa" \
    evaluate.lm_weight=0.8 evaluate.word_bonus=3
fi
if wants 5 "save in fp16"; then
  needs_setup
  .venv/bin/python $recipe/save_shards.py "$model" "$option_out/teacher"
fi
