"""Hot words as users write them: what works, what is refused, and that it is refused before the run."""

import itertools

import pytest

from bigfoot.config import find_problems, read_settings
from bigfoot.decoding.choose import build_search, describe_decoder
from bigfoot.decoding.hot_words import describe_hot_words, find_hot_words, hot_word_problems, list_hot_words
from bigfoot.decoding.settings import SearchConfig
from bigfoot.errors import DataError
from bigfoot.evaluation.settings import EvaluateConfig
from bigfoot.text.phonemes import build_phoneme_tokenizer
from bigfoot.text.phones import PhoneTokenizer
from bigfoot.text.pieces import PieceTokenizer
from bigfoot.text.sentencepieces import train_sentencepiece
from bigfoot.text.tokenizers import CharTokenizer
from tests.refusals import names

CAPITALS = CharTokenizer(("<pad>", "<unk>", "|", "'", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"))
SMALL = CharTokenizer(("<pad>", "|", *"abcdefghijklmnopqrstuvwxyz", "\u00e9", "-"))
BOTH_CASES = CharTokenizer(("<pad>", "|", *"abcdefgABCDEFG"))
APART = CharTokenizer(("<pad>", "|", *"acefghi", "\u0301"))
WHOLE_AND_APART = CharTokenizer(("<pad>", "|", *"acef", "\u0301", "\u00e9"))
TURKISH = CharTokenizer(("<pad>", "|", *"abi\u0131st"))
HAN = CharTokenizer(("<pad>", "<unk>", *"\u4e00\u4e8c\u4e09AB"))
PIECES = PieceTokenizer(("<pad>", "_QU", "A", "_A", "T", "'"), ("", " QU", "A", " A", "T", "'"), 0)

PHONES = PieceTokenizer(("<pad>", "s", "\u026a", "t"), ("", " s", " \u026a", " t"), 0)


def texts_of(words, tokenizer, **settings):
    return [list(word.texts) for word in find_hot_words(SearchConfig("beam", hot_words=words, **settings), tokenizer)]


@pytest.mark.parametrize(
    ("tokenizer", "given", "texts"),
    [
        (CAPITALS, "seven", ["SEVEN"]),
        (CAPITALS, " New\tYork  City ", ["NEW YORK CITY"]),
        (CAPITALS, "O\u2019Brien", ["O'BRIEN"]),
        (CAPITALS, "\uff33\uff49\uff58", ["SIX"]),
        (CAPITALS, "a", ["A"]),
        (SMALL, "Cafe\u0301", ["caf\u00e9"]),
        (SMALL, "WELL-KNOWN", ["well-known"]),
        (BOTH_CASES, "Face", ["Face"]),
        (APART, "CAF\u00c9", ["cafe\u0301"]),
        (WHOLE_AND_APART, "caf\u00e9", ["caf\u00e9", "cafe\u0301"]),
        (WHOLE_AND_APART, "cafe\u0301", ["cafe\u0301", "caf\u00e9"]),
        (TURKISH, "IS\u0130", ["\u0131si"]),
        (HAN, "\u4e00 \u4e8c", ["\u4e00\u4e8c"]),
        (PIECES, "aqua", None),
        (PIECES, "qua'at", ["QUA'AT"]),
        (PIECES, "at qu", ["AT QU"]),
        (PHONES, "s \u026a t", ["s \u026a t"]),
    ],
)
def test_hot_words_are_brought_to_the_vocabulary_s_characters(tokenizer, given, texts):
    if texts is None:  # QU stands at the start of words alone.
        assert [problem.code for problem in hot_word_problems(SearchConfig("beam", hot_words=[given]), tokenizer)]
        return
    assert texts_of([given], tokenizer) == [texts]


@pytest.mark.parametrize(
    ("tokenizer", "given", "missing"),
    [
        (CAPITALS, "SEVEN-11", {"'-'", "'1'"}),
        (CAPITALS, "Dr.", {"'.'"}),
        (CAPITALS, "na\u00efve", {"'\u00cf'"}),
        (CAPITALS, "<unk>", {"'<'", "'>'"}),
        (CAPITALS, "A|B", {"'|'"}),
        (CAPITALS, "\u200b", {"'\\u200b'"}),
        (HAN, "\u4e00\u56db", {"'\u56db'"}),
        (PIECES, "QUIT", {"'I'"}),
    ],
)
def test_what_the_vocabulary_lacks_is_named(tokenizer, given, missing):
    config = SearchConfig("beam", hot_words=["A", given])
    (problem,) = hot_word_problems(config, tokenizer)
    assert (problem.key, problem.code) == ("hot_words", "unusable")
    assert repr(given) in problem.message and all(each in problem.message for each in missing)
    with pytest.raises(DataError):
        build_search(config, tokenizer)


@pytest.mark.slow
def test_all_that_cannot_be_written_is_named_at_once():
    words = [f"A{digit}" for digit in range(10)] + ["OK"]
    (problem,) = hot_word_problems(SearchConfig("beam", hot_words=words), CAPITALS)
    assert all(repr(word) in problem.message for word in words[:10]) and repr("OK") not in problem.message
    many = [f"W{'A' * length}1" for length in range(1000)]
    (problem,) = hot_word_problems(SearchConfig("beam", hot_words=many), CAPITALS)
    assert "980" in problem.message and len(problem.message) < 2000


@pytest.mark.parametrize("empty", ["", "  ", "\t", "\u3000"])
def test_an_empty_entry_is_refused(empty):
    (problem,) = hot_word_problems(SearchConfig("beam", hot_words=["A", empty]), CAPITALS)
    assert problem.code == "unusable" and "2" in problem.message


def test_the_same_word_counts_once():
    assert texts_of(["seven", "SEVEN", " Seven ", "nine"], CAPITALS) == [["SEVEN"], ["NINE"]]


def test_greedy_decoding_reads_no_hot_words():
    assert not list(hot_word_problems(SearchConfig(hot_words=["1"], hot_words_file="/nowhere"), CAPITALS))
    assert not list(describe_hot_words(SearchConfig(hot_words=["1"]), CAPITALS))
    assert not list(hot_word_problems(SearchConfig("beam", hot_words=["1"]), None))


@pytest.mark.parametrize(("name", "value"), itertools.product(["hot_word_bonus"], [-1.0, float("nan"), float("inf")]))
def test_a_bonus_is_a_number_from_zero_on(name, value):
    (problem,) = find_problems(EvaluateConfig(**{name: value}))
    assert (problem.key, problem.code) == (name, "out_of_range")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"seven\nnew york\n", ["seven", "new york"]),
        (b"\xef\xbb\xbfseven\r\n\r\n# a comment\r\n  nine  \r\n", ["seven", "nine"]),
        (b"seven\rnine", ["seven", "nine"]),
        ("caf\u00e9\u2028x\n".encode(), ["caf\u00e9\u2028x"]),
    ],
)
def test_a_file_has_an_entry_a_line(tmp_path, content, expected):
    (tmp_path / "hot.txt").write_bytes(content)
    config = SearchConfig("beam", hot_words=["ONE"], hot_words_file=str(tmp_path / "hot.txt"))
    assert list_hot_words(config) == ["ONE", *expected]


