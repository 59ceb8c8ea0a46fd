import itertools
import math
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.decoding.beam import PrefixBeamSearch
from bigfoot.decoding.words import KenLM, WordValues
from bigfoot.text.ngram import read_arpa, train_ngram, write_arpa
from bigfoot.text.sentencepieces import train_sentencepiece
from bigfoot.text.tokenizers import CharTokenizer

SMALL = CharTokenizer(("<pad>", "|", "A", "B", "<s>"))
LETTERS = CharTokenizer(("<pad>", "|", *"ABC"))
EVERYTHING = 100_000


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), frames=st.integers(0, 5), sharpness=st.sampled_from([0.1, 2.0, 8.0]))
def test_a_beam_that_holds_everything_gives_the_sum_over_all_alignments(
    draw_posteriors, sum_alignments, seed, frames, sharpness
):
    log_probs = draw_posteriors(seed, frames, len(SMALL), sharpness)
    expected = sum_alignments(log_probs, SMALL)
    found = PrefixBeamSearch(SMALL, EVERYTHING).search(log_probs)
    assert {hypothesis.text for hypothesis in found} == set(expected)
    for hypothesis in found:
        assert hypothesis.score == hypothesis.acoustic == pytest.approx(expected[hypothesis.text], abs=1e-9)
        assert SMALL.decode(hypothesis.tokens) == hypothesis.text
    scores = [hypothesis.score for hypothesis in found]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), beam=st.integers(1, 30))
def test_a_narrow_beam_never_promises_too_much(draw_posteriors, sum_alignments, seed, beam):
    log_probs = draw_posteriors(seed, 5, len(SMALL))
    expected = sum_alignments(log_probs, SMALL)
    found = PrefixBeamSearch(SMALL, beam).search(log_probs)
    assert 1 <= len(found) <= beam
    assert all(hypothesis.score <= expected[hypothesis.text] + 1e-9 for hypothesis in found)


def test_scores_are_pytorch_s_ctc_loss(draw_posteriors):
    # Without a delimiter a text has one spelling.
    log_probs = draw_posteriors(3, 12, 5, 6.0)
    best = PrefixBeamSearch(CharTokenizer(("<pad>", *"ABCD")), 3000).search(log_probs)[0]
    loss = torch.nn.functional.ctc_loss(
        torch.from_numpy(log_probs)[:, None], torch.tensor([best.tokens]), [12], [len(best.tokens)], reduction="sum"
    )
    assert best.acoustic == pytest.approx(-float(loss), abs=1e-3)


def test_the_best_text_may_not_be_that_of_the_best_frames():
    """Graves's example: blank is likeliest in both frames, and yet A is likelier than silence."""
    tokenizer = CharTokenizer(("<pad>", "A"))
    log_probs = np.log([[0.6, 0.4], [0.6, 0.4]])
    assert tokenizer.decode_ctc(log_probs.argmax(-1)) == ""
    found = PrefixBeamSearch(tokenizer, 4).search(log_probs)
    assert [(h.text, round(math.exp(h.score), 6)) for h in found] == [("A", 0.64), ("", 0.36)]


@pytest.mark.parametrize("values", [None, WordValues(lexicon=("A", "BA"))])
def test_no_frames_are_silence(values):
    (only,) = PrefixBeamSearch(SMALL, 4, values).search(np.zeros((0, len(SMALL))))
    assert (only.text, only.tokens, only.score) == ("", (), 0.0)


def test_columns_beyond_the_vocabulary_are_not_used(draw_posteriors):
    log_probs = draw_posteriors(1, 6, 9)
    search = PrefixBeamSearch(SMALL, 50)
    assert search.search(log_probs) == search.search(log_probs[:, :5])


def count_hot(text, phrases):
    """Occurrences of phrases in a text as whole words, by going through all places."""
    return sum(f" {text} ".startswith(f" {phrase} ", place) for phrase in phrases for place in range(len(text)))


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_hot_words_and_lexicon_are_added_to_the_exact_sums(draw_posteriors, sum_alignments, seed):
    log_probs = draw_posteriors(seed, 5, len(LETTERS), 1.0)
    exact = sum_alignments(log_probs, LETTERS)
    hot = ("CA", "BC", "A B", "B A B")
    values = WordValues(lexicon=("A", "B", "AB", "CA"), word_bonus=-0.3, hot_words=hot, hot_word_bonus=2.5)
    allowed = {"A", "B", "AB", "CA", "BC"}
    expected = {
        text: score - 0.3 * len(text.split()) + 2.5 * count_hot(text, hot)
        for text, score in exact.items()
        if set(text.split()) <= allowed
    }
    found = PrefixBeamSearch(LETTERS, EVERYTHING, values).search(log_probs)
    assert {h.text: pytest.approx(h.score, abs=1e-9) for h in found} == expected
    for hypothesis in found:
        assert hypothesis.acoustic == pytest.approx(exact[hypothesis.text], abs=1e-9)
        assert hypothesis.score == pytest.approx(hypothesis.acoustic + hypothesis.bonus)
    assert found[0].text == max(expected, key=expected.__getitem__)


