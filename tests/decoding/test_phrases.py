"""The automaton of hot words against plain string matching."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.decoding.phrases import START, PhraseAutomaton

SPACED = ["", " ", "A", "B", " A", "AB", " BA", "\u3000", "中", "A B"]
UNSPACED = ["", "A", "B", "AB", "BAB", "中"]


def count(text, phrase, boundaries):
    """Occurrences of a phrase in a text, by going through all places."""
    text = f" {text} " if boundaries else text
    before, behind = (" " if boundaries and edge != "中" else "" for edge in (phrase[0], phrase[-1]))
    wanted = before + phrase + behind
    return sum(text.startswith(wanted, place) for place in range(len(text)))


def read(pieces, tokens):
    return " ".join("".join(pieces[token] for token in tokens).split())


def words(alphabet):
    return st.text(alphabet, min_size=1, max_size=5).map(lambda text: " ".join(text.split())).filter(bool)


@pytest.mark.slow
@pytest.mark.parametrize(("pieces", "alphabet"), [(SPACED, "AB中 "), (UNSPACED, "AB中")])
@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_every_occurrence_brings_its_bonus_once(pieces, alphabet, data):
    bonuses = st.floats(0, 9).map(lambda bonus: round(bonus, 2))
    phrases = data.draw(st.dictionaries(words(alphabet), bonuses, min_size=1, max_size=6))
    tokens = data.draw(st.lists(st.integers(0, len(pieces) - 1), max_size=12))
    automaton, state, gained = PhraseAutomaton(phrases, pieces), START, 0.0
    for token in tokens:
        behind, more = automaton.append(state, token)
        row = np.broadcast_to(automaton.scores_of_longer(state), len(pieces))
        # A beam ranks by the row, and what it gains is what was ranked.
        assert row[token] == pytest.approx(more + automaton.promise(behind), abs=1e-9)
        state, gained = behind, gained + more
    text, boundaries = read(pieces, tokens), " " in alphabet
    expected = sum(bonus * count(text, phrase, boundaries) for phrase, bonus in phrases.items())
    assert gained + automaton.finish(state) == pytest.approx(expected, abs=1e-9)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_row_has_what_every_single_token_would_add(data):
    phrases = data.draw(st.dictionaries(words("AB中 "), st.sampled_from([1.0, 2.5]), min_size=1, max_size=8))
    automaton = PhraseAutomaton(phrases, SPACED)
    state, _ = automaton.advance(START, data.draw(st.text("AB中 ", max_size=8)))
    expected = [
        gained + automaton.promise(after) for after, gained in (automaton.append(state, t) for t in range(10))
    ]
    np.testing.assert_allclose(automaton.scores_of_longer(state), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("phrases", "text", "promise"),
    [
        ({"SEVEN": 5.0}, "S", 1.0),
        ({"SEVEN": 5.0}, "SO", 0.0),
        ({"SEVEN": 5.0}, "SEVENTY", 0.0),
        ({"SEVEN": 9.0, "SEVENTEEN": 9.0}, "SEVENT", 6.0),
        ({"SEVEN": 9.0, "SEVENTEEN": 9.0}, "SEVEN", 9.0),
        ({"NEW YORK": 8.0}, "OLD NEW", 3.0),
        ({"NEW YORK": 8.0}, "ANEW", 0.0),
        ({"NEW YORK": 8.0}, "NEW  Y", 5.0),
        ({"A B C": 5.0, "B D": 3.0}, "A B ", 4.0),
        ({"A B C": 5.0, "B D": 3.0}, "A B D", 3.0),
    ],
)
def test_a_part_promises_its_part_of_the_bonus(phrases, text, promise):
    letters = ["", " ", *"ABCDEKNORSTVWY"]
    automaton = PhraseAutomaton(phrases, letters)
    state, _ = automaton.advance(START, text)
    assert automaton.promise(state) == pytest.approx(promise)


def test_rows_of_many_states_do_not_fill_the_memory(monkeypatch):
    monkeypatch.setattr("bigfoot.decoding.phrases._MOST_NUMBERS", 30)
    letters = ["", " ", *"ABCDEFGH"]
    automaton = PhraseAutomaton({"ABCDEFGH": 8.0}, letters)
    states = [automaton.advance(START, "ABCDEFGH"[:length])[0] for length in range(8)]
    rows = [automaton.scores_of_longer(state).copy() for state in states]
    assert len(automaton._rows) <= 3
    for length, (state, row) in enumerate(zip(states, rows, strict=True)):
        assert row[2 + length] == pytest.approx(length + 1)
        np.testing.assert_array_equal(automaton.scores_of_longer(state), row)
