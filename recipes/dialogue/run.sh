#!/usr/bin/env bash
# A language model that takes speech: dialogues made on the spot in which the meaning depends on the tone of voice.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
. tools/stages.sh

option_lm=""
option_data=""

usage() {
  cat <<'HELP'
usage: bash recipes/dialogue/run.sh [--stage N] [--stop_stage M] [--lm FOLDER] [--data FOLDER] [KEY=VALUE ...]

  stage 0  set-up          .venv with pinned dependencies
  stage 1  dialogues       short counselling-like dialogues by a grammar, spoken by espeak-ng; words alone allow a macro
                           F1 of 60 %
  stage 2  language model  a small GPT-2, trained on the text of train
  stage 3  text            the same language model, trained to classify transcripts: what words alone give
  stage 4  speech          encoder, adapter and language model, trained to classify speech: the adapter alone, then with
                           the language model
  stage 5  compression     half the encoder and half the embeddings a second under the same language model, trained on
                           its answers' logits from before; then eight-bit weights
  stage 6  compare         both reports beside each other, and whether speech passes the words by 10 points

Every stage may be run again: what is done is skipped, a killed stage goes on from its last checkpoint.
KEY=VALUE sets any key of configs/speech_llm/dialogue.yaml for the stages 3 to 5.

A real language model, and real dialogues:
  bash recipes/dialogue/run.sh --lm /folder/of/a/causal/lm --data /folder/of/dialogues classify.column=stance
--lm is a folder or an id of transformers' AutoModelForCausalLM with its tokenizer; for one with a chat template set
language_model.chat=true, and for a large one train_full.language_model=lora. --data holds train.jsonl, dev.jsonl and
test.jsonl, one turn a line, the turns of a dialogue in order of time:
  {"dialogue": "d1", "audio": "d1.wav", "start": 1.3, "end": 4.4, "speaker": "ann", "role": "client", "text": "i will",
   "stance": "change"}
Paths of audio are relative to the file. All other columns come along into the files of examples beside the report.
data.where={role: client} says which turns are classified; data.where={} for all.
HELP
}

parse_stages "$@"
runs=runs/dialogue
data=${option_data:-$runs/data}
lm=${option_lm:-$runs/language_model}
python=.venv/bin/python
settings=(
  "data.train=$data/train.jsonl" "data.dev=$data/dev.jsonl" "data.test=$data/test.jsonl" "${overrides[@]}"
)

if wants 0 "set-up"; then bash tools/setup_venv.sh synthetic,tasks; fi
if wants 1 "dialogues"; then
  needs_setup
  if [[ -n $option_data ]]; then
    echo "given: $data"
  elif [[ -s $data/test.jsonl ]]; then
    echo "there already: $data"
  else
    $python recipes/dialogue/make_dialogues.py "$data"
  fi
fi
if wants 2 "language model"; then
  needs_setup
  if [[ -n $option_lm ]]; then
    echo "given: $lm"
  elif [[ -s $lm/model.safetensors ]]; then
    echo "there already: $lm"
  else
    $python tools/make_small_gpt2.py "$data/train.txt" "$lm" --vocab-size 400 --width 96 --layers 3 --steps 150 \
      --batch-size 8 --length 48
  fi
fi
if wants 3 "text"; then
  needs_setup
  $python recipes/tasks.py --config speech_llm/dialogue "language_model.path=$lm" "${settings[@]}" \
    "run_dir=$runs/text" data.input=text "steps=[train_full]"
fi
if wants 4 "speech"; then
  needs_setup
  $python recipes/tasks.py --config speech_llm/dialogue "language_model.path=$lm" "${settings[@]}" \
    "run_dir=$runs/speech"
fi
if wants 5 "compression"; then
  needs_setup
  $python recipes/tasks.py --config speech_llm/dialogue "${settings[@]}" "run_dir=$runs/small" \
    "start=$runs/speech/train_full/model" "steps=[shrink,recover,quantize]"
fi
if wants 6 "compare"; then
  needs_setup
  $python recipes/dialogue/compare.py "$runs/text" "$runs/speech" "$runs/small"
fi