@pytest.fixture(scope="module")
def arpa(tmp_path_factory):
    pytest.importorskip("flashlight.lib.text.decoder.kenlm")
    path = tmp_path_factory.mktemp("lm") / "model.arpa"
    write_arpa(train_ngram(["A B", "A CA", "CA B B", "AB A", "B", "A B CA"], 2), path)
    return path


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), weight=st.sampled_from([0.0, 0.5, 2.0]))
def test_the_total_is_acoustic_and_weighted_language_and_bonus_by_hand(
    draw_posteriors, sum_alignments, arpa, seed, weight
):
    by_hand = read_arpa(arpa)
    log_probs = draw_posteriors(seed, 5, len(LETTERS), 1.0)
    exact = sum_alignments(log_probs, LETTERS)
    values = WordValues(KenLM(arpa, by_hand.words), weight, by_hand.words, 0.7, ("CA",), 1.5)
    expected = {}
    for text, acoustic in exact.items():
        words = text.split()
        if set(words) <= set(by_hand.words):
            bonus = 0.7 * len(words) + 1.5 * words.count("CA")
            expected[text] = acoustic + weight * math.log(10) * by_hand.score(text) + bonus
    found = PrefixBeamSearch(LETTERS, EVERYTHING, values).search(log_probs)
    assert {h.text: pytest.approx(h.score, abs=1e-4) for h in found} == expected
    for hypothesis in found:
        assert hypothesis.language == pytest.approx(math.log(10) * by_hand.score(hypothesis.text), abs=1e-4)


def test_the_language_model_decides_where_the_sound_does_not(arpa):
    log_probs = np.log(np.full((5, 5), 1e-3))
    for frame, token in enumerate([2, 1, 3]):
        log_probs[frame, token] = np.log(0.9)
    log_probs[2, [3, 4]] = np.log([0.48, 0.5])  # B or C: C is no word
    log_probs[3:, 0] = np.log(0.99)
    words = read_arpa(arpa).words
    assert PrefixBeamSearch(LETTERS, 16).search(log_probs)[0].text == "A C"
    assert PrefixBeamSearch(LETTERS, 16, WordValues(KenLM(arpa, words), 0.5, words)).search(log_probs)[0].text == "A B"


def test_pieces_of_words_with_lexicon_and_hot_word(sum_alignments, draw_posteriors):
    tokenizer = train_sentencepiece(["AB ABC", "ABC B", "B AB"], "bpe", 11)
    log_probs = draw_posteriors(5, 3, len(tokenizer), 1.0)
    exact = sum_alignments(log_probs, tokenizer)
    plain = PrefixBeamSearch(tokenizer, EVERYTHING).search(log_probs)
    assert {h.text: pytest.approx(h.score, abs=1e-9) for h in plain} == exact
    values = WordValues(lexicon=("AB", "B"), hot_words=("ABC",), hot_word_bonus=4.0)
    found = PrefixBeamSearch(tokenizer, EVERYTHING, values).search(log_probs)
    assert {word for h in found for word in h.text.split()} == {"AB", "B", "ABC"}
    for hypothesis in found:
        bonus = 4.0 * hypothesis.text.split().count("ABC")
        assert hypothesis.score == pytest.approx(exact[hypothesis.text] + bonus, abs=1e-9)


def test_where_no_word_is_finished_what_is_finished_stays():
    """Frames that say A, space, and then the beginning of a word that never ends."""
    log_probs = np.full((4, 5), -np.inf)
    for frame, token in enumerate([2, 1, 3, 0]):
        log_probs[frame, token] = 0.0
    found = PrefixBeamSearch(LETTERS, 8, WordValues(lexicon=("A", "BC"))).search(log_probs)
    assert [hypothesis.text for hypothesis in found] == ["A"]


def test_where_nothing_goes_on_the_beam_waits():
    """Frames that say A, and then a letter that no word has there."""
    log_probs = np.full((2, 5), -np.inf)
    log_probs[0], log_probs[1, 3] = math.log(0.2), 0.0
    found = PrefixBeamSearch(LETTERS, 8, WordValues(lexicon=("A",))).search(log_probs)
    assert {hypothesis.text for hypothesis in found} == {"", "A"}


