"""The search that a configuration asks for."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from bigfoot.config import Problem
from bigfoot.decoding.beam import PrefixBeamSearch
from bigfoot.decoding.hypotheses import Search
from bigfoot.decoding.settings import SearchConfig
from bigfoot.decoding.words import KenLM, WordValues, read_lexicon
from bigfoot.errors import DataError
from bigfoot.install import install_hint
from bigfoot.text.tokenizer import Tokenizer


def build_search(config: SearchConfig, tokenizer: Tokenizer) -> Search | None:
    """Make the search of a configuration.

    Args:
        config: ``decoder`` and the fields below it.
        tokenizer: of the head.

    Returns:
        The search; None for greedy decoding, which needs none.

    Raises:
        DataError: language model or lexicon cannot be read, or the tokenizer cannot write the words of either.
        MissingExtraError: a language model without the extra ``[lm]``.

    Examples:
        >>> from bigfoot.text.tokenizers import CharTokenizer
        >>> build_search(SearchConfig(decoder="beam"), CharTokenizer(("<pad>", "|", "A"))).name
        'prefix beam 16'
    """
    if config.decoder == "greedy":
        return None
    values = None
    if config.decoder == "lm" or config.hot_words or config.lexicon:
        values = _word_values(config, tokenizer)
    return PrefixBeamSearch(tokenizer, config.beam_size, values)


def _word_values(config: SearchConfig, tokenizer: Tokenizer) -> WordValues:
    if tokenizer.unit != "word":
        raise DataError(
            f"evaluate.decoder: words are given values, but this tokenizer writes {tokenizer.unit}s "
            f"({tokenizer.describe()}); use evaluate.decoder=beam without hot_words and lexicon"
        )
    path = config.lm_path if config.decoder == "lm" else None
    words = read_lexicon(config.lexicon, path)
    spelled = None if words is None else [word for word in words if not tokenizer.unknown_characters(word)]
    if words and not spelled:
        raise DataError(
            f"evaluate.lm_path: the tokenizer can spell none of its {len(words):,} words, the first of which is "
            f"{words[0]!r} ({tokenizer.describe()}); are they in another case?"
        )
    model = None if path is None else KenLM(Path(path).expanduser(), [*(spelled or ()), *config.hot_words])
    return WordValues(
        model, config.lm_weight if model is not None else 0.0, None if spelled is None else frozenset(spelled),
        config.word_bonus, tuple(config.hot_words), config.hot_word_bonus,
    )  # fmt: skip


def describe_decoder(config: SearchConfig) -> str:
    """Name a decoder with all that decides what it finds, for reports.

    Examples:
        >>> describe_decoder(SearchConfig(decoder="beam", hot_words=["SEVEN"]))
        'prefix beam 16, hot words SEVEN (3 each)'
    """
    if config.decoder == "greedy":
        return "greedy"
    parts = [f"prefix beam {config.beam_size}"]
    if config.decoder == "lm":
        parts.append(f"language model {Path(config.lm_path or '').name} (weight {config.lm_weight:g})")
    if config.lexicon:
        parts.append(f"lexicon {Path(config.lexicon).name}")
    if len(parts) > 1 and config.word_bonus:
        parts.append(f"word bonus {config.word_bonus:g}")
    if config.hot_words:
        shown = " ".join(config.hot_words[:5]) + ", ..." * (len(config.hot_words) > 5)
        parts.append(f"hot words {shown} ({config.hot_word_bonus:g} each)")
    return ", ".join(parts)


def decoder_problems(config: SearchConfig) -> Iterator[Problem]:
    """Find why a search cannot work, before anything is trained for it.

    Args:
        config: of the search.

    Yields:
        Problem by problem, with keys relative to the section.
    """
    wanted = {"hot_words": bool(config.hot_words), "lexicon": config.lexicon is not None}
    for name in (name for name, given in wanted.items() if given and config.decoder == "greedy"):
        yield Problem(name, "not_read", "greedy decoding has no use for it; set evaluate.decoder=beam")
    if config.decoder != "lm":
        if config.lm_path is not None:
            message = f"not read by evaluate.decoder={config.decoder}; set that to lm, or leave this out"
            yield Problem("lm_path", "not_read", message)
        return
    if config.lm_path is None:
        message = "needed by evaluate.decoder=lm; tools/train_ngram.py makes one from a text file"
        yield Problem("lm_path", "missing", message)
        return
    if importlib.util.find_spec("flashlight") is None:
        message = f"lm needs the package flashlight-text: {install_hint('lm')}"
        yield Problem("decoder", "missing_package", message)
    try:
        read_lexicon(config.lexicon, str(Path(config.lm_path).expanduser()))
    except DataError as error:
        yield Problem("lm_path", "unreadable", str(error))
