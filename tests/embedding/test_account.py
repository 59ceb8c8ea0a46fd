"""Recordings and seconds that come in are used or left out, with a reason."""

import json

import numpy as np
import pytest
import soundfile

RATE = 16_000


@pytest.mark.slow
def test_seconds_in_are_seconds_used_and_left_out(bigfoot, tmp_path):
    rng, folder = np.random.default_rng(0), tmp_path / "audio"
    folder.mkdir()
    for name, seconds in (("a", 1.0), ("b", 2.5), ("damaged", 3.0)):
        wave = 0.1 * rng.standard_normal(round(seconds * RATE))
        soundfile.write(folder / f"{name}.wav", wave, RATE, subtype="FLOAT")
    wave[100] = np.inf
    soundfile.write(folder / "damaged.wav", wave, RATE, subtype="FLOAT")
    (folder / "empty.wav").touch()
    command = ("embed", "tiny_teacher", "--audio_dir", folder, "--output_file", tmp_path / "e.safetensors", "--json")
    for _ in range(2):  # made, and there already
        code, out, _ = bigfoot(*command)
        found = json.loads(out)
        assert code == 1 and found["tensors"] == 2
        assert (found["rows"], found["rows_used"], found["rows_left_out"]) == (4, 2, 2)
        assert (found["seconds_used"], found["seconds_left_out"], found["seconds"]) == (3.5, 3.0, 6.5)
        assert {item["name"]: item["seconds"] for item in found["left_out"]} == {"damaged.wav": 3.0, "empty.wav": None}
        assert all(item["reason"] for item in found["left_out"])
