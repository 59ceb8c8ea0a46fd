"""Recordings, texts and embeddings in the cloud."""

import io
import json

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load


@pytest.mark.slow
def test_what_is_read_and_written_lies_in_the_cloud(bigfoot, narrow_teacher, tmp_path, monkeypatch):
    memory = pytest.importorskip("fsspec").filesystem("memory")
    monkeypatch.setattr(memory, "store", {})
    monkeypatch.setenv("BIGFOOT_CACHE", str(tmp_path / "cache"))
    sound = io.BytesIO()
    soundfile.write(sound, np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000, format="wav")
    memory.pipe({"/bucket/audio/a/one.wav": sound.getvalue(), "/bucket/texts/a/one.txt": b"ONE"})
    options = ["--audio_dir", "memory://bucket/audio", "--transcripts_dir", "memory://bucket/texts"]
    options += ["--output_file", "memory://bucket/out/e.safetensors", "--threads", "1"]
    command = ["embed", narrow_teacher, *options]
    code, output, errors = bigfoot(*command)
    assert code == 0 and "memory:/" in output, errors
    (entry,) = map(json.loads, memory.cat("/bucket/out/e.jsonl").splitlines())
    tensors = load(memory.cat("/bucket/out/e.safetensors"))
    assert entry["text"] == "ONE" and tensors[entry["key"]].shape == tuple(entry["shape"])
    assert bigfoot(*command)[0] != 0  # it is there
