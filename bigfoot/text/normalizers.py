"""Forms in which references and hypotheses are compared; an error rate belongs to one of them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache, partial
from importlib.util import find_spec

from bigfoot.errors import MissingExtraError
from bigfoot.text.normalize import comparable_text

EXTRA = "leaderboard"
"""Extra of bigfoot with the package that Whisper's normalizers come from."""
_PACKAGE = "whisper-normalizer"

NORMALIZERS = {
    "vocabulary": "",
    "english": "then Whisper's English normalizer",
    "basic": "then Whisper's basic normalizer",
}
"""What each does to a text beyond the characters of the vocabulary; ``find_normalizer`` returns the functions."""


def find_normalizer(name: str, characters: Collection[str] | None) -> Callable[[str], str]:
    """Return what brings references and hypotheses to the form in which they are compared.

    ``english`` and ``basic`` are the normalizers of Whisper (Radford et al. 2022, appendix C), which the open ASR
    leaderboard compares with: lower case, no punctuation and no fillers; English numbers as digits, contractions
    written out, British words as Americans write them. Models of other vocabularies become comparable by them. Numbers
    that are spoken one behind the other become one word: a string of digits counts as one.

    Args:
        name: one of ``NORMALIZERS``.
        characters: of the vocabulary that writes the hypotheses, which ``vocabulary`` asks for; None leaves all as
            it is.

    Raises:
        MissingExtraError: the package of the others is not installed.

    Examples:
        >>> find_normalizer("vocabulary", "ABC' ")("abc")
        'ABC'
        >>> find_normalizer("english", None)("Mr. Smith's colour: twenty-one")
        'mister smith is color 21'
    """
    if name == "vocabulary":
        return partial(comparable_text, characters=characters)
    return partial(_squeeze, _load(name))


def lacks_normalizer(name: str) -> bool:
    """Tell whether the package that a normalizer needs is missing.

    Args:
        name: one of ``NORMALIZERS``.
    """
    return name != "vocabulary" and find_spec("whisper_normalizer") is None


@cache
def _load(name: str) -> Callable[[str], str]:
    try:
        from whisper_normalizer.basic import BasicTextNormalizer
        from whisper_normalizer.english import EnglishTextNormalizer
    except ModuleNotFoundError as error:
        raise MissingExtraError(EXTRA, _PACKAGE) from error
    normalizer: Callable[[str], str] = EnglishTextNormalizer() if name == "english" else BasicTextNormalizer()
    return normalizer


def _squeeze(normalize: Callable[[str], str], text: str) -> str:
    return " ".join(normalize(text).split())
