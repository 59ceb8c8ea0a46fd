import gzip
import math
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.errors import DataError
from bigfoot.text.lines import read_lines
from bigfoot.text.ngram import BEGIN, END, UNKNOWN, read_arpa, read_arpa_words, train_ngram, write_arpa
from tests.refusals import refused

TEXTS = ["A B C", "A B B", "C A B", "B", "A B C A B", ""]
SENTENCES = st.lists(st.lists(st.sampled_from("ABCD"), max_size=6).map(" ".join), min_size=1, max_size=12)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(texts=SENTENCES.filter(lambda texts: any(texts)), order=st.integers(1, 4))
def test_for_every_context_probabilities_sum_to_one(texts, order):
    model = train_ngram(texts, order)
    vocabulary = [*model.words, END, UNKNOWN]
    contexts = {ngram[:-1] for ngram in model.probabilities} | {(BEGIN,), ("A", "D"), ("D", "D", "D"), ("Z",)}
    for context in contexts:
        total = sum(10 ** model.score_word(context, word) for word in vocabulary)
        assert total == pytest.approx(1, abs=1e-9), context


def test_a_bigram_by_hand():
    """Two sentences, A B and A C: counted and discounted on paper."""
    model = train_ngram(["A B", "A C"], 2)
    # Bigrams: <s> A twice, A B, A C, B </s>, C </s> once each: four once, one twice, so D = 4 / (4 + 2).
    d = 4 / 6
    # Different words before: A 1, B 1, C 1, </s> 2; three once, one twice: D = 3 / 5; 4 left orders of 5 counts.
    d1 = 3 / 5
    uniform = 1 / 5  # A, B, C, </s>, <unk>
    left1 = d1 * 4 / 5
    b = (1 - d1) / 5 + left1 * uniform
    assert 10 ** model.score_word(["A"], "B") == pytest.approx((1 - d) / 2 + d * 2 / 2 * b)
    assert 10 ** model.score_word([BEGIN], "A") == pytest.approx((2 - d) / 2 + d * 1 / 2 * b)
    assert 10 ** model.score_word(["A"], "Z") == pytest.approx(d * left1 * uniform)
    assert 10 ** model.score_word(["A"], "A") == pytest.approx(d * b)


def test_continuations_count_and_not_frequency():
    """FRANCISCO is frequent, but only ever behind SAN: elsewhere it is unlikely (Kneser-Ney's own example)."""
    texts = ["SAN FRANCISCO"] * 20 + ["THE GLASSES", "MY GLASSES", "HER GLASSES", "OLD MEN", "THE MEN"]
    model = train_ngram(texts, 2)
    assert model.score_word(["OLD"], "GLASSES") > model.score_word(["OLD"], "FRANCISCO")
    assert model.score_word(["SAN"], "FRANCISCO") > math.log10(0.8)


@pytest.mark.parametrize("order", [2, 3])
def test_kenlm_reads_the_file_and_gives_equal_scores(tmp_path, order):
    pytest.importorskip("flashlight.lib.text.decoder.kenlm")
    from bigfoot.decoding.words import KenLM

    model = train_ngram(TEXTS, order)
    write_arpa(model, tmp_path / "model.arpa")
    again = read_arpa(tmp_path / "model.arpa")
    assert again.order == order and again.words == model.words == sorted(read_arpa_words(tmp_path / "model.arpa"))
    theirs = KenLM(tmp_path / "model.arpa", [*model.words, "ZEBRA"])
    for text in [*TEXTS, "C C C A", "A ZEBRA B", "ZEBRA ZEBRA"]:
        state, score = theirs.start(), 0.0
        for word in text.split():
            state, more = theirs.score_word(state, word)
            score += more
        score += theirs.score_end(state)
        assert score / math.log(10) == pytest.approx(model.score(text), abs=1e-5)
        assert again.score(text) == pytest.approx(model.score(text), abs=1e-5)


def test_the_kenlm_package_agrees_where_it_is_installed(tmp_path):
    kenlm = pytest.importorskip("kenlm")
    model = train_ngram(TEXTS, 3)
    write_arpa(model, tmp_path / "model.arpa")
    theirs = kenlm.Model(str(tmp_path / "model.arpa"))
    for text in (*TEXTS, "A ZEBRA B"):
        assert theirs.score(text) == pytest.approx(model.score(text), abs=1e-4)


def test_likely_sentences_are_the_usual_ones():
    model = train_ngram(["ONE TWO THREE"] * 3 + ["THREE ONE"], 3)
    ranked = Counter({text: model.score(text) for text in ("ONE TWO THREE", "THREE TWO ONE", "TWO TWO TWO")})
    assert ranked.most_common(1)[0][0] == "ONE TWO THREE"


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(DataError):
        train_ngram(["", "  "], 2)
    with refused(DataError, "nowhere.arpa"):
        read_arpa_words(tmp_path / "nowhere.arpa")
    (tmp_path / "text.arpa").write_text("A B C\n")
    (tmp_path / "binary.arpa").write_bytes(b"mmap lm\xff\xfe\x00")
    for name in ("text", "binary"):
        with refused(DataError, "ARPA"):
            read_arpa_words(tmp_path / f"{name}.arpa")


def test_lines_of_text_files(tmp_path):
    (tmp_path / "plain.txt").write_text("ONE TWO\n\n  THREE\n", encoding="utf-8")
    with gzip.open(tmp_path / "packed.txt.gz", "wt", encoding="utf-8") as file:
        file.write("103-1240-0000 CHAPTER ONE\n103-1240-0001 TWO\n")
    assert list(read_lines(tmp_path / "plain.txt")) == ["ONE TWO", "THREE"]
    assert list(read_lines(tmp_path / "packed.txt.gz")) == ["CHAPTER ONE", "TWO"]
    (tmp_path / "cuts.jsonl").write_text('{"id": "a", "supervisions": [{"text": "SIX"}]}\n')
    assert list(read_lines(tmp_path / "cuts.jsonl")) == ["SIX"]
    (tmp_path / "other.jsonl").write_text('{"id": "a"}\n')
    with pytest.raises(DataError):
        list(read_lines(tmp_path / "other.jsonl"))
    with pytest.raises(DataError):
        list(read_lines(Path("nowhere.txt")))
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00")
    with refused(DataError, "UTF-8"):
        list(read_lines(tmp_path / "bad.txt"))
