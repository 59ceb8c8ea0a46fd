"""A teacher of other frames, tokens and loudness: targets by a plain loop, alone and in a batch."""

import math

import numpy as np
import pytest
import torch

from bigfoot.data.batches import LoadedUtterance, collate
from bigfoot.distill import HiddenLoss, LogitKLLoss, LossesConfig
from bigfoot.distill.bridge import Bridge
from bigfoot.distill.objective import Objective
from bigfoot.distill.resampling import resampling_weights
from bigfoot.distill.vocabulary import map_log_probs, map_tokens
from bigfoot.errors import ModelError
from bigfoot.formats.folder import load_model
from bigfoot.models.frames.timing import FrameTiming, frame_timing
from bigfoot.text.pieces import PieceTokenizer
from bigfoot.text.tokenizers import CharTokenizer, Processor
from tests.formats.test_foreign_ctc import save_foreign
from tests.refusals import names

CAPITALS = CharTokenizer(("<pad>", "<s>", "</s>", "<unk>", "|", "E", "N", "O", "A"))
LOSSES = LossesConfig(LogitKLLoss(1.0), hidden=HiddenLoss(1.0, matches=[[2, 2]]))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parakeet")
    save_foreign(folder, "parakeet")
    return load_model(folder)


@pytest.fixture
def pair(foreign, build_model):
    """A student, its processor, and the bridge from the foreign teacher."""
    student = build_model("base", seed=2, num_hidden_layers=2, vocab_size=len(CAPITALS))
    processor = Processor(CAPITALS)
    bridge = Bridge.between(student.config, foreign.model.config)
    return student, processor, bridge.with_processors(processor, foreign.processor, len(CAPITALS))


def utterances(*lengths):
    rng = np.random.default_rng(0)
    waves = [(0.1 * rng.standard_normal(length) + 0.02).astype(np.float32) for length in lengths]
    return [LoadedUtterance(f"u{place}", "s", "ONE", wave) for place, wave in enumerate(waves)]


def targets_by_loop(teacher, samples, student, num_frames):
    """Log posteriors over the student's tokens at the student's frames, one number after the other."""
    with torch.no_grad():
        probabilities = teacher.model(torch.from_numpy(samples)[None]).logits[0].softmax(-1).double()
    there, here = frame_timing(teacher.model.config), frame_timing(student.config)
    letters = teacher.processor.tokenizer.pieces
    found = torch.zeros(num_frames, len(CAPITALS), dtype=torch.float64)
    for frame in range(num_frames):
        place = (here.first + here.period * frame - there.first) / there.period
        place = min(max(place, 0.0), len(probabilities) - 1.0)
        low = math.floor(place)
        for at, share in ((low, 1 - (place - low)), (min(low + 1, len(probabilities) - 1), place - low)):
            for token, letter in enumerate(letters):
                names = {" ": "|", "": "<pad>"}
                name = names.get(letter, letter.upper())
                wanted = CAPITALS.vocabulary.index(name) if name in CAPITALS.vocabulary else 0
                found[frame, wanted] += share * probabilities[at, token]
    return found


def test_the_loss_is_that_of_a_plain_loop(pair, foreign):
    student, processor, bridge = pair
    items = utterances(12_000, 7000)
    batch = collate(items, processor)
    losses = LossesConfig(LogitKLLoss(1.0))
    found = Objective(losses, student, foreign.model, bridge).eval()(batch, {})["logit_kl"]
    expected = 0.0
    with torch.no_grad():
        for item in items:
            alone = collate([item], processor)
            ours = student(alone.input_values).logits[0].log_softmax(-1).double()
            theirs = targets_by_loop(foreign, item.samples, student, len(ours))
            expected += float((theirs * (theirs.clamp(min=1e-30).log() - ours)).sum())
    assert float(found.total) == pytest.approx(expected, rel=1e-4)


