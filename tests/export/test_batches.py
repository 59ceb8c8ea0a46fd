"""A file with static ranges gives the same bits alone and in any batch, and says of batches what was measured."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.compress.quantize import calibrate
from bigfoot.data.batches import LoadedUtterance
from bigfoot.export import writer
from bigfoot.export.audio import padded_audio
from bigfoot.export.gate import export_checked
from bigfoot.export.onnx import build_onnx
from bigfoot.export.outputs import plan_mixed
from bigfoot.export.parity import ParityLimits
from bigfoot.formats.folder import LoadedModel
from bigfoot.runtime.batching import plan_batches
from bigfoot.runtime.transcriber import Transcriber, open_engine
from tests.export.test_onnx import SHAPES

SECOND = 16_000
NEWER = ("conformer", "w2v-bert", "sew-d")
# A frame, two frames, and lengths whose frames lie on both sides of the steps in which keys are padded.
LENGTHS = st.one_of(st.sampled_from([400, 719, 720, 20_480, 20_560, 20_880, 41_040]), st.integers(400, 48_000))


def make_speech(length, seed=0):
    """Noise, loud and quiet by turns."""
    rng = np.random.default_rng((length, seed))
    loudness = np.repeat(np.exp(2 * rng.standard_normal(length // 1600 + 1)), 1600)[:length]
    return (0.05 * loudness * rng.standard_normal(length)).astype(np.float32)


def make_items(lengths):
    return [LoadedUtterance(f"{i}", "", "", make_speech(length, i)) for i, length in enumerate(lengths)]


def write_static(model, processor, keep="", build=build_onnx, **options):
    loaded = LoadedModel(model, processor)
    plan = calibrate(model, padded_audio(make_items([2 * SECOND, 9000]), processor))
    kept = [name for name in plan.ranges if keep and keep in name]
    assert bool(kept) == bool(keep)
    return build(loaded, plan.without(kept), **options)


def assert_same_bits(run, waves):
    alone = [run([wave]) for wave in waves]
    logits, frames = run(waves)
    assert frames.tolist() == [int(count[0]) for _, count in alone]
    for together, (own, count) in zip(logits, alone, strict=True):
        np.testing.assert_array_equal(together[: count[0]], own[0, : count[0]])


@pytest.fixture(scope="module")
def open_file():
    def open_(exported):
        run = exported.open()

        def padded(waves):
            lengths = np.array([len(wave) for wave in waves], np.int64)
            values = np.stack([np.pad(wave, (0, lengths.max() - len(wave))) for wave in waves])
            return run(values, lengths)

        return padded

    return open_


@pytest.fixture(scope="module")
def static_runs(build_model, processor, open_file):
    """Files of one model: all in int8, some layers in fp32, and normalizing inside."""
    model = build_model("base", num_conv_pos_embeddings=20)
    variants = [{}, {"keep": "pos_conv"}, {"keep": "layers.1"}, {"keep": "feature_extractor"}, {"normalize": True}]
    return [open_file(write_static(model, processor, **options)) for options in variants]


def test_openvino_computes_the_same_integers(build_model, processor, open_file):
    """Its answers are those of ONNX Runtime but for what sums in another order tip to the next integer."""
    pytest.importorskip("openvino")
    from bigfoot.export.openvino import build_openvino

    model, waves = build_model("base", conv_groups=[1, 2, 2, 2, 4, 2, 1]), [make_speech(n) for n in (9000, 20_880)]
    exported = write_static(model, processor, build=build_openvino)
    ours, theirs = open_file(exported), open_file(write_static(model, processor))
    exact = open_file(build_onnx(LoadedModel(model, processor)))
    for wave in waves:
        rounding = np.abs(theirs([wave])[0] - exact([wave])[0]).max()
        assert np.abs(ours([wave])[0] - theirs([wave])[0]).max() < rounding
    assert 2 * len(exported.weights) < len(build_openvino(LoadedModel(model, processor)).weights)


@pytest.mark.slow
@settings(max_examples=12)
@given(lengths=st.lists(LENGTHS, min_size=2, max_size=5), variant=st.integers(0, 4))
def test_static_int8_is_the_same_bits_alone_and_in_a_batch(static_runs, lengths, variant):
    assert_same_bits(static_runs[variant], [make_speech(length, i) for i, length in enumerate(lengths)])


def test_word_times_are_the_same_alone_and_in_a_batch(build_model, processor, tmp_path):
    write_static(build_model("base"), processor).save(tmp_path / "m.onnx")
    waves = [make_speech(length, length) for length in (20_880, 20_560, 20_000, 20_481, 41_040, 40_000)]
    transcriber = Transcriber(open_engine(tmp_path / "m.onnx", threads=1))
    assert transcriber.facts.batch_invariant and len(plan_batches([*map(len, waves)], 10**6)) == 2
    together = transcriber.transcribe(waves)
    alone = [transcriber.transcribe([wave])[0] for wave in waves]
    assert [each.words for each in together] == [each.words for each in alone] and any(each.words for each in alone)


@pytest.mark.grid
@pytest.mark.parametrize("name", ["large-lv60", "layer-post", "wavlm", "wavlm-large", "data2vec", *NEWER, *SHAPES])
def test_in_every_family_and_shape(name, build_model, processor, open_file):
    structure, changes = SHAPES.get(name, (name, {}))
    run = open_file(write_static(build_model(structure, **changes), processor))
    assert_same_bits(run, [make_speech(length) for length in (400, 9000, 20_880)])


@pytest.mark.slow
def test_the_flag_is_what_was_measured(build_model, processor, monkeypatch):
    """With sums in any order the same file depends on its batch, and says so."""
    loaded, items, notes = LoadedModel(build_model("base"), processor), make_items([9000, 16_000, 33_000, 41_040]), []
    plan = calibrate(loaded.model, padded_audio(items, processor))
    exported, parity = export_checked(loaded, plan, items, limits=ParityLimits(texts=False), on_note=notes.append)
    assert exported.facts["batch_invariant"] == "true" and parity.batch_difference == 0.0 and not notes
    monkeypatch.setattr(writer.GraphWriter, "exact", False)
    exported, parity = export_checked(loaded, plan, items, limits=ParityLimits(texts=False), on_note=notes.append)
    assert exported.facts["batch_invariant"] == "per_utterance" and parity.batch_difference is None and len(notes) == 1


@given(
    lengths=st.lists(st.integers(1, 100), min_size=1, max_size=40).map(sorted),
    size=st.integers(2, 8),
    most=st.integers(1, 400),
)
def test_batches_hold_so_many_seconds(lengths, size, most):
    batches = plan_mixed(lengths, size, most)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) <= max(2, size)
        assert len(batch) <= 2 or len(batch) * max(lengths[row] for row in batch) <= most
    assert len(lengths) == 1 or most >= 2 * max(lengths) or max(map(len, batches)) >= min(2, size)


@pytest.mark.slow
def test_constant_offset_and_silence(build_model, processor, open_file):
    """Statistics on a grid are those of the samples."""
    model, loud = build_model("base"), make_speech(20_000)
    loaded = LoadedModel(model, replace(processor, do_normalize=False))
    plan = calibrate(model, padded_audio([LoadedUtterance("a", "", "", loud)], loaded.processor))
    exact = open_file(build_onnx(loaded, plan))
    waves = [loud, 0.01 * loud + np.float32(0.5), np.zeros(9000, np.float32)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer.GraphWriter, "exact", False)
        rounded = open_file(build_onnx(loaded, plan))
        expected = [rounded([wave])[0] for wave in waves]
    for wave, other in zip(waves, expected, strict=True):
        found = exact([wave])[0]
        assert np.isfinite(found).all() and np.abs(found - other).max() < 0.05 * np.abs(other).max()