def test_the_blank_may_stand_anywhere(draw_posteriors):
    log_probs = draw_posteriors(5, 5, 3)
    found = PrefixBeamSearch(CharTokenizer(("<pad>", *"AB")), EVERYTHING).search(log_probs)
    moved = PrefixBeamSearch(CharTokenizer((*"AB", "<pad>")), EVERYTHING).search(log_probs[:, [1, 2, 0]])
    assert [each.text for each in moved] == [each.text for each in found]
    assert [each.score for each in moved] == pytest.approx([each.score for each in found], abs=1e-9)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(data=st.data(), seed=st.integers(0, 10_000), bonus=st.sampled_from([0.5, 3.0, 20.0]))
@pytest.mark.parametrize("tokenizer", [LETTERS, CharTokenizer(("<pad>", *"ABC"))], ids=["spaces", "no spaces"])
def test_hot_phrases_are_added_to_the_exact_sums(draw_posteriors, sum_alignments, tokenizer, data, seed, bonus):
    spaced = " " in tokenizer.characters
    texts = st.text("AB " if spaced else "AB", min_size=1, max_size=4).map(lambda t: " ".join(t.split()))
    hot = data.draw(st.lists(texts.filter(bool), min_size=1, max_size=4, unique=True))
    log_probs = draw_posteriors(seed, 5, len(tokenizer), 1.0)
    expected = {
        text: score + bonus * (count_hot(text, hot) if spaced else count_inside(text, hot))
        for text, score in sum_alignments(log_probs, tokenizer).items()
    }
    values = WordValues(hot_words=hot, hot_word_bonus=bonus)
    found = PrefixBeamSearch(tokenizer, EVERYTHING, values).search(log_probs)
    assert {h.text: pytest.approx(h.score, abs=1e-9) for h in found} == expected


def count_inside(text, phrases):
    return sum(text.startswith(phrase, place) for phrase in phrases for place in range(len(text)))


def search_plainly(log_probs, tokenizer, beam_size, phrases=(), bonus=0.0):
    """Prefix beam search as a loop over texts in dictionaries, hot words found anew in every text."""
    beams = {(): (0.0, -np.inf)}
    for frame in log_probs:
        longer = {}

        def add(tokens, in_blank, in_label, longer=longer):
            old = longer.get(tokens, (-np.inf, -np.inf))
            longer[tokens] = (np.logaddexp(old[0], in_blank), np.logaddexp(old[1], in_label))

        for tokens, (in_blank, in_label) in beams.items():
            both = np.logaddexp(in_blank, in_label)
            add(tokens, both + frame[tokenizer.blank_id], -np.inf)
            for token in range(len(tokenizer)):
                if token == tokenizer.blank_id:
                    continue
                if tokens and token == tokens[-1]:
                    add(tokens, -np.inf, in_label + frame[token])
                    add((*tokens, token), -np.inf, in_blank + frame[token])
                else:
                    add((*tokens, token), -np.inf, both + frame[token])
        rank = {t: np.logaddexp(*s) + rate_plainly(t, tokenizer, phrases, bonus) for t, s in longer.items()}
        beams = {tokens: longer[tokens] for tokens in sorted(rank, key=rank.get, reverse=True)[:beam_size]}
    found = {}
    for tokens, scores in beams.items():
        text = tokenizer.decode(tokens)
        found[text] = np.logaddexp(found.get(text, -np.inf), np.logaddexp(*scores))
    return {text: score + bonus * count_hot(text, phrases) for text, score in found.items()}


def rate_plainly(tokens, tokenizer, phrases, bonus):
    """Bonus of the phrases that a text has, and the largest part of one at its end."""
    text = " " + "".join(tokenizer.pieces[token] for token in tokens)
    while "  " in text:
        text = text.replace("  ", " ")
    parts = [n / len(p) for p in phrases for n in range(1, len(p) + 1) if text.endswith(f" {p[:n]}")]
    whole = sum(text.startswith(f" {phrase} ", place) for phrase in phrases for place in range(len(text)))
    return bonus * (whole + max(parts, default=0.0))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    frames=st.integers(0, 12),
    beam=st.integers(1, 9),
    phrases=st.sampled_from([(), ("CA",), ("A B", "B"), ("AB", "ABCA", "B C", "C C C"), ("A",)]),
)
def test_a_narrow_beam_keeps_what_a_plain_loop_keeps(draw_posteriors, seed, frames, beam, phrases):
    log_probs = draw_posteriors(seed, frames, len(LETTERS), 2.0)
    expected = search_plainly(log_probs, LETTERS, beam, phrases, 2.0)
    values = WordValues(hot_words=phrases, hot_word_bonus=2.0) if phrases else None
    found = PrefixBeamSearch(LETTERS, beam, values).search(log_probs)
    assert {h.text: pytest.approx(h.score, abs=1e-9) for h in found} == expected
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)


