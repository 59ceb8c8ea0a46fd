"""Small n-gram language models: interpolated Kneser-Ney out of lines of text, in ARPA files."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from bigfoot.errors import DataError
from bigfoot.storage.ownership import OWN_ONLY, MayReplace
from bigfoot.storage.replace import replacing

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
Ngram: TypeAlias = tuple[str, ...]

# What an ARPA file writes for log10 of nothing.
_NEVER = -99.0


@dataclass(frozen=True)
class NgramModel:
    """A back-off model (Katz, 1987, in form): what an ARPA file holds.

    Args:
        order: longest n-gram.
        probabilities: log10 of the last word's probability behind the others, by n-gram.
        backoffs: log10 of what a context's unseen words are multiplied with; absent ones are 0.

    Examples:
        >>> model = train_ngram(["ONE TWO", "ONE THREE"], order=2)
        >>> model.score("ONE TWO") > model.score("TWO ONE")
        True
    """

    order: int
    probabilities: dict[Ngram, float]
    backoffs: dict[Ngram, float]

    @property
    def words(self) -> list[str]:
        """The vocabulary, without the marks of start, end and unknown."""
        return sorted(ngram[0] for ngram in self.probabilities if len(ngram) == 1 and ngram[0] not in _MARKS)

    def score_word(self, context: Sequence[str], word: str) -> float:
        """Compute the log10 probability of a word.

        Args:
            context: words before it, ``<s>`` first at the start of a sentence; only the last ones count.
            word: or ``</s>``; outside the vocabulary it is ``<unk>``.
        """
        known = word if (word,) in self.probabilities else UNKNOWN
        history = tuple(w if (w,) in self.probabilities else UNKNOWN for w in context)
        history = history[max(0, len(history) - self.order + 1) :]
        backoff, ngram = 0.0, (*history, known)
        while ngram not in self.probabilities:
            if len(ngram) == 1:
                return _NEVER
            backoff += self.backoffs.get(ngram[:-1], 0.0)
            ngram = ngram[1:]
        return backoff + self.probabilities[ngram]

    def score(self, text: str) -> float:
        """Compute the log10 probability of a sentence, its end among it."""
        words = [BEGIN, *text.split(), END]
        return sum(self.score_word(words[:index], words[index]) for index in range(1, len(words)))


_MARKS = (BEGIN, END, UNKNOWN)


def train_ngram(texts: Iterable[str], order: int) -> NgramModel:
    """Estimate interpolated Kneser-Ney with one discount an order (Chen and Goodman, 1999, section 4.1.6).

    The highest order counts n-grams, lower ones the different words before them; n-grams that start a sentence, which
    nothing can stand before, are counted at every order. What discounts take is given to the order below, at last to a
    uniform distribution, ``<unk>`` among it.

    Args:
        texts: a sentence each, words with spaces between.
        order: longest n-gram, 1 or more.

    Returns:
        The model; for every context its probabilities sum to 1.

    Raises:
        DataError: there are no words.
    """
    counts = _count(texts, order)
    if len(counts[0]) <= 1:
        raise DataError("no words to learn a language model from")
    probabilities: dict[Ngram, float] = {}
    backoffs: dict[Ngram, float] = {}
    lower: dict[Ngram, float] = {}
    for size, found in enumerate(counts, start=1):
        discount = _discount(found)
        totals, kinds = _sum_by_context(found)
        linear: dict[Ngram, float] = {}
        left = {context: discount * kinds[context] / total for context, total in totals.items()}
        uniform = 1 / (len(counts[0]) + 1)  # all words and </s>, and <unk>
        for ngram, count in found.items():
            below = lower[ngram[1:]] if size > 1 else uniform
            linear[ngram] = (count - discount) / totals[ngram[:-1]] + left[ngram[:-1]] * below
        if size == 1:
            linear[UNKNOWN,] = left[()] * uniform
        probabilities |= {ngram: math.log10(value) for ngram, value in linear.items()}
        backoffs |= {context: math.log10(value) for context, value in left.items() if context}
        lower = linear
    probabilities[BEGIN,] = _NEVER
    return NgramModel(order, probabilities, backoffs)


def _count(texts: Iterable[str], order: int) -> list[Counter[Ngram]]:
    """By size from 1: raw counts of the longest n-grams and of those that start a sentence, else words before."""
    raw: list[Counter[Ngram]] = [Counter() for _ in range(order)]
    for text in texts:
        words = (BEGIN, *text.split(), END)
        for size in range(1, order + 1):
            raw[size - 1].update(words[index : index + size] for index in range(len(words) - size + 1))
    found = [Counter[Ngram]() for _ in range(order)]
    for size in range(1, order):
        found[size - 1].update(ngram[1:] for ngram in raw[size])
        found[size - 1].update({ngram: n for ngram, n in raw[size - 1].items() if ngram[0] == BEGIN})
    found[-1] = raw[-1]
    # The start of a sentence is never predicted.
    found[0].pop((BEGIN,), None)
    return found


def _discount(counts: Counter[Ngram]) -> float:
    """Ney's estimate from the n-grams that were seen once and twice; a half where a text has no such thing."""
    once, twice = (sum(count == times for count in counts.values()) for times in (1, 2))
    return once / (once + 2 * twice) if once and twice else 0.5


