#!/usr/bin/env bash
# The methods of configs/methods beside each other: same teacher, same data, same steps, same seeds, one table.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: bash recipes/compare_methods.sh [--corpus fsdd|librispeech_mini] [--seeds "1 2 3"] [--methods "NAME ..."]
                                       [--steps N] [--others] [--jobs N] [--out DIR] [--smoke] [KEY=VALUE ...]

Cuts a student out of the tiny teacher by each method (configs/methods at scale=tiny), trains all alike, and writes
comparison.md, .csv, .json and two plots: WER with intervals and its range over seeds, parameters, multiply-accumulates,
speed, training time, and who is on the Pareto front. Two controls are methods too: ctc_only (bigfoot's student without
its teacher's losses) and random_weights (bigfoot's student with nothing of its teacher's weights).

  --corpus   configs/compare/NAME.yaml: methods, seeds, steps, data, learning rate, the same for all (default: fsdd)
  --seeds    of data, weights and order; each method is run with each
  --methods  files of configs/methods without .yaml, and the controls
  --steps    optimizer steps before fine-tuning, all training steps of a method together. They are divided as the
             method's own file divides its own: DPHuBERT's 50,000 with gates and 25,000 without become two thirds and
             one third; where pruning and distilling take turns, every turn gets the same. A rest is left out.
  --others   also the methods that are not named, with the first seed and fewer steps (other_steps), marked in the table
  --jobs     runs at once, one thread each (default: 2)
  --out      folder of all runs and the table (default: runs/compare_CORPUS)
  --smoke    every method, a few steps on a few synthetic digits: whether it works

KEY=VALUE sets any key of a configuration in every run: data.root=/folder/of/fsdd, where BIGFOOT_DATA does not
say where corpora lie. The same command again skips what is done and goes on with what was stopped; a run that fails
costs that run, and the table says so.
HELP
}

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  usage
  exit 0
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash tools/setup_venv.sh synthetic
exec .venv/bin/python recipes/compare_methods.py "$@"
