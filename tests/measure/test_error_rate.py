"""Error rates against hand counts, against jiwer, and against a bootstrap written as a plain loop."""

from __future__ import annotations

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.measure import error_rate
from bigfoot.measure.error_rate import ErrorCounts, align_words, compare_paired, count_errors, measure_error_rate
from tests.refusals import refused


def noisy_copy(texts: list[str], rate: float, rng: np.random.Generator) -> list[str]:
    """Copies in which words are replaced, left out or doubled."""
    copies = []
    for text in texts:
        words: list[str] = []
        for word in text.split():
            kind = rng.choice(["keep", "other", "drop", "double"], p=[1 - rate, rate / 3, rate / 3, rate / 3])
            words += {"keep": [word], "other": ["oddly"], "drop": [], "double": [word, word]}[str(kind)]
        copies.append(" ".join(words))
    return copies


def spoken_texts(count: int, rng: np.random.Generator) -> list[str]:
    return [" ".join(rng.choice(["one", "two", "three", "four"], size=rng.integers(1, 8))) for _ in range(count)]


def test_hand_counts() -> None:
    rate = measure_error_rate(["one two three", "four"], ["one tow", "four five"], ["s", "t"])
    assert rate.words == ErrorCounts(hits=2, substitutions=1, deletions=1, insertions=1)
    assert (rate.wer, rate.num_words, rate.num_utterances) == (3 / 4, 4, 2)
    # "one two three" to "one tow": drop a w, keep the o, and a w for one of the 6 of " three"; " five" comes on top.
    assert rate.characters == ErrorCounts(hits=10, substitutions=1, deletions=6, insertions=5)
    assert rate.characters.reference_length == 17
    assert rate.cer == 12 / 17


def test_empty_reference_counts_insertions() -> None:
    rate = measure_error_rate(["", "one two", "  "], ["three four", "one two", ""], ["s", "s", "t"])
    assert rate.words == ErrorCounts(hits=2, substitutions=0, deletions=0, insertions=2)
    assert rate.wer == 1.0
    assert rate.num_utterances == 3


@pytest.mark.parametrize(("references", "hypotheses"), [([], []), ([""], ["one"]), (["", ""], ["one", ""])])
def test_no_reference_words_means_no_rate(references: list[str], hypotheses: list[str]) -> None:
    rate = measure_error_rate(references, hypotheses, ["s"] * len(references))
    assert rate.wer is rate.wer_low is rate.wer_high is rate.cer is None
    paired = compare_paired(references, hypotheses, hypotheses, ["s"] * len(references))
    assert paired.difference is paired.low is paired.share_not_worse is None


def test_one_unit_has_a_rate_but_no_interval() -> None:
    rate = measure_error_rate(["one two"], ["one"], ["s"])
    assert rate.wer == 0.5
    assert rate.wer_low is rate.wer_high is None


def test_two_units_have_an_interval_and_a_single_word_counts() -> None:
    """Of two draws: 0 errors in 2 words, 1 in 1, or no words at all."""
    rate = measure_error_rate(["one", ""], ["one", "extra"], ["s", "t"])
    assert (rate.wer_low, rate.wer_high) == (0.0, 1.0)


def test_whitespace_does_not_count() -> None:
    rate = measure_error_rate([" one\ttwo "], ["one  two\n"], ["s"])
    assert rate.wer == rate.cer == 0.0


def test_agrees_with_jiwer_on_the_whole() -> None:
    rng = np.random.default_rng(1)
    references = spoken_texts(80, rng)
    hypotheses = noisy_copy(references, 0.3, rng)
    rate = measure_error_rate(references, hypotheses, ["s"] * 80)
    output = jiwer.process_words(references, hypotheses)
    assert rate.words == ErrorCounts(output.hits, output.substitutions, output.deletions, output.insertions)
    assert rate.wer == pytest.approx(jiwer.wer(references, hypotheses))
    assert rate.cer == pytest.approx(jiwer.cer(references, hypotheses))