def _sum_by_context(counts: Counter[Ngram]) -> tuple[dict[Ngram, int], dict[Ngram, int]]:
    totals: defaultdict[Ngram, int] = defaultdict(int)
    kinds: defaultdict[Ngram, int] = defaultdict(int)
    for ngram, count in counts.items():
        totals[ngram[:-1]] += count
        kinds[ngram[:-1]] += 1
    return totals, kinds


def write_arpa(model: NgramModel, path: str | Path, may: MayReplace = OWN_ONLY) -> None:
    """Write a model as KenLM, SRILM and others read it.

    Args:
        model: what to write.
        path: of the file, by custom ending in ``.arpa``.
        may: what may be replaced, besides what bigfoot wrote.
    """
    by_size = [[n for n in model.probabilities if len(n) == size] for size in range(1, model.order + 1)]
    with replacing(path, may=may) as beside, beside.open("w", encoding="utf-8") as file:
        print("\\data\\", *(f"ngram {size}={len(found)}" for size, found in enumerate(by_size, 1)), sep="\n", file=file)
        for size, found in enumerate(by_size, 1):
            print(f"\n\\{size}-grams:", file=file)
            for ngram in sorted(found):
                fields = [f"{model.probabilities[ngram]:.7f}", " ".join(ngram)]
                if ngram in model.backoffs:
                    fields.append(f"{model.backoffs[ngram]:.7f}")
                print(*fields, sep="\t", file=file)
        print("\n\\end\\", file=file)


def read_arpa(path: str | Path) -> NgramModel:
    """Read a model from an ARPA file.

    Args:
        path: of the file.

    Raises:
        DataError: it is missing, or no ARPA file.
    """
    probabilities: dict[Ngram, float] = {}
    backoffs: dict[Ngram, float] = {}
    order = 0
    for size, fields in _arpa_lines(Path(path)):
        ngram = tuple(fields[1 : size + 1])
        probabilities[ngram] = float(fields[0])
        if len(fields) > size + 1:
            backoffs[ngram] = float(fields[-1])
        order = max(order, size)
    return NgramModel(order, probabilities, backoffs)


def read_arpa_words(path: str | Path) -> list[str]:
    """Read the vocabulary of an ARPA file, and nothing behind it.

    Args:
        path: of the file.

    Returns:
        Words in the file's order, without ``<s>``, ``</s>`` and ``<unk>``.

    Raises:
        DataError: it is missing, or no ARPA file.
    """
    words = []
    for size, fields in _arpa_lines(Path(path)):
        if size > 1:
            break
        if fields[1] not in _MARKS and fields[1].lower() != UNKNOWN:
            words.append(fields[1])
    return words


def _arpa_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    if not path.is_file():
        raise DataError(f"{path}: no such language model; tools/train_ngram.py makes one from a text file")
    size = 0
    try:
        with path.open(encoding="utf-8") as file:
            if "\\data\\" not in (next((line.strip() for line in file if line.strip()), "")):
                raise DataError(f"{path}: no ARPA file: it does not start with \\data\\")
            for line in file:
                if line.startswith("\\"):
                    size = int(line[1 : line.index("-")]) if "-grams:" in line else 0
                elif size and line.strip():
                    yield size, line.split()
    except (UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{path}: no ARPA file ({error})") from error
