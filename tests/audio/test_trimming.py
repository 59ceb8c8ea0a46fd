"""Quiet ends are found to 20 ms, pauses stay, and what was cut off is reported; stretches are drawn anew."""

import numpy as np
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.audio.trimming import find_sound
from bigfoot.config import find_problems
from bigfoot.data.batches import Position, evaluation_batches, training_batches
from bigfoot.data.corpora import prepare_data
from bigfoot.data.manifests import describe_trimmed
from bigfoot.data.settings import DataConfig
from bigfoot.text.tokenizers import Processor


@given(st.integers(0, 30), st.integers(1, 20), st.integers(0, 30), st.integers(0, 10), st.integers(1, 50))
def test_only_quiet_ends_are_cut(before, sound, after, pause, blocks):
    rng = np.random.default_rng(before * 31 + after)
    parts = [np.zeros(before), np.ones(sound), np.zeros(pause), np.ones(1), np.zeros(after)]
    loudness = np.repeat(np.concatenate(parts), 320)
    wave = ((loudness + 1e-3) * rng.choice([-1, 1], len(loudness))).astype(np.float32)
    start, end = find_sound(np.array_split(wave, blocks), 16_000, 40.0)
    assert (round(start * 50, 6), round(end * 50, 6)) == (before, before + sound + pause + 1)


def test_all_silence_is_left_whole():
    assert find_sound([np.zeros(1000, np.float32)], 1000, 40.0) == (0.0, 1.0)
    assert find_sound([], 1000, 40.0) == (0.0, 0.0)


def config_of(folder, **changes):
    fields = {"corpus": "table", "root": str(folder), "train_splits": ["t.csv"], "labels": ["mood"],
              "transcripts": "none", "batch_seconds": 4, "num_buckets": 1}  # fmt: skip
    return DataConfig(**(fields | changes))


def make_table(folder, quiet=0.5):
    rows = ["path,speaker,mood"]
    for index in range(4):
        tone = 0.5 * np.sin(np.arange(16_000 * (1 + index)) * (0.1 + 0.1 * index))
        ends = [np.zeros(round(16_000 * quiet))] if index else []
        soundfile.write(folder / f"{index}.wav", np.concatenate([*ends, tone, *ends]), 16_000, subtype="FLOAT")
        rows.append(f"{index}.wav,s{index},a")
    (folder / "t.csv").write_text("\n".join(rows) + "\n")


def test_what_was_cut_is_reported_and_gone(tmp_path):
    make_table(tmp_path)
    prepared = prepare_data(config_of(tmp_path, trim_silence_db=40.0), 0, tmp_path / "out")
    batches = evaluation_batches(prepared.manifests["train"], Processor(), 2)
    lengths = sorted(int(length) for batch in batches for length in batch.input_lengths)
    assert lengths == [16_000, 32_000, 48_000, 64_000]
    sentence = describe_trimmed("train", prepared.manifests["train"])
    assert " 3.0 s " in sentence and " 3 of 4 " in sentence
    plain = prepare_data(config_of(tmp_path), 0, tmp_path / "plain")
    assert prepared.contents["train"] != plain.contents["train"]


def test_stretches_are_drawn_anew_and_by_the_seed(tmp_path):
    make_table(tmp_path, quiet=0.0)
    config = config_of(tmp_path, crop_seconds=1.5)
    assert not list(find_problems(config))
    manifest = prepare_data(config, 0, tmp_path / "out").manifests["train"]

    def take(seed, start, count=6):
        stream = training_batches(manifest, Processor(do_normalize=False), config, seed, start)
        return [next(stream) for _ in range(count)]

    first = take(1, Position(0, 0))
    resumed = take(1, first[2].position, 3)
    assert all((a.input_values == b.input_values).all() for a, b in zip(first[3:], resumed, strict=True))
    seen = {}
    for batch in first:
        for name, wave, length in zip(batch.ids, batch.input_values, batch.input_lengths, strict=True):
            assert length <= 24_000
            seen.setdefault(name, set()).add(wave.numpy().tobytes())
    lengths = {name: len(waves) for name, waves in seen.items()}
    assert max(lengths.values()) > 1
    assert "crop_seconds" in [p.key for p in find_problems(config_of(tmp_path, crop_seconds=1.5, transcripts="given"))]
