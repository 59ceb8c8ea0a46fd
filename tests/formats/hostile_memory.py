"""What hostile files cost a process of its own; started by ``test_hostile_memory.py`` on Linux.

Argument: a folder of files and model folders, each to be refused. Prints a line of JSON for each, and for a block of
memory at the end: its name, and by how many bytes the process had grown at most until then.
"""

import json
import sys
from pathlib import Path

from bigfoot.errors import ModelError
from bigfoot.formats import torch_file
from bigfoot.formats.folder import load_model
from bigfoot.formats.torch_file import read_state_dict


def peak():
    """Most bytes that were in memory; unlike ``ru_maxrss`` it does not begin with those of the parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def main(folder, block):
    # The process that checks first has its memory limited by the system.
    torch_file.look_first = lambda _: None
    # What is imported at the first use, and a comparison.
    load_model("tiny_teacher")
    before = peak()
    for path in sorted(Path(folder).iterdir()):
        try:
            read_state_dict(path) if path.is_file() else load_model(path)
        except ModelError:
            print(json.dumps([path.name, peak() - before]), flush=True)
    held = b"x" * int(block)
    print(json.dumps([f"a block of {len(held)}", peak() - before]))


if __name__ == "__main__":
    main(*sys.argv[1:])
