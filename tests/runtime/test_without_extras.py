"""The base install, played: every command runs, or names the extra that it needs in one sentence."""

import json
import re
import subprocess
import sys

import pytest

from tests.test_imports import ROOT

# The base install, played: everything that an extra brings cannot be found.
WITHOUT = """
import contextlib, io, json, sys
from bigfoot.install import EXTRAS, module_of

hidden = {module_of(package) for packages in EXTRAS.values() for package in packages}

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hide())
from bigfoot.cli import main

ended = []
for arguments in json.loads(sys.stdin.read()):
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as end:
            code = end.code or 0
    ended.append([code, out.getvalue(), err.getvalue()])
print(json.dumps(ended))
"""
# A script, as ``python SCRIPT``: its folder comes first on the path, and there is no argument.
SCRIPT = WITHOUT.partition("from bigfoot.cli")[0] + (
    "import runpy\nsys.argv = sys.argv[1:]\nrunpy.run_path(sys.argv[0], run_name='__main__')\n"
)
SCRIPTS = sorted(
    path.relative_to(ROOT).as_posix() for room in ("recipes", "tools") for path in (ROOT / room).rglob("*.py")
)
TRAINING_COMMANDS = (
    ["compress"],
    ["compress", "--config", "methods/armhubert"],
    ["evaluate", "tiny_teacher"],
    ["summary", "tiny_teacher"],
    ["summary", "methods/armhubert.yaml"],
    ["benchmark", "tiny_teacher"],
    ["compare", "a"],
    ["transcribe", "tiny_teacher", "{audio}"],
    ["generate", "tiny_teacher", "--audio", "{audio}"],
    ["embed", "tiny_teacher", "--audio_dir", ".", "--output_file", "x.safetensors"],
    ["convert", "tiny_teacher", "x"],
    ["quantize", "tiny_teacher", "x", "--precision", "int8"],
    ["export", "tiny_teacher", "x.onnx"],
    ["push", "tiny_teacher", "me/x", "--dry-run", "x"],
)


def run_without(commands, folder):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], input=json.dumps(commands), cwd=folder, capture_output=True, text=True,
        env={"PYTHONPATH": str(ROOT), "COLUMNS": "120", "PATH": ""}, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_without_extras_every_command_runs_or_names_its_own(tape_file, tapes, tmp_path):
    audio = str(next(iter(tapes)))
    training = [[part.format(audio=audio) for part in command] for command in TRAINING_COMMANDS]
    rest = [["--help"], ["configs"], ["configs", "fsdd"], ["transcribe", str(tape_file), audio, "--format", "srt"]]
    (work := tmp_path / "work").mkdir()
    ended = run_without([*training, *rest], work)
    for command, (code, _, err) in zip(training, ended, strict=False):
        *_, last = err.splitlines()
        extra = re.search(r"\[(\w+)\]", last)
        assert code == 1 and last.startswith("error: "), (command, err)
        assert extra and extra.group(1) == "train", (command, err)
        assert len([line for line in err.splitlines() if not line.startswith("note: ")]) == 1
    for command, (code, out, err) in zip(rest, ended[len(training) :], strict=True):
        assert code == 0 and out and not err, (command, err)
    assert list(work.iterdir()) == []


@pytest.mark.slow
def test_without_extras_the_names_of_the_package_say_so_too(tmp_path):
    code = WITHOUT.partition("from bigfoot.cli")[0] + (
        "import bigfoot\nfrom bigfoot.errors import MissingExtraError\n"
        "assert bigfoot.Transcriber\n"
        "for name in ('load_model', 'load_config', 'run_pipeline'):\n"
        "    try:\n        getattr(bigfoot, name)\n"
        "    except MissingExtraError as error:\n        print('[train]' in str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.split() == ["True"] * 3, done.stderr


BASE_IS_ENOUGH = {
    "recipes/dialogue/make_dialogues.py", "recipes/english_teacher/speak_voices.py", "tools/mutate.py"
}  # fmt: skip
"""Scripts that come as far as their arguments."""


MODULES = {"recipes/serve/ray_serve.py", "tools/kd_config_keys.py"}
"""Not run by themselves, but by Ray's ``serve run`` and by another tool."""


@pytest.mark.parametrize("script", [script for script in SCRIPTS if script not in MODULES])
def test_without_extras_a_script_runs_or_names_its_own(script, tmp_path):
    arguments = {
        "tools/train_ngram.py": ("text.txt", "out.arpa"),
    }
    (tmp_path / "text.txt").write_text("ONE TWO\n")
    command = [sys.executable, "-c", SCRIPT, str(ROOT / script), *arguments.get(script, ())]
    here = {"PYTHONPATH": str(ROOT), "PATH": ""}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=here, timeout=120, check=False)
    if done.returncode == 0:
        assert (tmp_path / "out.arpa").is_file()
        return
    *_, last = done.stderr.splitlines()
    if script in BASE_IS_ENOUGH:
        assert done.returncode == 2 and "usage: " in done.stderr
        return
    assert "Traceback" not in done.stderr and last.startswith("error: ") and "pip install" in last, done.stderr
    # A command may name its default configuration first.
    lines = [line for line in done.stderr.splitlines() if not line.startswith("note:")]
    assert re.search(r"\[train\]|fairseq-fixed|fairseq2", last) and lines == [last]
