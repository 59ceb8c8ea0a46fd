"""Run a command of the documentation in this process, at tiny settings."""

import contextlib
import io
import runpy
import shlex
import sys
from collections.abc import Iterator

import pytest

from bigfoot.cli import main
from tests.pages import ROOT

TINY = [
    "threads=1", "trackers=[]", "data.num_train=12", "data.num_dev=2", "data.num_test=3", "data.max_digits=2",
    "data.num_workers=0", "distill.max_steps=4", "distill.warmup_steps=1", "distill.log_every=1",
    "finetune.max_steps=1", "finetune.warmup_steps=1", "measure.speed=false", "evaluate.bootstrap_samples=10",
]  # fmt: skip
"""What makes a run take seconds; it takes the place of what a page says of these keys."""
INSTEAD = {"/path/to/wav2vec2-folder": "tiny_teacher"}
"""A stand-in for what the reader has."""
SHORTER = {"benchmark": ["--seconds", "1", "--rounds", "1"]}
RUNS = ("compress", "describe", "evaluate", "recipes/compress.py")
"""Commands that take settings."""


def run_command(command: str) -> str:
    """Run one line; what it prints."""
    for documented, here in INSTEAD.items():
        command = command.replace(documented, here)
    program, *words = shlex.split(command)
    assert program in ("bigfoot", "python"), f"{command}: mark the block as not run, with the reason"
    if words[0] in RUNS:
        keys = {setting.partition("=")[0] for setting in TINY}
        words = [word for word in words if word.partition("=")[0] not in keys] + TINY
    words += SHORTER.get(words[0], [])
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        if program == "bigfoot":
            with _ends_well(command):
                main(words)
        else:
            with pytest.MonkeyPatch.context() as patch, _ends_well(command):
                patch.setattr(sys, "argv", words)
                runpy.run_path(str(ROOT / words[0]), run_name="__main__")
    return printed.getvalue()


@contextlib.contextmanager
def _ends_well(command: str) -> Iterator[None]:
    try:
        yield
    except SystemExit as end:
        assert end.code in (0, None), command
