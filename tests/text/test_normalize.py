import string

from hypothesis import given
from hypothesis import strategies as st

from bigfoot.text.normalize import drop_silent_marks, normalize_text

UPPER = frozenset(string.ascii_uppercase + "' ")
LOWER = frozenset(string.ascii_lowercase + "' ")


def test_moves_case_only_to_a_vocabulary_of_one_case():
    assert normalize_text("Hello World", UPPER) == "HELLO WORLD"
    assert normalize_text("Hello World", LOWER) == "hello world"
    assert normalize_text("Hello World", UPPER | LOWER) == "Hello World"
    assert normalize_text("Hello World", None) == "Hello World"


def test_apostrophes_spaces_and_compatibility_forms():
    assert normalize_text("don\u2019t \u00b4n\u00b4 \uff21\u3000\ufb01t\n", UPPER) == "DON'T 'N' A FIT"
    assert normalize_text("don\u2019t", {"\u2019", "D"}) == "DON\u2019T", "a vocabulary's own mark stays"


def test_drops_nothing_but_whitespace():
    assert normalize_text("3 dogs, 1 cat!", UPPER) == "3 DOGS, 1 CAT!"


def test_german_sharp_s_says_nothing_of_the_case():
    assert normalize_text("straße", UPPER | {"ß"}) == "STRAßE"
    assert normalize_text("straße", UPPER) == "STRASSE"


@given(st.text(), st.sampled_from([None, UPPER, LOWER, UPPER | LOWER]))
def test_is_idempotent_and_spaces_are_single(text, characters):
    once = normalize_text(text, characters)
    assert normalize_text(once, characters) == once
    assert once == " ".join(once.split())


def test_silent_marks_go_unless_a_vocabulary_has_them():
    text = "„Well-known“, isn't it…? Yes—no."
    assert drop_silent_marks(text).split() == ["Well-known", "isn't", "it", "Yes", "no"]
    assert drop_silent_marks(text, "ABC?.").split() == ["Well-known", "isn't", "it", "?", "Yes", "no."]
