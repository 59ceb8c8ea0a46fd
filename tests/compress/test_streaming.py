"""A student that streams has the teacher's weights, and statistics of audio where the teacher has the recording's."""

import pytest
import torch

from bigfoot.compress import ConvGroups, Prune, Streaming, compress
from bigfoot.errors import ModelError, UnfitError
from bigfoot.formats.dense import densify
from bigfoot.formats.folder import LoadedModel, load_model, save_model
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.models.streaming import follow_level
from bigfoot.training.masking import WHOLE, draw_chunk
from tests.codes import refusing

CHUNKS = Streaming("100ms", left=3)


def batches(speech):
    return [PaddedAudio(wave, torch.ones_like(wave, dtype=torch.bool)) for wave in speech]


@pytest.mark.parametrize("structure", ["base", "large-lv60", "wavlm", "data2vec"])
def test_weights_are_the_teachers_and_a_folder_keeps_the_chunks(structure, build_model, speech, processor, tmp_path):
    teacher = LoadedModel(build_model(structure), processor)
    student = compress(teacher, [ConvGroups(2), CHUNKS], batches(speech))
    assert student.model.config.streaming == {"chunk": 5, "left": 3, "dynamic": True}
    assert teacher.processor.do_normalize and not student.processor.do_normalize
    save_model(student.model, student.processor, tmp_path / "m")
    again = load_model(tmp_path / "m")
    assert not again.processor.do_normalize
    with torch.no_grad():
        one, other = student.model(speech[0]).logits, again.model(speech[0]).logits
    assert torch.equal(one, other)


def test_a_first_convolution_has_the_statistics_of_the_audio(build_model, speech):
    student = compress(build_model("base"), [CHUNKS], batches(speech))
    layer = next(iter(student.speech_encoder.feature_encoder))
    teacher = next(iter(build_model("base").speech_encoder.feature_encoder)).layer_norm
    with torch.no_grad():
        given = [layer.layer_norm(layer.conv(follow_level(wave, 80, 320)[:, None, 80:])) for wave in speech]
    channels = torch.cat(given, dim=-1)[0]
    torch.testing.assert_close(channels.mean(-1), teacher.bias.detach(), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(channels.std(-1), teacher.weight.detach().abs(), atol=1e-3, rtol=2e-2)


def test_a_chunk_of_everything_is_the_whole_recording(build_model, speech):
    """With the level held, a layer-norm model that streams in one chunk is the model that does not."""
    plain = build_model("large-lv60")
    student = compress(plain, [CHUNKS])
    level = follow_level(speech[0], 80, 320)
    with torch.no_grad():
        found = student(speech[0], chunk_frames=WHOLE).logits
        student.speech_encoder.feature_encoder.follows_level = False
        assert torch.equal(student(level, chunk_frames=WHOLE).logits, found)
        torch.testing.assert_close(found, plain(level).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_a_student_that_streams_is_pruned_like_others(build_model, speech):
    student = compress(build_model("base"), [CHUNKS], batches(speech))
    small = compress(student, [Prune(["heads", "feed_forward", "conv"], "l1", ratio=0.4, multiple_of=1)])
    assert small.config.streaming == student.config.streaming and small.config.conv_dim < student.config.conv_dim
    with torch.no_grad():
        assert torch.isfinite(small(speech[0]).logits).all()


@pytest.mark.parametrize(
    ("structure", "settings", "problem"),
    [
        ("base", Streaming(), ("chunk", "missing")),
        ("base", Streaming("320"), ("chunk", "bad_duration")),
        ("base", Streaming("30ms"), ("chunk", "no_whole_frames")),
        ("base", Streaming("2s"), ("chunk", "out_of_range")),
        ("base", CHUNKS, ("chunk", "no_audio")),
        ("conformer", CHUNKS, ("", "cannot_stream")),
        ("w2v-bert", CHUNKS, ("", "cannot_stream")),
        ("sew", CHUNKS, ("", "cannot_stream")),
        ("sew-d", CHUNKS, ("", "cannot_stream")),
    ],
)
def test_what_cannot_stream_is_refused(structure, settings, problem, build_model):
    with refusing(problem, kind=UnfitError):
        compress(build_model(structure), [settings])


def test_no_dense_shape_streams(build_model):
    with pytest.raises(ModelError):
        densify(build_model("base", streaming={"chunk": 4, "left": 1}))


def test_drawn_chunks_hang_on_nothing_but_seed_and_place(build_model):
    shape = build_model("base", streaming={"chunk": 16, "left": 4, "dynamic": True}).config.stream
    drawn = [draw_chunk(shape, 7, str(step)) for step in range(400)]
    assert drawn == [draw_chunk(shape, 7, str(step)) for step in range(400)] != [draw_chunk(shape, 8, str(step))
                                                                                   for step in range(400)]  # fmt: skip
    assert set(drawn) == {8, 16, 32, 64, WHOLE} and 0.4 < drawn.count(16) / 400 < 0.6