@pytest.mark.parametrize(
    "content",
    [b"", b"\n# nothing\n", "seven".encode("utf-16"), b"caf\xe9", None],
    ids=["empty", "comment", "utf-16", "latin", "folder"],
)
def test_a_file_that_holds_none_is_refused(tmp_path, content):
    path = tmp_path / "hot.txt"
    path.mkdir() if content is None else path.write_bytes(content)
    (problem,) = hot_word_problems(SearchConfig("beam", hot_words_file=str(path)), CAPITALS)
    assert problem.code == "unusable" and str(path) in problem.message
    path = tmp_path / "missing.txt"
    (problem,) = hot_word_problems(SearchConfig("beam", hot_words_file=str(path)), CAPITALS)
    assert str(path) in problem.message


def test_pieces_of_words():
    tokenizer = train_sentencepiece(["SEVEN ELEVEN", "ELEVEN SEVEN NINE"], "bpe", 20)
    assert texts_of(["seven nine"], tokenizer) == [["SEVEN NINE"]]
    (problem,) = hot_word_problems(SearchConfig("beam", hot_words=["SIX"]), tokenizer)
    assert "'X'" in problem.message


def test_phonemes_are_pronounced():
    pytest.importorskip("espeakng_loader")
    tokenizer = build_phoneme_tokenizer(["SIX SEVEN"])
    assert texts_of(["six"], tokenizer) == [["s \u026a k s"]]
    assert build_search(SearchConfig("beam", hot_words=["seven"]), tokenizer) is not None
    (problem,) = hot_word_problems(SearchConfig("beam", hot_words=["SIX", "THREE"]), tokenizer)
    assert "'THREE'" in problem.message and "'SIX'" not in problem.message and "'\u03b8'" in problem.message
    # What is not pronounced at all cannot come out.
    assert list(hot_word_problems(SearchConfig("beam", hot_words=["!"]), tokenizer))
    phones = PhoneTokenizer(("<pad>", "a\u026a", "s", "t"), pronounces=False)
    assert texts_of(["t a\u026a"], phones) == [["t a\u026a"]]


@pytest.mark.parametrize("given", ["[NO,SEVEN]", "[SEVEN,on]", "[1e3]", "[a: b]", "[[A]]", "[null]", "SEVEN"])
def test_what_yaml_takes_for_something_else_is_no_hot_word(given):
    _, problems = read_settings(EvaluateConfig, None, [f"hot_words={given}"])
    assert [(problem.key, problem.code) for problem in problems] == [("hot_words", "wrong_type")]
    settings, problems = read_settings(EvaluateConfig, None, ["hot_words=['NO', \"on\", SEVEN, 11]"])
    assert (settings.hot_words, problems) == (["NO", "on", "SEVEN", "11"], [])


def test_reports_name_them():
    config = EvaluateConfig(decoder="beam", hot_words=["NEW YORK", "SEVEN"], hot_words_file="/tmp/names.txt")
    assert names(describe_decoder(config), "beam 16", "NEW YORK", "SEVEN", "names.txt", 3)
