#!/usr/bin/env bash
# Make .venv in the project's root and install bigfoot with its pinned dependencies; a second run only checks.
set -euo pipefail

usage() {
  cat <<'HELP'
usage: bash tools/setup_venv.sh [EXTRAS]

Makes .venv in the project's root: torch first, then bigfoot (editable) with its extras, all at the versions of
constraints.txt. EXTRAS is a comma-separated list of the extras in setup.py beside "train", which is always there:
"synthetic" (the default, what the demo needs) or "test" (what tools/test.sh needs, synthetic included). A .venv that
is up to date is left as it is; one that is half made, moved or broken is repaired.

  PYTHON           the interpreter to make .venv with, 3.10 to 3.13 (python3)
  TORCH_INDEX_URL  the package index to take torch from (pip's own configuration)
HELP
}

EXTRAS=synthetic
case "${1:-}" in
  -h | --help) usage; exit 0 ;;
  "") ;;
  *[!a-z,]*) echo "setup: EXTRAS is a comma-separated list of names, not '$1'" >&2; usage >&2; exit 2 ;;
  *) EXTRAS=$1 ;;
esac

cd "$(dirname "${BASH_SOURCE[0]}")/.."
ROOT=$(pwd -P)
VENV=$ROOT/.venv
STAMP=$VENV/bigfoot-setup.txt
LOG=$VENV/bigfoot-setup.log

fail() {
  printf 'setup: %s\n' "$@" >&2
  exit 1
}

# Two scripts started together would install over each other; where there is no flock they are trusted not to be.
if command -v flock > /dev/null; then
  exec 9> "$ROOT/.venv.lock"
  flock -n 9 || { echo "setup: waiting for another set-up of this folder"; flock 9; }
fi

# First line: what was installed from. Second: the extras that are there.
fingerprint() { cat setup.py constraints.txt | cksum | tr ' ' '-'; }

# -I keeps the current folder and PYTHONPATH out, so that only what .venv itself holds counts.
venv_sees_bigfoot() {
  "$VENV/bin/python" -I - "$ROOT" 2> /dev/null <<'PY'
import importlib.util
import os
import sys

for name in ("bigfoot", "torch", "transformers", "lhotse"):
    if importlib.util.find_spec(name) is None:
        sys.exit(1)
sys.exit(os.path.dirname(importlib.util.find_spec("bigfoot").origin) != os.path.join(sys.argv[1], "bigfoot"))
PY
}

# Any local build of the version will do: that is how one keeps a torch installed by hand.
has_torch() {
  "$VENV/bin/python" -I -c 'import importlib.metadata as m, sys; sys.exit(m.version("torch").split("+")[0] != sys.argv[1])' \
    "$1" 2> /dev/null
}

installed_extras() {
  if [[ -f $STAMP && $(sed -n 1p "$STAMP") == "$(fingerprint)" ]]; then sed -n 2p "$STAMP"; fi
}

