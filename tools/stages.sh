# Sourced by the run.sh of a dataset: --stage and --stop_stage as in Kaldi, and the five stages of a compression.
# shellcheck shell=bash

stage=0
stop_stage=100
overrides=()

die() {
  printf '%s: %s\n' "$0" "$1" >&2
  exit 2
}

# parse_stages ARGUMENTS: sets stage, stop_stage and overrides (key=value), and every --NAME VALUE for which the recipe
# has a variable option_NAME; --help calls the recipe's usage.
parse_stages() {
  local name
  while (($#)); do
    case $1 in
      -h | --help) usage; exit 0 ;;
      --*)
        name=${1#--}
        (($# > 1)) || die "$1 needs a value; see --help"
        if [[ $name == stage || $name == stop_stage ]]; then
          [[ $2 =~ ^[0-9]+$ ]] || die "$1 takes a number, not '$2'"
          printf -v "$name" %d "$2"
        elif [[ $name =~ ^[a-z_]+$ && -n $(eval "printf %s \"\${option_$name+x}\"") ]]; then
          printf -v "option_$name" %s "$2"
        else
          die "unknown option $1; see --help"
        fi
        shift 2
        ;;
      *=*) overrides+=("$1"); shift ;;
      *) die "expected --option value or key=value, found '$1'; see --help" ;;
    esac
  done
  ((stage <= stop_stage)) || die "--stage $stage comes after --stop_stage $stop_stage"
}

# wants NUMBER TITLE: whether the stage is asked for; says so.
wants() {
  ((stage <= $1 && $1 <= stop_stage)) || return 1
  printf 'stage %d: %s\n' "$1" "$2"
}

needs_setup() {
  [[ -x .venv/bin/python ]] || die "no .venv yet: begin with --stage 0"
}

# run_compress_stages CONFIG [KEY=VALUE ...]: every stage is the same command, stopped a step later. Steps whose output
# is there are skipped with a word, so that any stage can be run again, and a killed one goes on.
run_compress_stages() {
  local config=$1 number
  shift
  local last_step=("" data distill finetune report)
  local title=("set-up" "data: manifests, and a check of every file" "student, and distill it from its teacher" \
    "fine-tune on the transcripts" "evaluate and report")
  if wants 0 "${title[0]}"; then bash tools/setup_venv.sh synthetic; fi
  for number in 1 2 3 4; do
    wants "$number" "${title[number]}" || continue
    needs_setup
    .venv/bin/python recipes/compress.py --config "$config" --until "${last_step[number]}" "$@" \
      ${overrides[@]+"${overrides[@]}"}
  done
}

# run_task_stages CONFIG [KEY=VALUE ...]: the same for a task head.
run_task_stages() {
  local config=$1 number
  shift
  local last_step=("" data train_task report)
  local title=("set-up" "data: manifests and splits" "train the task head" "evaluate against the floors and report")
  if wants 0 "${title[0]}"; then bash tools/setup_venv.sh synthetic,tasks; fi
  for number in 1 2 3; do
    wants "$number" "${title[number]}" || continue
    needs_setup
    .venv/bin/python recipes/tasks.py --config "$config" --until "${last_step[number]}" "$@" \
      ${overrides[@]+"${overrides[@]}"}
  done
}

# choose_task TASKS: refuses an option_task that is none of them.
choose_task() {
  [[ " $1 " == *" $option_task "* ]] || die "--task is one of $1, not '$option_task'"
}
