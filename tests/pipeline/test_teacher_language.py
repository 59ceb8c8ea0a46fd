"""A run with one language of a teacher that has several: baked once, found again, and asked for."""

import json

import pytest
import torch
from safetensors.torch import save_file

from bigfoot.formats.folder import load_model
from tests.codes import codes
from tests.conftest import make_teacher
from tests.pipeline.problems import problems_of


def make_mms(folder, build_huggingface, processor):
    """Write a teacher of two languages, of one vocabulary."""
    make_teacher(folder, build_huggingface, processor, "mms")
    vocabulary = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text(json.dumps({"eng": vocabulary, "deu": vocabulary}))
    for seed, language in enumerate(("eng", "deu")):
        theirs = build_huggingface("mms", seed=seed, num_hidden_layers=4)
        own = {name: tensor.detach().contiguous() for name, tensor in theirs._get_adapters().items()}
        save_file(own, folder / f"adapter.{language}.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def mms(build_huggingface, processor, tmp_path_factory):
    return make_mms(tmp_path_factory.mktemp("mms") / "model", build_huggingface, processor)


def test_a_language_is_a_setting(mms, small_run, tmp_path):
    base = [*small_run(tmp_path / "run"), f"teacher.path={mms}"]
    assert codes(problems_of(base)) == [("teacher.language", "no_language")]
    assert codes(problems_of([*base, "teacher.language=de"])) == [("teacher.language", "no_language")]
    assert codes(problems_of([*base, "teacher.language=deu"])) == []


@pytest.mark.slow
def test_a_run_keeps_that_language_alone(mms, small_run, tmp_path, bigfoot):
    given = [*small_run(tmp_path / "run"), f"teacher.path={mms}", "student.adapters=drop"]
    run = lambda *more: bigfoot("compress", "--until", "student", *given, *more)  # noqa: E731
    assert run("teacher.language=eng")[0] == 0
    baked, own = load_model(tmp_path / "run/teacher/model"), load_model(mms, language="eng")
    assert baked.processor == own.processor
    assert all(torch.equal(one, two) for one, two in zip(
        baked.model.state_dict().values(), own.model.state_dict().values(), strict=True,
    ))  # fmt: skip
    assert load_model(tmp_path / "run/student/model").model.config.adapter_attn_dim is None
    written = (tmp_path / "run/teacher/facts.json").stat().st_mtime_ns
    # The weights of another language do not count.
    (mms / "adapter.deu.safetensors").touch()
    (mms / "adapter.kor.safetensors").write_bytes((mms / "adapter.deu.safetensors").read_bytes())
    assert run("teacher.language=eng")[0] == 0
    assert (tmp_path / "run/teacher/facts.json").stat().st_mtime_ns == written
    assert run("teacher.language=deu")[0] == 0
    head = load_model(tmp_path / "run/teacher/model").model.head.weight
    assert torch.equal(head, load_model(mms, language="deu").model.head.weight)