is_up_to_date() {
  local have extra
  have=,$(installed_extras),
  for extra in ${EXTRAS//,/ }; do
    [[ $have == *,$extra,* ]] || return 1
  done
  venv_sees_bigfoot
}

is_whole() {
  # A half-made one has no pip; in one copied or moved here, the commands still name their old place.
  "$VENV/bin/python" -I -m pip --version > /dev/null 2>&1 && head -n 3 "$VENV/bin/pip" | grep -qF "$VENV/bin/"
}

if is_up_to_date; then exit 0; fi

if [[ -e $VENV || -L $VENV ]] && ! is_whole; then
  if [[ -d $VENV && ! -L $VENV && ! -e $VENV/pyvenv.cfg && -n $(ls -A "$VENV") ]]; then
    fail "$VENV is no virtual environment, and not ours to delete; move it away and run this again"
  fi
  echo "setup: .venv is half made, moved or broken; making it anew"
  rm -rf "$VENV"
fi
if [[ ! -e $VENV ]]; then
  PYTHON=${PYTHON:-python3}
  command -v "$PYTHON" > /dev/null || fail "found no $PYTHON; set PYTHON to a Python 3.10 to 3.13"
  "$PYTHON" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' \
    || fail "$PYTHON is $("$PYTHON" --version 2>&1); bigfoot needs 3.10 to 3.13: set PYTHON to one of these"
  echo "setup: making .venv with $("$PYTHON" --version)"
  "$PYTHON" -m venv "$VENV" || {
    rm -rf "$VENV"
    fail "$PYTHON could not make a virtual environment; on Debian and Ubuntu install the package python3-venv"
  }
fi
rm -f "$STAMP.part"

# Passes on what a user wants to see of pip's words, and speaks up before a download of gigabytes. pip tells what it
# will need before it fetches the large files (before pip 23.2 it names torch's own wheel as it begins to fetch it).
GIGABYTES='^ *(Collecting (nvidia-|cuda-|triton)|Downloading torch-.* \(([0-9]{4,}|[4-9][0-9]{2})(\.[0-9]+)? MB\))'
LARGE_FILE='^ *Downloading ([^ ]*/)?([^/ ]+) (\([0-9]{2,}(\.[0-9]+)? [MG]B\))'
narrate() {
  local line warned=no
  while IFS= read -r line; do
    printf '%s\n' "$line" >> "$LOG"
    if [[ $warned == no && $line =~ $GIGABYTES ]]; then
      warned=yes
      echo "setup: this is PyTorch's CUDA build: 2 to 3 GB to download, about 6 GB on disk. For the CPU build (about"
      echo "setup: 200 MB) stop here with Ctrl-C and run the same command with TORCH_INDEX_URL set to PyTorch's CPU"
      echo "setup: index; its address is on pytorch.org under 'Get Started'. Going on with CUDA."
    fi
    # Files of 10 MB and more are what one waits for.
    if [[ $line =~ $LARGE_FILE ]]; then echo "setup:   downloading ${BASH_REMATCH[2]} ${BASH_REMATCH[3]}"; fi
  done
}

install() {
  echo "--- pip install $*" >> "$LOG"
  PYTHONUNBUFFERED=1 "$VENV/bin/python" -I -m pip install --disable-pip-version-check --progress-bar off --no-input \
    -c constraints.txt "$@" 2>&1 | narrate && return
  tail -n 15 "$LOG" >&2
  fail "pip could not install $WHAT; its whole answer is in .venv/bigfoot-setup.log" \
    "- no connection, or an index behind a proxy: check 'pip config list', then run the same command again" \
    "- 'No matching distribution': the index has no such version for this Python and system; set PYTHON to" \
    "  another (3.10 to 3.13), or TORCH_INDEX_URL to an index that has this torch" \
    "- 'No space left': torch needs 1 GB of disk, its CUDA build 6 GB" \
    "What is installed stays; the same command goes on from there."
}

WHAT=torch
TORCH_VERSION=$(sed -n 's/^torch==//p' constraints.txt)
if ! has_torch "$TORCH_VERSION"; then
  echo "setup: installing torch $TORCH_VERSION${TORCH_INDEX_URL:+ from TORCH_INDEX_URL}"
  if [[ -n ${TORCH_INDEX_URL:-} ]]; then
    # That index holds few versions of torch's own dependencies: they come from the usual one, in the second step.
    install --no-deps --index-url "$TORCH_INDEX_URL" torch
  else
    install torch
  fi
fi
WHAT="bigfoot-speech[train,$EXTRAS]"
# The name bigfoot on the index is another project's; ours had it once. Both would own .venv/bin/bigfoot.
if "$VENV/bin/python" -I -c 'import importlib.metadata as m; m.version("bigfoot")' 2> /dev/null; then
  "$VENV/bin/python" -I -m pip uninstall -y bigfoot >> "$LOG" 2>&1 || fail "cannot uninstall the package bigfoot of .venv"
fi
echo "setup: installing $WHAT and its dependencies"
install -e ".[train,$EXTRAS]"
echo "setup: checking that it all loads"
"$VENV/bin/python" -I -c 'import torch, transformers, lhotse, accelerate, bigfoot.config' >> "$LOG" 2>&1 || {
  tail -n 5 "$LOG" >&2
  fail "installed, yet it does not load (above); if it was installed by hand into .venv, delete .venv and run this again"
}
venv_sees_bigfoot || fail "installed, yet .venv cannot find bigfoot at $ROOT/bigfoot; delete .venv and run this again"

HAVE=$(installed_extras),$EXTRAS
[[ ,$HAVE, != *,test,* ]] || HAVE=$HAVE,synthetic # The extra "test" includes it.
{ fingerprint; tr ',' '\n' <<< "$HAVE" | grep . | sort -u | paste -sd , -; } > "$STAMP.part"
mv "$STAMP.part" "$STAMP"
echo "setup: done"
