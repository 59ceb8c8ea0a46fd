"""Turn a text into the labels that are aligned: words, wildcards for what a vocabulary lacks, and open gaps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from bigfoot.errors import DataError
from bigfoot.text.characters import CharTokenizer
from bigfoot.text.normalize import drop_silent_marks, normalize_text
from bigfoot.text.phonemes import pronounce
from bigfoot.text.pieces import PieceTokenizer
from bigfoot.text.tokenizer import Tokenizer
from bigfoot.text.words import PlacedText, group_words

ANY = -1
"""Label of a wildcard: whatever the model transcribes there."""
STAR = "*"
"""Stands in a text for speech that is not transcribed."""

Encoded = list[tuple[int, int]]
"""Labels, each with the number of characters that it writes."""
Encode = Callable[[str], Encoded]


@dataclass(frozen=True)
class PlannedWord:
    """A word of a text and its labels.

    Args:
        text: as it stands in the text.
        first: index of its first label.
        last: index behind its last label; words of one token share it.
        joined: no space stands between it and the word before.
    """

    text: str
    first: int
    last: int
    joined: bool = False


@dataclass(frozen=True)
class TextPlan:
    """What is aligned.

    Args:
        words: in order; marks that are not pronounced and stand alone are none.
        labels: ids, ``ANY`` for a wildcard.
        open_gaps: indices of labels before which untranscribed speech may stand; the number of labels for the end.
        unknown: words with characters, or phonemes, that the vocabulary lacks.
        unit: what a label is: ``characters``, ``phonemes`` or ``pieces``.
    """

    words: Sequence[PlannedWord]
    labels: Sequence[int]
    open_gaps: frozenset[int]
    unknown: Sequence[str]
    unit: str


class TextPlanner:
    """Plans texts for a vocabulary.

    Args:
        tokenizer: of the model.
        voice: espeak-ng voice that pronounces the text for a vocabulary of phonemes; by default the tokenizer's own. An
            exported file has none: its text is phonemes with spaces between.
        open_everywhere: untranscribed speech may stand between any two words, and at both ends.

    Examples:
        >>> planner = TextPlanner(CharTokenizer(("<pad>", "|", "O", "N", "E")))
        >>> plan = planner.plan("One, * 1984!")
        >>> plan.labels, [word.text for word in plan.words], plan.unknown, sorted(plan.open_gaps)
        ([2, 3, 4, 1, -1], ['One,', '1984!'], ['1984!'], [3])
    """

    def __init__(self, tokenizer: Tokenizer, voice: str | None = None, *, open_everywhere: bool = False) -> None:
        self._tokenizer, self._open_everywhere = tokenizer, open_everywhere
        self.unit, self._encode = _choose_encoder(tokenizer, voice)
        spaces = [index for index, piece in enumerate(tokenizer.pieces) if piece == " "]
        self._space = spaces[0] if spaces and self.unit == "characters" else None
        self._has_star = STAR in tokenizer.pieces
        # An exported file of pieces knows no characters but theirs.
        self._characters = tokenizer.characters
        if self._characters is None and self.unit != "phonemes":
            self._characters = frozenset("".join(tokenizer.pieces))

    def plan(self, text: str) -> TextPlan:
        """Plan a text.

        Args:
            text: of a recording, in any case, with any punctuation; a ``*`` between spaces is untranscribed speech.

        Raises:
            DataError: nothing of it can be aligned.
            MissingExtraError: it is to be pronounced, and espeak-ng is not installed.
        """
        words: list[PlannedWord] = []
        labels: list[int] = []
        unknown: list[str] = []
        gaps: set[int] = set()
        for run in text.split():
            if run == STAR and not self._has_star:
                gaps.add(len(labels))
                continue
            parts = self._split(run)
            encoded = self._encode_parts(parts)
            if not encoded:
                continue
            if labels and self._space is not None:
                labels.append(self._space)
            if self._open_everywhere:
                gaps.add(len(labels))
            words += _place(parts, encoded, len(labels))
            labels += [label for label, _ in encoded]
            unknown += [run] if any(label == ANY for label, _ in encoded) else []
        gaps |= {len(labels)} if self._open_everywhere else set()
        if all(label in (ANY, self._space) for label in labels):
            raise DataError(_nothing_to_align(text, self.unit))
        return TextPlan(words, labels, frozenset(gaps), unknown, self.unit)

    def _split(self, run: str) -> list[tuple[PlacedText, str]]:
        """Words of a run without spaces, each as the vocabulary writes it."""
        parts = [PlacedText(run, 0, len(run))]
        if self.unit != "phonemes":
            parts = group_words(PlacedText(character, place, place + 1) for place, character in enumerate(run))
        return [(part, self._write(part.text)) for part in parts]

    def _write(self, word: str) -> str:
        if self.unit == "phonemes" and f" {word}" in self._tokenizer.pieces:
            return word
        plain = drop_silent_marks(normalize_text(word, self._characters), self._characters)
        return ("" if self._space is None and self.unit == "characters" else " ").join(plain.split())

    def _encode_parts(self, parts: Sequence[tuple[PlacedText, str]]) -> Encoded:
        written = "".join(written for _, written in parts)
        return self._encode(written) if written else []


def _place(parts: Sequence[tuple[PlacedText, str]], encoded: Encoded, first: int) -> Iterator[PlannedWord]:
    """Words of a run with their labels; a part without a label of its own is left out."""
    if len(parts) == 1:
        yield PlannedWord(parts[0][0].text, first, first + len(encoded))
        return
    bounds, place, joined = [0], 0, False
    for _, count in encoded:
        bounds.append(bounds[-1] + count)
    for part, written in parts:
        begin, place = place, place + len(written)
        own = [n for n in range(len(encoded)) if bounds[n] < place and bounds[n + 1] > begin]
        if own:
            yield PlannedWord(part.text, first + own[0], first + own[-1] + 1, joined)
            joined = True


def needs_voice(tokenizer: Tokenizer) -> bool:
    """Return whether a voice has to pronounce a text before it becomes labels: whether these are phonemes.

    Args:
        tokenizer: of the head.

    Examples:
        >>> needs_voice(CharTokenizer(("<pad>", "|", "A")))
        False
    """
    if tokenizer.unit == "phoneme":
        return True
    return all(piece[0] == " " and len(piece) > 1 for piece in tokenizer.pieces if piece)


def _choose_encoder(tokenizer: Tokenizer, voice: str | None) -> tuple[str, Encode]:
    """Return what a label of a tokenizer is, and how a run of a text becomes labels."""
    if needs_voice(tokenizer):
        return "phonemes", _encode_phonemes(tokenizer, voice)
    if voice is not None:
        raise DataError("the model writes letters, which no voice has to pronounce; leave --voice out")
    pieces = [piece for piece in tokenizer.pieces if piece]
    if isinstance(tokenizer, CharTokenizer):
        known = {character: tokenizer.encode(character)[0] for character in tokenizer.characters}
        return "characters", _encode_characters(known)
    if all(len(piece) == 1 for piece in pieces):
        return "characters", _encode_characters({piece: tokenizer.pieces.index(piece) for piece in pieces})
    if isinstance(tokenizer, PieceTokenizer):
        return "pieces", _encode_fewest(tokenizer)
    return "pieces", _encode_by_tokenizer(tokenizer)


def _encode_characters(labels: Mapping[str, int]) -> Encode:
    def encode(run: str) -> Encoded:
        found: Encoded = []
        for character in run:
            label = labels.get(character, ANY)
            if label == ANY and found and found[-1][0] == ANY:
                found[-1] = ANY, found[-1][1] + 1
            else:
                found.append((label, 1))
        return found

    return encode


def _encode_by_tokenizer(tokenizer: Tokenizer) -> Encode:
    def encode(run: str) -> Encoded:
        try:
            return [(label, len(tokenizer.pieces[label].strip())) for label in tokenizer.encode(run)]
        except ValueError:
            return [(ANY, len(run))]

    return encode


def _encode_fewest(tokenizer: Tokenizer) -> Encode:
    """Fewest pieces: an exported file holds its pieces, and not how its tokenizer chooses among them."""
    labels = {piece: index for index, piece in reversed([*enumerate(tokenizer.pieces)]) if piece}
    longest, space = max(map(len, labels)), any(piece[0] == " " and len(piece) > 1 for piece in labels)

    def encode(run: str) -> Encoded:
        text = f" {run}" if space else run
        # Number of pieces up to each place, and where the last of them starts; of equals the longest last piece.
        best: list[tuple[int, int]] = [(0, 0)]
        for end in range(1, len(text) + 1):
            starts = range(max(0, end - longest), end)
            possible = [(best[n][0] + 1, n) for n in starts if text[n:end] in labels and best[n][0] < len(text)]
            best.append(min(possible, default=(len(text), 0)))
        found, end = list[tuple[int, int]](), len(text)
        while end:
            begin = best[end][1]
            if text[begin:end] not in labels:
                return [(ANY, len(run))]
            found.append((labels[text[begin:end]], len(text[begin:end].strip())))
            end = begin
        return found[::-1]

    return encode


def _encode_phonemes(tokenizer: Tokenizer, voice: str | None) -> Encode:
    labels = {piece.strip(): index for index, piece in enumerate(tokenizer.pieces) if piece.strip()}
    stress = any("\u02c8" in phoneme for phoneme in labels)
    reads_only = isinstance(tokenizer, PieceTokenizer)

    def encode(run: str) -> Encoded:
        if voice is None and reads_only:
            return [(labels.get(run, ANY), 0)]
        if voice is None:
            return _encode_by_tokenizer(tokenizer)(run)
        return [(labels.get(phoneme, ANY), 0) for phoneme in pronounce(run, voice, stress)]

    return encode


def _nothing_to_align(text: str, unit: str) -> str:
    if not text.split():
        return "its text is empty"
    cure = "; write numbers out in words" if any(character.isdigit() for character in text) else ""
    if unit == "phonemes":
        cure = "; write phonemes with spaces between, or name the voice that pronounces the text (--voice)"
    return f"the model's vocabulary can write nothing of its text {text[:40]!r}{cure}"
