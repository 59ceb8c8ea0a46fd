
import pytest

from bigfoot.decoding.beam import PrefixBeamSearch
from bigfoot.decoding.choose import build_search, decoder_problems, describe_decoder, unused_options
from bigfoot.decoding.words import KenLM, read_lexicon
from bigfoot.errors import DataError, MissingExtraError
from bigfoot.evaluation.settings import EvaluateConfig
from bigfoot.install import install_hint
from bigfoot.text.ngram import train_ngram, write_arpa
from bigfoot.text.phonemes import build_phoneme_tokenizer
from bigfoot.text.tokenizers import CharTokenizer
from tests.refusals import names, refused

LETTERS = CharTokenizer(("<pad>", "|", *"ABC"))


@pytest.fixture(scope="module")
def arpa(tmp_path_factory):
    pytest.importorskip("flashlight.lib.text.decoder.kenlm")
    path = tmp_path_factory.mktemp("lm") / "model.arpa"
    write_arpa(train_ngram(["A B", "A CA", "ZEBRA B"], 2), path)
    return str(path)


def test_greedy_needs_no_search():
    assert build_search(EvaluateConfig(), LETTERS) is None
    assert describe_decoder(EvaluateConfig()) == "greedy"


def test_a_beam_with_nothing_beside():
    assert build_search(EvaluateConfig(decoder="beam", beam_size=5), LETTERS) == PrefixBeamSearch(LETTERS, 5)


def test_a_language_model_brings_the_words_that_the_tokenizer_can_write(arpa):
    config = EvaluateConfig(decoder="lm", lm_path=arpa, lm_weight=0.8, word_bonus=1.0)
    search = build_search(config, LETTERS)
    assert search.values.lexicon == {"A", "B", "CA"} and search.values.weight == 0.8
    assert names(describe_decoder(config), "beam 16", "model.arpa", "0.8", "bonus 1")


def test_a_lexicon_file_takes_the_place_of_the_model_s_words(arpa, tmp_path):
    (tmp_path / "words.txt").write_text("A a b\nCA\n\n")
    config = EvaluateConfig(decoder="lm", lm_path=arpa, lexicon=str(tmp_path / "words.txt"), hot_words=["B"])
    values = build_search(config, LETTERS).values
    assert values.lexicon == {"A", "CA"} and values.ended("B") == 0.0 and values.ended("AB") == -float("inf")
    assert (values.hot_words, values.hot_word_bonus) == (("B",), 3.0)
    assert "lexicon words.txt" in describe_decoder(config) and names(describe_decoder(config), "words B", 3)


def test_words_that_no_tokenizer_can_write_are_refused(arpa):
    config = EvaluateConfig(decoder="lm", lm_path=arpa)
    with refused(DataError, "4"):
        build_search(config, CharTokenizer(("<pad>", "|", *"abc")))
    with pytest.raises(DataError):
        build_search(config, build_phoneme_tokenizer(["A"]))
    assert build_search(EvaluateConfig(decoder="beam"), build_phoneme_tokenizer(["A"])) is not None


def test_files_that_cannot_be_used_are_refused(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"mmap lm http\x00\xff\xfe")
    (problem,) = decoder_problems(EvaluateConfig(decoder="lm", lm_path=str(tmp_path / "model.bin")))
    assert (problem.key, problem.code) == ("lm_path", "unreadable")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    for lexicon in (tmp_path / "nowhere.txt", tmp_path / "latin.txt"):
        with pytest.raises(DataError):
            read_lexicon(str(lexicon), None)
        (problem,) = decoder_problems(EvaluateConfig(decoder="beam", lexicon=str(lexicon)))
        assert (problem.key, problem.code) == ("lexicon", "unreadable")
    pytest.importorskip("flashlight.lib.text.decoder.kenlm")
    with pytest.raises(DataError):
        KenLM(tmp_path / "model.bin", ["A"])
    with refused(DataError, "train_ngram"):
        KenLM(tmp_path / "nowhere.arpa", ["A"])


def test_without_the_extra_it_is_named(monkeypatch, tmp_path):
    import sys

    monkeypatch.setitem(sys.modules, "flashlight.lib.text.decoder.kenlm", None)
    with refused(MissingExtraError, install_hint('lm')):
        KenLM(tmp_path / "model.arpa", ["A"])


def test_options_that_are_not_read_are_no_reason_to_stop():
    greedy = EvaluateConfig(lm_path="a.arpa", hot_words=["ONE"], hot_words_file="hot.txt", lexicon="words.txt")
    assert list(decoder_problems(greedy)) == []
    found = [(problem.key, problem.code) for problem in unused_options(greedy)]
    assert found == [(key, "not_read") for key in ("hot_words", "hot_words_file", "lexicon", "lm_path")]
    beam = EvaluateConfig(decoder="beam", lm_path="a.arpa", hot_words=["ONE"])
    assert [problem.key for problem in unused_options(beam)] == ["lm_path"]
    both = [(problem.key, problem.code) for problem in unused_options(beam, has_decoder=True)]
    assert both == [("hot_words", "not_read"), ("lm_path", "not_read")]