def test_no_padding_changes_a_target(pair, foreign):
    student, processor, bridge = pair
    items = utterances(12_000, 3000, 7777, 16_000)
    objective = Objective(LOSSES, student, foreign.model, bridge).eval()

    def targets(chosen):
        batch = collate(chosen, processor)
        frames = student.speech_encoder.feature_encoder.frame_lengths(batch.input_lengths)
        with torch.no_grad():
            return objective._ask(batch, int(frames.max())), frames

    together, frames = targets(items)
    for row, item in enumerate(items):
        alone, _ = targets([item])
        real = int(frames[row])
        torch.testing.assert_close(together.logits[row, :real], alone.logits[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(together.hidden_states[2][row, :real], alone.hidden_states[2][0], atol=1e-5, rtol=0)


def test_what_is_shorter_than_a_frame_of_the_teacher_teaches_nothing(pair, foreign):
    student, processor, bridge = pair
    objective = Objective(LOSSES, student, foreign.model, bridge).eval()
    items = utterances(12_000, 1500)
    alone, together = (objective(collate(chosen, processor), {}) for chosen in (items[:1], items))
    for name in ("logit_kl", "hidden"):
        assert float(together[name].total) == pytest.approx(float(alone[name].total), rel=1e-5)
    assert all(float(term.total) == 0.0 for term in objective(collate(items[1:], processor), {}).values())


@pytest.mark.parametrize("samples", [9000, 30_001])
def test_frames_eight_times_as_long_are_interpolated(pair, foreign, samples):
    # 160 ms against 20 ms: each of the student's lies between two, and the last ones keep the last.
    student, _, _ = pair
    slow, fast = FrameTiming(2560.0, 1279.5), frame_timing(student.config)
    count, wanted = max(1, (samples - 2560) // 2560 + 1), (samples - 400) // 320 + 1
    weights = resampling_weights(torch.ones(1, count, dtype=torch.bool), slow, fast, wanted)[0]
    places = ((fast.first + fast.period * torch.arange(wanted) - slow.first) / slow.period).clamp(0, count - 1)
    torch.testing.assert_close(weights.sum(-1), torch.ones(wanted))
    torch.testing.assert_close(weights @ torch.arange(count).float(), places, atol=1e-5, rtol=0)


def test_characters_that_one_of_both_lacks_are_named(pair, foreign):
    _, processor, bridge = pair
    assert names(bridge.describe_dropped(processor, foreign.processor), "'b'")
    letters = PieceTokenizer(("<blk>", "n", "o"), ("", "n", "o"), 0)
    spaceless = bridge.with_processors(processor, Processor(letters), len(CAPITALS))
    assert names(spaceless.describe_dropped(processor, Processor(letters)), "' '", "'E'", "'A'")
    assert not names(spaceless.describe_dropped(processor, Processor(letters)), "'O'")


def test_audio_comes_to_each_as_it_takes_it(foreign):
    items = utterances(5000, 3000)
    normal, plain = collate(items, Processor()), collate(items, Processor(do_normalize=False))
    torch.testing.assert_close(normal.values_for(False), plain.input_values, atol=1e-6, rtol=0)
    torch.testing.assert_close(plain.values_for(True), normal.input_values, atol=1e-6, rtol=0)
    assert normal.values_for(True) is normal.input_values


def test_letters_meet_by_what_they_write(foreign):
    teacher = foreign.processor.tokenizer
    # <unk>, the space, a, b, n, o, e and the blank.
    assert map_tokens(teacher, CAPITALS) == [0, 4, 8, 0, 6, 7, 5, 0]
    whole = torch.randn(1, 3, len(teacher)).log_softmax(-1)
    mapped = map_log_probs(whole, torch.tensor(map_tokens(teacher, CAPITALS)), len(CAPITALS))
    torch.testing.assert_close(mapped.exp().sum(-1), torch.ones(1, 3))
    pieces = PieceTokenizer(("<pad>", "_on", "e"), ("", " on", "e"), 0)
    with pytest.raises(ModelError):
        map_tokens(pieces, CAPITALS)


def test_gradients_reach_the_student_and_its_projections(pair, foreign):
    student, processor, bridge = pair
    objective = Objective(LOSSES, student, foreign.model, bridge)
    terms = objective(collate(utterances(6000, 5000), processor), {})
    sum(term.mean() for term in terms.values()).backward()
    # 24 or so wide against 16: a linear map stands between.
    assert [p.grad.abs().sum() > 0 for p in objective.projections.parameters()] == [True, True]
    assert all(p.grad is None for p in foreign.model.parameters())
