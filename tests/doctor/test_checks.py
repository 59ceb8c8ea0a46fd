import importlib.metadata
import os

import pytest

from bigfoot.doctor import checks
from bigfoot.doctor.checks import PROBES, TRAINING_PROBES, choose_probes, judge_build, list_nvidia_gpus
from bigfoot.install import BASE, EXTRAS, install_hint


@pytest.mark.parametrize("training", [True, False])
def test_every_package_that_is_installed_is_examined(training, monkeypatch):
    monkeypatch.setattr(checks, "wants_training", lambda: training)
    looked = {name for probe in choose_probes() for name, _ in PROBES[probe]()}
    assert set(BASE) <= looked
    assert bool(looked & set(EXTRAS["train"])) == training
    assert (set(EXTRAS["train"]) <= looked) == (set(TRAINING_PROBES) <= set(choose_probes())) == training


@pytest.mark.parametrize(
    ("cuda", "usable", "gpus", "state", "words"),
    [
        (None, False, [], "ok", "CPU build"),
        (None, False, ["GPU 0: X"], "broken", "CPU build, beside GPU 0: X, which it cannot use"),
        ("13.0", True, ["GPU 0: X"], "ok", "build for CUDA 13.0"),
        ("13.0", False, ["GPU 0: X"], "broken", "which cannot use GPU 0: X"),
        ("13.0", False, [], "note", "without a GPU"),
        ("13.0", True, [], "ok", "build for CUDA 13.0"),
    ],
)
def test_a_build_that_does_not_fit(cuda, usable, gpus, state, words):
    found = judge_build("2.13.0", cuda, usable, gpus)
    assert found.state == state and words in found.value and bool(found.cure) == (state != "ok")


@pytest.mark.parametrize(("answer", "count"), [("GPU 0: Fake (UUID: GPU-1)", 1), ("No devices were found", 0)])
def test_the_driver_is_asked_for_gpus(answer, count, tmp_path, monkeypatch):
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho '{answer}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert list_nvidia_gpus() == ["GPU 0: Fake"][:count]
    tool.write_text("no program at all")
    monkeypatch.setattr(checks.shutil, "which", lambda name: str(tmp_path))
    assert list_nvidia_gpus() == []


def test_a_version_out_of_range_is_broken(monkeypatch):
    asked = ["jiwer<4,>=3; extra == 'train'", "rich>=13,<16", "richer>=1", "espeakng-loader>=0.2; extra == 'synthetic'"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: asked)
    found = checks._load("jiwer")
    assert (found.state, found.cure) == ("broken", "pip install 'jiwer<4,>=3'")
    assert checks._load("rich").state == "ok"


def test_more_threads_than_processors(monkeypatch):
    import torch

    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(checks, "count_processors", lambda: 2)
    found = checks._threads()
    assert found.state == "note" and "OMP_NUM_THREADS=2" in found.cure


@pytest.mark.parametrize(("error", "state"), [(1.1, "note"), (float("nan"), "note"), (0.004, "ok")])
def test_half_precision_computed_wrongly(error, state, monkeypatch):
    monkeypatch.setattr("bigfoot.measure.half_precision.measure_half_precision_error", lambda *_arguments: error)
    found = checks._half_precision()
    assert found.state == state and bool(found.cure) == (state != "ok")


@pytest.mark.parametrize(("lost", "state"), [("FLAC", "broken"), ("MP3", "note"), (None, "ok")])
def test_a_soundfile_without_a_format(lost, state, monkeypatch):
    import soundfile

    write = soundfile.write

    def poorer(*arguments, **options):
        if options["format"] == lost:
            raise ValueError(f"Unknown format: {lost!r}")
        write(*arguments, **options)

    monkeypatch.setattr(soundfile, "write", poorer)
    found = checks._sound_formats()
    assert found.state == state and ((f"without {lost.lower()}" if lost else "flac, ogg and mp3") in found.value)


def test_without_espeak_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(checks.importlib.util, "find_spec", lambda name: None)
    found = checks._espeak()
    assert (found.state, found.cure) == ("note", install_hint("synthetic"))
