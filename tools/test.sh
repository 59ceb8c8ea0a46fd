#!/usr/bin/env bash
# Set-up, lint, types and the whole test suite. Fails if any of them does; arguments go to pytest.
set -uo pipefail

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  cat <<'HELP'
usage: bash tools/test.sh [PYTEST ARGUMENTS]

Makes or updates .venv with the test extras, then runs ruff, mypy and pytest, slow tests included:
  bash tools/test.sh                         everything
  bash tools/test.sh -m "not slow"           the quick tests: those of less than a second each
  bash tools/test.sh tests/test_floors.py    one file

  BIGFOOT_DATA          folder of real corpora (../shared/data where that exists); tests that need one skip without
  BIGFOOT_TEST_WORKERS  test processes, one thread each (the machine's cores, 4 at most)
HELP
  exit 0
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
# pip compiles every module of every package; the tests import few of them. (false is pip's word for yes here.)
PIP_NO_COMPILE=false bash tools/setup_venv.sh test || exit 1

failed=()
echo "ruff: $(.venv/bin/ruff --version)"
.venv/bin/ruff check . || failed+=(ruff)
# Types are checked beside the tests, and shown behind them.
types=$(mktemp)
.venv/bin/mypy bigfoot > "$types" 2>&1 &
checking=$!
trap 'kill "$checking" 2> /dev/null; rm -f "$types"' EXIT

cores=$(getconf _NPROCESSORS_ONLN 2> /dev/null || echo 1)
workers=${BIGFOOT_TEST_WORKERS:-$((cores < 4 ? cores : 4))}
parallel=()
# A file's tests stay in one process, for the models and runs they share; tests/conftest.py gives the order of files.
# A process that dies ends the run: with another in its place xdist waits for ever.
if ((workers > 1)); then parallel=(-n "$workers" --dist loadfile --no-loadscope-reorder --max-worker-restart 0); fi
# Many tests start processes: none should compile the package anew.
unset PYTHONDONTWRITEBYTECODE
# One thread a process: two that each take all cores are slower than one after the other, and less reproducible.
OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} MKL_NUM_THREADS=${MKL_NUM_THREADS:-1} \
  .venv/bin/python -m pytest ${parallel[@]+"${parallel[@]}"} "$@" || failed+=(pytest)

echo "mypy: $(.venv/bin/mypy --version)"
wait "$checking" || failed+=(mypy)
cat "$types"

if ((${#failed[@]})); then
  echo "tools/test.sh: failed: ${failed[*]}" >&2
  exit 1
fi
