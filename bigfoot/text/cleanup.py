"""What transformers changes in decoded texts: spaces of ``clean_up_tokenization_spaces``, Greek's last sigma."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_JOINED = (".", "?", "!", ",", "' ", "n't", "'m", "'s", "'ve", "'re")


def clean_up(text: str) -> str:
    """Drop the spaces before full stops and the like, ``n't``, ``'s``, and around a lone apostrophe.

    Args:
        text: with single spaces.

    Examples:
        >>> clean_up("it 's rock ' roll .")
        "it's rock'roll."
    """
    for joined in _JOINED:
        text = text.replace(f" {joined}", joined.rstrip())
    return text


def write_final_sigma(text: str) -> str:
    r"""Write the sigma that ends a Greek word as small letters have it; no other character changes.

    Args:
        text: in small letters.

    Examples:
        >>> write_final_sigma("\u03c3\u03bf\u03c6\u03bf\u03c3") == "\u03c3\u03bf\u03c6\u03bf\u03c2"
        True
    """
    # Python's lower() knows where a word ends, by Unicode's rule; it changes only the capital.
    return text.replace("\u03c2", "\u03a3").replace("\u03c3", "\u03a3").lower()


def list_joined(words: Sequence[str]) -> Iterator[slice]:
    """List which words ``clean_up`` makes one.

    Args:
        words: of a text, without spaces.

    Yields:
        A slice of them for each word of the cleaned text.

    Examples:
        >>> [found.stop - found.start for found in list_joined(["it", "'s", "on", "."])]
        [2, 2]
    """
    start = 0
    for joined in clean_up(" ".join(words)).split():
        end, left = start, len(joined)
        while left > 0:
            left, end = left - len(words[end]), end + 1
        yield slice(start, end)
        start = end