@pytest.mark.slow
def test_a_hot_phrase_in_pieces_of_words(sum_alignments, draw_posteriors):
    tokenizer = train_sentencepiece(["AB ABC", "ABC B", "B AB"], "bpe", 11)
    log_probs = draw_posteriors(7, 4, len(tokenizer), 1.0)
    hot = ("AB B", "ABC", "B")
    values = WordValues(hot_words=hot, hot_word_bonus=4.0)
    expected = {
        text: score + 4.0 * count_hot(text, hot) for text, score in sum_alignments(log_probs, tokenizer).items()
    }
    found = PrefixBeamSearch(tokenizer, EVERYTHING, values).search(log_probs)
    assert {h.text: pytest.approx(h.score, abs=1e-9) for h in found} == expected


def test_an_unfinished_hot_word_is_kept_in_the_beam():
    """The first letters of CAB are a little less likely than AAA, the last one is certain."""
    tokenizer, beam = LETTERS, 1
    log_probs = np.log(np.full((5, 5), 1e-4))
    for frame, (right, wrong) in enumerate([(4, 3), (2, 2), (3, 3)]):
        log_probs[frame, wrong] = np.log(0.6)
        log_probs[frame, right] = np.log(0.4 if right != wrong else 0.9)
    log_probs[3:, 0] = np.log(0.99)
    assert PrefixBeamSearch(tokenizer, beam).search(log_probs)[0].text == "BAB"
    hot = WordValues(hot_words=("CAB",), hot_word_bonus=3.0)
    (found,) = PrefixBeamSearch(tokenizer, beam, hot).search(log_probs)
    assert found.text == "CAB" and found.bonus == 3.0


def test_every_text_of_a_small_world_is_reached_by_some_alignment():
    """The brute force itself: its texts are those that fit the frames."""
    texts = {SMALL.decode_ctc(a) for a in itertools.product(range(5), repeat=2)}
    assert texts == {"", "A", "B", "AB", "BA", "<s>", "A<s>", "B<s>", "<s>A", "<s>B"}


VALUES = {
    "plain": None,
    "hot": WordValues(hot_words=("CA", "A B"), hot_word_bonus=2.0),
    "lexicon": WordValues(lexicon=("A", "B", "CA", "AB"), word_bonus=0.4),
    "both": WordValues(lexicon=("A", "B", "CA"), word_bonus=-0.5, hot_words=("AB", "CA B"), hot_word_bonus=2.0),
}


@pytest.mark.parametrize("name", VALUES)
def test_an_utterance_is_decoded_as_if_it_were_the_only_one(draw_posteriors, name):
    search = PrefixBeamSearch(LETTERS, 6, VALUES[name])
    utterances = [draw_posteriors(seed, frames, len(LETTERS)) for seed, frames in ((1, 9), (2, 0), (3, 14), (1, 9))]
    alone = [PrefixBeamSearch(LETTERS, 6, VALUES[name]).search(each) for each in utterances]
    assert [search.search(each) for each in utterances] == alone
    rounded = utterances[0].astype(np.float32)
    assert search.search(rounded) == search.search(rounded.astype(np.float64))
    assert search.name == "prefix beam 6"


@pytest.mark.parametrize("name", ["hot", "lexicon", "both"])
def test_scores_that_are_kept_are_few_and_change_nothing(draw_posteriors, monkeypatch, name):
    log_probs = draw_posteriors(4, 30, len(LETTERS))
    expected = PrefixBeamSearch(LETTERS, 6, VALUES[name]).search(log_probs)
    for module in ("beam", "phrases"):
        monkeypatch.setattr(f"bigfoot.decoding.{module}._MOST_NUMBERS", 12)
    search = PrefixBeamSearch(LETTERS, 6, VALUES[name])
    assert search.search(log_probs) == expected
    assert len(search._rows) <= 3


@pytest.mark.slow
def test_a_large_vocabulary_does_not_fill_the_memory(draw_posteriors):
    """V scores for every prefix that ever was in the beam would be 150 MB here."""
    tokenizer = CharTokenizer(("<pad>", *(chr(0x4E00 + index) for index in range(2999))))
    log_probs = draw_posteriors(0, 200, len(tokenizer), 1.0)
    values = WordValues(hot_words=tokenizer.vocabulary[5:9], hot_word_bonus=1.0)
    search = PrefixBeamSearch(tokenizer, 16, values)
    tracemalloc.start()
    search.search(log_probs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_what_the_end_of_the_text_completes_counts():
    """A hot word needs no space behind it, and a part of one is worth nothing."""
    log_probs = np.log(np.full((3, 5), 1e-3))
    log_probs[[0, 1, 2], [4, 2, 0]] = np.log(0.99)
    for hot, bonus in ((("CA",), 5.0), (("CAB",), 0.0), (("C A",), 0.0), (("A",), 0.0)):
        values = WordValues(hot_words=hot, hot_word_bonus=5.0)
        found = {h.text: h.bonus for h in PrefixBeamSearch(LETTERS, 8, values).search(log_probs)}
        assert found["CA"] == bonus