@pytest.mark.parametrize("draws_at_once", [1_000_000, 140, 7])
@pytest.mark.parametrize(("num_speakers", "unit"), [(19, "utterance"), (20, "speaker")])
def test_agrees_with_a_plain_loop(
    num_speakers: int, unit: str, draws_at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(error_rate, "_DRAWS_AT_ONCE", draws_at_once)
    rng = np.random.default_rng(2)
    references = spoken_texts(60, rng)
    a, b = noisy_copy(references, 0.1, rng), noisy_copy(references, 0.3, rng)
    speakers = [f"s{i % num_speakers:02d}" for i in range(60)]
    labels = speakers if unit == "speaker" else [f"u{i:02d}" for i in range(60)]
    groups = [[i for i in range(60) if labels[i] == name] for name in sorted(set(labels))]
    draws, rates_a, rates_b = np.random.default_rng(5), [], []
    for _ in range(50):
        chosen = [i for group in draws.integers(len(groups), size=len(groups)) for i in groups[group]]
        spoken = [references[i] for i in chosen]
        rates_a.append(jiwer.wer(spoken, [a[i] for i in chosen]))
        rates_b.append(jiwer.wer(spoken, [b[i] for i in chosen]))

    rate = measure_error_rate(references, a, speakers, samples=50, seed=5)
    assert rate.bootstrap_unit == unit
    assert [rate.wer_low, rate.wer_high] == pytest.approx(list(np.quantile(rates_a, [0.025, 0.975])))
    paired = compare_paired(references, a, b, speakers, samples=50, seed=5)
    differences = np.array(rates_b) - np.array(rates_a)
    assert [paired.low, paired.high] == pytest.approx(list(np.quantile(differences, [0.025, 0.975])))
    assert paired.share_not_worse == pytest.approx(np.mean(differences <= 0))
    assert paired.difference == pytest.approx(jiwer.wer(references, b) - jiwer.wer(references, a))


@pytest.mark.slow
def test_interval_covers_the_true_rate() -> None:
    rng = np.random.default_rng(3)
    references = ["a " * 10] * 50
    covered = 0
    for trial in range(150):
        wrong = rng.random((50, 10)) < 0.2
        hypotheses = [" ".join("b" if flag else "a" for flag in row) for row in wrong]
        rate = measure_error_rate(references, hypotheses, ["s"] * 50, samples=200, seed=trial)
        assert rate.wer_low is not None and rate.wer_high is not None
        covered += rate.wer_low <= 0.2 <= rate.wer_high
    assert 0.88 <= covered / 150 <= 0.99


def test_speakers_widen_the_interval() -> None:
    # Half the speakers err in every word, half in none: utterances look many, but there are only 20 answers.
    references = ["one two"] * 400
    speakers = [f"s{i % 20}" for i in range(400)]
    hypotheses = ["one two" if i % 20 < 10 else "no no" for i in range(400)]
    by_speaker = measure_error_rate(references, hypotheses, speakers)
    by_utterance = measure_error_rate(references, hypotheses, ["s"] * 400)
    assert by_speaker.wer_high - by_speaker.wer_low > 2 * (by_utterance.wer_high - by_utterance.wer_low)  # type: ignore[operator]


def test_pairing_narrows_the_interval() -> None:
    rng = np.random.default_rng(4)
    references = spoken_texts(100, rng)
    a = noisy_copy(references, 0.4, rng)
    b = list(a)
    b[:2] = ["oddly"] * 2
    speakers = ["s"] * 100
    paired = compare_paired(references, a, b, speakers)
    rate = measure_error_rate(references, a, speakers)
    assert paired.high - paired.low < (rate.wer_high - rate.wer_low) / 2  # type: ignore[operator]
    swapped = compare_paired(references, b, a, speakers)
    assert swapped.difference == -paired.difference  # type: ignore[operator]
    assert [swapped.low, swapped.high] == pytest.approx([-paired.high, -paired.low])  # type: ignore[operator]


def test_seed_decides() -> None:
    rng = np.random.default_rng(6)
    references = spoken_texts(40, rng)
    hypotheses = noisy_copy(references, 0.3, rng)
    speakers = ["s"] * 40
    first = measure_error_rate(references, hypotheses, speakers, seed=1)
    assert first == measure_error_rate(references, hypotheses, speakers, seed=1)
    assert first != measure_error_rate(references, hypotheses, speakers, seed=2)
    unseeded = measure_error_rate(references, hypotheses, speakers)
    assert unseeded == measure_error_rate(references, hypotheses, speakers, samples=1000, seed=0)
    assert compare_paired(references, references, hypotheses, speakers) == compare_paired(
        references, references, hypotheses, speakers, samples=1000, seed=0
    )


def test_lengths_and_samples_are_checked() -> None:
    with refused(ValueError, "2", "1"):
        measure_error_rate(["a", "b"], ["a"], ["s", "s"])
    with refused(ValueError, "1", "hypotheses_a", "2", "hypotheses_b"):
        compare_paired(["a"], ["a"], ["a", "b"], ["s"])
    with refused(ValueError, "0"):
        measure_error_rate(["a"], ["a"], ["s"], samples=0)


TEXTS = st.lists(st.sampled_from(["a", "b", "cc", "d e"]), max_size=6).map(" ".join)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(TEXTS, TEXTS, st.sampled_from("xyz")), max_size=12))
def test_properties(utterances: list[tuple[str, str, str]]) -> None:
    references, hypotheses, speakers = ([u[k] for u in utterances] for k in range(3))
    rate = measure_error_rate(references, hypotheses, speakers, samples=20)
    words = rate.words
    assert words.reference_length == sum(len(text.split()) for text in references) == rate.num_words
    assert words.hits + words.substitutions + words.insertions == sum(len(text.split()) for text in hypotheses)
    assert (rate.wer is None) == (rate.num_words == 0)
    if rate.wer_low is not None and rate.wer_high is not None:
        assert 0 <= rate.wer_low <= rate.wer_high
    itself = measure_error_rate(references, references, speakers, samples=20)
    assert itself.words.errors == itself.characters.errors == 0
    same = compare_paired(references, hypotheses, hypotheses, speakers, samples=20)
    assert same.difference in (0.0, None) and same.share_not_worse in (1.0, None)


