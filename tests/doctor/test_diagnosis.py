"""Packages that are broken in every way, faked on the path, and what the doctor says of them."""

import json
import os
import subprocess
import sys
from itertools import pairwise

import pytest

from bigfoot.doctor.checks import PROBES
from bigfoot.doctor.diagnosis import ask_child, examine, explain
from bigfoot.install import package_hint

# As the CUDA wheel of torchaudio does beside a CPU torch: it fails in torch's code, and torch is well.
TORCHAUDIO = "import torch\ntorch.ops.load_library('/nowhere/libtorchaudio.so')\n"


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Put a package on the path of child processes: ``fake("soxr", "raise OSError('no')")``."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))

    def make(name, code):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(code)

    return make


def by_name(findings):
    return {finding.name: finding for finding in findings}


def test_a_torchcodec_that_cannot_load(fake):
    fake("torchcodec", "raise RuntimeError('Could not load libtorchcodec')")
    (found,) = ask_child("torchcodec")
    assert found.state == "broken"
    assert found.cure.split()[:3] == ["pip", "uninstall", "torchcodec"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "kills the process that loads it (SIGSEGV)"),
        ("import os; os._exit(3)", "ends the process that loads it (exit code 3)"),
        ("raise SystemExit('enough')", "ends the process that loads it (enough)"),
        ("import time; time.sleep(60)", "does not finish within 4 s"),
        ("print('{}'); print('junk'); raise OSError('no library')", "cannot be used (OSError: no library)"),
        ("raise ModuleNotFoundError(name='soxr')", "not installed"),
        ("import nowhere_to_be_found", "No module named 'nowhere_to_be_found'"),
    ],
)
def test_a_package_that_kills_hangs_or_chatters_costs_itself_alone(code, words, fake):
    """The checks after it go on in another child."""
    fake("soxr", code)
    found = ask_child("sound", timeout=4 if "sleep" in code else 60)
    assert [finding.name for finding in found] == ["soundfile", "soxr", "espeak-ng"]
    assert found[1].state == "broken" and words in found[1].value
    missing = "nowhere_to_be_found" if "nowhere" in code else "soxr"
    assert "pip install " in found[1].cure and missing in found[1].cure
    assert found[1].cure.startswith("pip install ") != ("sleep" in code)  # it may be the machine that is slow
    assert [found[0].state, found[2].state] == ["ok", "ok"]


def test_what_hangs_before_any_output_is_broken(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/bin/false")
    (found,) = ask_child("sound")
    assert (found.name, found.state) == ("sound", "broken")


@pytest.mark.slow
def test_a_broken_torch_is_the_cure_of_all_that_stand_on_it(fake):
    fake("torch", "raise ImportError('libtorch_cpu.so: undefined symbol')")
    found = by_name(explain([*ask_child("torch"), *ask_child("packages")]))
    assert "torch" in found["torch"].cure
    assert {name for name, finding in found.items() if finding.state == "broken"} >= {"torch", "threads", "lhotse"}
    assert found["numpy"].state == found["jiwer"].state == "ok"
    assert all(found[name].cure.startswith("mend torch first: ") for name in ("threads", "GPU", "lhotse"))


@pytest.mark.slow
def test_everything_is_reported_at_once_even_without_the_packages_of_the_command(start, fake):
    fake("torchaudio", TORCHAUDIO)
    fake("typer", "raise ImportError('broken')")
    done = start("-m", "bigfoot.doctor", extra={"PYTHONPATH": os.environ["PYTHONPATH"]})
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    broken = done.stdout.splitlines()[-1].partition("broken: ")[2].split(", ")
    assert {"transformers", "typer", "torchaudio"} <= set(broken)
    lines = [line for line in done.stdout.splitlines() if line.startswith(("ok ", "note ", "broken "))]
    probed = [name for probe in PROBES.values() for name, _ in probe()]
    assert len(lines) == 10 + len(probed)
    assert all(name in line for name, line in zip(probed, lines[10:], strict=True))
    # A torchaudio that cannot load is named where transformers fails.
    broken, cures = ({}, {})
    for line, below in pairwise(done.stdout.splitlines()):
        if line.startswith("broken "):
            _, name, broken[name] = line.split(maxsplit=2)
            cures[name] = below.partition("-> ")[2]
    assert "libtorchaudio.so" in broken["torchaudio"]
    assert cures["torchaudio"].split()[:3] == ["pip", "uninstall", "torchaudio"]
    assert cures["transformers"] == f"mend torchaudio first: {cures['torchaudio']}"


@pytest.mark.slow
def test_the_command_and_its_exit_code(monkeypatch, capsys):
    from bigfoot.cli import main
    from bigfoot.doctor import Finding

    for state, code in (("note", 0), ("broken", 1)):
        monkeypatch.setattr("bigfoot.doctor.examine", lambda state=state: [Finding("torch", state, "x", "do that")])
        for arguments in (["doctor"], ["doctor", "--json"]):
            with pytest.raises(SystemExit) as end:
                main(arguments)
            assert (end.value.code or 0) == code
        table, _, printed = capsys.readouterr().out.partition("{")
        assert "do that" in table
        assert json.loads("{" + printed) == {
            "ok": state == "note",
            "findings": [{"name": "torch", "state": state, "value": "x", "cure": "do that", "suspects": []}],
        }


def test_no_child_is_needed_for_the_surroundings(monkeypatch):
    monkeypatch.setattr("bigfoot.doctor.diagnosis.ask_child", lambda name, timeout: [])
    assert len(examine()) == 10


@pytest.mark.parametrize("check", ["threads", "GPU", "half precision", "espeak-ng"])
def test_the_cure_of_a_check_is_a_package_of_ours(check, monkeypatch):
    """The index has packages of others by some of these names."""
    printed = json.dumps({"starts": check}).encode()
    outputs = [subprocess.CompletedProcess([], -11, printed, b""), subprocess.CompletedProcess([], 0, b"", b"")]
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: outputs.pop(0))
    (found,) = ask_child("torch")
    assert found.cure == package_hint("espeakng-loader" if check == "espeak-ng" else "torch", again=True)
