"""A teacher over a corpus in parts: here without ray, and with two workers of it where it is installed."""

import gzip
import json
import os
import runpy
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bigfoot.data.batches import evaluation_batches, read_lengths
from bigfoot.data.corpora import prepare_data
from bigfoot.data.manifests import load_prepared
from bigfoot.data.settings import DataConfig
from bigfoot.data.shards.write import write_shar
from bigfoot.decoding.greedy import transcribe_batches
from bigfoot.distill.cache import TeacherCache
from bigfoot.formats.folder import load_model
from tests.search_path import search_path

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def corpora(small_digits, tmp_path_factory):
    """The same utterances as files and as shards."""
    root = tmp_path_factory.mktemp("shards")
    write_shar(small_digits, root, 5)
    config = DataConfig(corpus="shar", root=str(root), train_splits=["train"])
    return {"files": small_digits, "shards": prepare_data(config, 0, root / "out")}


RECIPE = ROOT / "recipes/corpus/ray.py"


def run(*words):
    """The recipe in this process, without ray; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(RECIPE), *map(str, words), "--workers", "0"])
        patch.setattr(sys, "path", list(sys.path))
        try:
            runpy.run_path(str(RECIPE), run_name="__main__")
        except SystemExit as end:
            return end.code
    return 0


def times(folder, suffix):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob(f"*{suffix}")}


def plain_texts(model, prepared):
    loaded = load_model(model)
    batches = evaluation_batches(prepared.manifests["train"], loaded.processor, 1)
    found = transcribe_batches(loaded.model, batches, loaded.processor.tokenizer)
    return dict(zip(found.ids, found.hypotheses, strict=True))


def read_texts(folder):
    lines = [line for path in folder.glob("part-*") for line in gzip.decompress(path.read_bytes()).splitlines()]
    return {row["id"]: row["text"] for row in map(json.loads, lines)}


@pytest.mark.parametrize("where", ["files", "shards"])
def test_transcripts_are_the_teacher_s_and_done_parts_are_skipped(where, corpora, narrow_teacher, tmp_path):
    prepared, out = corpora[where], tmp_path / "out"
    command = ("transcripts", narrow_teacher, prepared.folder, out, "--utterances", 5)
    assert run(*command) == 0
    texts = plain_texts(narrow_teacher, prepared)
    assert read_texts(out) == texts and len(texts) == 24
    labelled = load_prepared(out / "data")
    assert {name: text for name, text, _ in read_lengths(labelled.manifests["train"])} == texts
    before = times(out, ".gz")
    assert len(before) == 5
    (out / "part-000002.jsonl.gz").unlink()
    assert run(*command) == 0
    after = times(out, ".gz")
    assert {name for name in after if after[name] != before[name]} == {"part-000002.jsonl.gz"}
    assert run("embeddings", *command[1:]) == 1


def test_embeddings_and_targets_are_the_model_s(corpora, narrow_teacher, tmp_path):
    prepared, loaded = corpora["shards"], load_model(narrow_teacher)
    assert run("embeddings", narrow_teacher, prepared.folder, tmp_path / "out") == 0
    assert run("targets", narrow_teacher, prepared.folder, tmp_path / "cache", "--hidden", 2) == 0
    found = {}
    for path in (tmp_path / "out").glob("*.safetensors"):
        found |= load_file(path)
    cache = TeacherCache(tmp_path / "cache", loaded.model.config, {"logits": {0}, "hidden_states": {2}})
    loaded.model.eval()
    batches = list(evaluation_batches(prepared.manifests["train"], loaded.processor, 1))
    assert found.keys() == {batch.ids[0] for batch in batches}
    for batch in batches[:3]:
        with torch.no_grad():
            output = loaded.model(batch.input_values, batch.attention_mask, output_hidden_states=True)
        np.testing.assert_allclose(found[batch.ids[0]], output.last_hidden_state[0].mean(0), atol=1e-4)
        read = cache.read(batch, output.logits.shape[1])
        np.testing.assert_allclose(read.logits, output.logits, atol=0.02)  # stored in 16 bits
        np.testing.assert_allclose(read.hidden_states[2], output.hidden_states[2], atol=0.02)


def test_a_killed_worker_of_ray_loses_nothing(corpora, narrow_teacher, tmp_path):
    pytest.importorskip("ray.data")
    mark, prepared, out = uuid.uuid4().hex, corpora["shards"], tmp_path / "out"
    command = [RECIPE, "transcripts", narrow_teacher, prepared.folder, out, "--workers", 2, "--batch-size", 1]
    environment = os.environ | {"PYTHONPATH": search_path(ROOT), "OMP_NUM_THREADS": "1", "BIGFOOT_MARK": mark}
    process = subprocess.Popen([sys.executable, *map(str, command)], env=environment)
    killed = None
    while killed is None and process.poll() is None:
        killed = kill_a_worker(mark)
        time.sleep(0.05)
    assert process.wait(timeout=300) == 0 and killed is not None
    assert read_texts(out) == plain_texts(narrow_teacher, prepared)
    before = times(out, ".gz")
    assert run(*command[1:5]) == 0 and times(out, ".gz") == before


def kill_a_worker(mark):
    """Kill one process of ray's that holds a teacher; its number."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title, variables = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
            if title.startswith(b"ray::") and b"TeacherPass" in title and mark.encode() in variables:
                os.kill(int(folder.name), signal.SIGKILL)
                return int(folder.name)
        except OSError:
            continue
    return None