def test_alignment_by_hand() -> None:
    aligned = align_words("one  two six three four nine", "one too six four nine five")
    assert [(word.kind, word.reference, word.hypothesis) for word in aligned] == [
        ("hit", "one", "one"), ("substitution", "two", "too"), ("hit", "six", "six"), ("deletion", "three", ""),
        ("hit", "four", "four"), ("hit", "nine", "nine"), ("insertion", "", "five"),
    ]  # fmt: skip
    assert [word.kind for word in align_words("", "one two")] == ["insertion"] * 2
    assert [word.kind for word in align_words("one two", " ")] == ["deletion"] * 2
    assert align_words("", "") == []


FEW_WORDS = st.lists(st.sampled_from(["one", "two", "three"]), max_size=6).map(" ".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(FEW_WORDS, FEW_WORDS), max_size=4))
def test_alignment_keeps_every_word_and_agrees_with_the_counts(pairs: list[tuple[str, str]]) -> None:
    counted = count_errors([reference for reference, _ in pairs], [hypothesis for _, hypothesis in pairs])
    for (reference, hypothesis), counts in zip(pairs, counted, strict=True):
        aligned = align_words(reference, hypothesis)
        assert [word.reference for word in aligned if word.kind != "insertion"] == reference.split()
        assert [word.hypothesis for word in aligned if word.kind != "deletion"] == hypothesis.split()
        assert all((word.kind == "hit") == (word.reference == word.hypothesis) for word in aligned)
        kinds = [word.kind for word in aligned]
        assert counts == ErrorCounts(*(kinds.count(k) for k in ("hit", "substitution", "deletion", "insertion")))
