import itertools
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.decoding.alignment import align_tokens, count_needed_frames, time_words
from bigfoot.text.phonemes import PhonemeTokenizer
from bigfoot.text.sentencepieces import train_sentencepiece
from bigfoot.text.tokenizers import CharTokenizer

TOKENIZER = CharTokenizer(("<pad>", "|", "A", "B"))


def merge(path):
    return [token for token, _ in itertools.groupby(path) if token != 0]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), frames=st.integers(1, 6), labels=st.lists(st.integers(1, 3), max_size=4))
def test_it_is_the_likeliest_of_all_alignments(draw_posteriors, seed, frames, labels):
    log_probs = draw_posteriors(seed, frames, 4)
    paths = [path for path in itertools.product(range(4), repeat=frames) if merge(path) == labels]
    assert bool(paths) == (frames >= count_needed_frames(labels))
    if not paths:
        with pytest.raises(ValueError):
            align_tokens(log_probs, labels, 0)
        return
    best = max(paths, key=lambda path: sum(log_probs[frame, token] for frame, token in enumerate(path)))
    found = align_tokens(log_probs, labels, 0)
    filled = np.zeros(frames, dtype=int)
    for token in found:
        assert not filled[token.begin : token.end].any()
        filled[token.begin : token.end] = token.token
        assert token.log_prob == pytest.approx(log_probs[token.begin : token.end, token.token].mean())
    assert tuple(filled) == best
    assert [token.token for token in found] == labels


def test_the_blank_need_not_be_zero(draw_posteriors):
    log_probs = draw_posteriors(1, 6, 4)
    rolled = np.roll(log_probs, -1, axis=1)
    ours, theirs = align_tokens(log_probs, [2, 1], 0), align_tokens(rolled, [1, 0], 3)
    assert [(t.begin, t.end) for t in ours] == [(t.begin, t.end) for t in theirs]


def posteriors_of(path, size, certain=0.9):
    return np.log(np.full((len(path), size), (1 - certain) / (size - 1))
                  + (certain - (1 - certain) / (size - 1)) * np.eye(size)[path])  # fmt: skip


def test_words_have_times_and_confidences():
    log_probs = posteriors_of([0, 2, 2, 0, 3, 1, 0, 3, 0], 4)
    log_probs[7] = np.log([0.2, 0.1, 0.1, 0.6])
    found = time_words(log_probs, TOKENIZER.encode("AB B"), TOKENIZER, 0.02)
    assert [word.word for word in found] == ["AB", "B"]
    assert [(round(word.start, 3), round(word.end, 3)) for word in found] == [(0.02, 0.1), (0.14, 0.16)]
    assert found[0].confidence == pytest.approx(0.9) and found[1].confidence == pytest.approx(0.6)


def test_pieces_and_phonemes_have_times_too():
    pieces = train_sentencepiece(["AB ABC", "ABC B", "B AB"], "bpe", 11)
    ids = pieces.encode("ABC B AB")
    path = [frame for index in ids for frame in (index, 0)]
    found = time_words(posteriors_of(path, len(pieces)), ids, pieces, 0.02)
    assert [word.word for word in found] == ["ABC", "B", "AB"]
    phonemes = PhonemeTokenizer(("<pad>", "s", "i"))
    found = time_words(posteriors_of([1, 2, 2, 0], 3), [1, 2], phonemes, 0.02)
    assert [(word.word, word.start, word.end) for word in found] == [("s", 0.0, 0.02), ("i", 0.02, 0.06)]


def test_silence_has_no_words():
    assert time_words(np.zeros((0, 4)), [], TOKENIZER, 0.02) == []
    assert time_words(posteriors_of([0, 0], 4), [], TOKENIZER, 0.02) == []


@pytest.mark.slow
def test_times_are_espeak_s_own_but_for_a_constant():
    """Word starts of the tiny teacher against espeak-ng's events, by voices that nobody trained on."""
    import torch

    from bigfoot.audio.files import resample
    from bigfoot.data.batches import LoadedUtterance, collate
    from bigfoot.data.utterance import digits_to_text
    from bigfoot.espeak import Voice, speak_with_times
    from bigfoot.formats.folder import load_model

    loaded, rng, differences = load_model("tiny_teacher"), np.random.default_rng(3), []
    tokenizer = loaded.processor.tokenizer
    seconds = loaded.model.config.inputs_to_logits_ratio / loaded.processor.sample_rate
    for voice in ("en-us+f3", "en+Mike", "en-us+linda", "en-gb-scotland+edward", "en-us+m6"):
        text = digits_to_text(rng.integers(0, 10, 8).tolist())
        samples, rate, spoken = speak_with_times(text.lower(), Voice(voice))
        batch = collate([LoadedUtterance("a", "b", text, resample(samples, rate, 16_000))], loaded.processor)
        with torch.no_grad():
            log_probs = loaded.model(batch.input_values).logits[0].log_softmax(-1).numpy()
        timed = time_words(log_probs, tokenizer.encode(text), tokenizer, seconds)
        assert [word.word for word in timed] == text.split()
        differences += [ours.start - theirs.start for ours, theirs in zip(timed, spoken, strict=True)]
    offset = statistics.median(differences)
    assert 0 < offset < 0.15
    assert statistics.median(abs(difference - offset) for difference in differences) < 0.06
