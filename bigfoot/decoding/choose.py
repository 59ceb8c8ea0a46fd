"""Build the search that a configuration asks for."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bigfoot.config import Problem
from bigfoot.decoding.beam import PrefixBeamSearch
from bigfoot.decoding.hot_words import find_hot_words
from bigfoot.decoding.hypotheses import Search
from bigfoot.decoding.settings import SearchConfig
from bigfoot.decoding.words import KenLM, WordValues, read_lexicon
from bigfoot.errors import DataError
from bigfoot.install import install_hint
from bigfoot.storage.remote import fetch
from bigfoot.text.tokenizer import Tokenizer


def build_search(config: SearchConfig, tokenizer: Tokenizer) -> Search | None:
    """Build the search of a configuration.

    Args:
        config: ``decoder`` and the fields below it.
        tokenizer: of the head.

    Returns:
        The search; None for greedy decoding, which needs none.

    Raises:
        DataError: language model, lexicon or hot words cannot be read, or the tokenizer cannot write them.
        MissingExtraError: a language model without the extra ``[lm]``.

    Examples:
        >>> from bigfoot.text.tokenizers import CharTokenizer
        >>> build_search(SearchConfig(decoder="beam"), CharTokenizer(("<pad>", "|", "A"))).name
        'prefix beam 16'
    """
    if config.decoder == "greedy":
        return None
    try:
        hot_words = [text for word in find_hot_words(config, tokenizer) for text in word.texts]
    except DataError as error:
        raise DataError(f"evaluate.hot_words: {error}") from error
    values = None
    if config.decoder == "lm" or config.lexicon:
        values = _word_values(config, tokenizer, hot_words)
    elif hot_words:
        values = WordValues()
    if values is not None:
        values = replace(values, hot_words=tuple(hot_words), hot_word_bonus=config.hot_word_bonus)
    return PrefixBeamSearch(tokenizer, config.beam_size, values)


def _word_values(config: SearchConfig, tokenizer: Tokenizer, hot_words: Sequence[str]) -> WordValues:
    """Values of words by language model and lexicon."""
    if tokenizer.unit != "word":
        raise DataError(
            f"evaluate.decoder: words are given values, but this tokenizer writes {tokenizer.unit}s "
            f"({tokenizer.describe()}); use evaluate.decoder=beam without lexicon"
        )
    wanted = config.lm_path if config.decoder == "lm" else None
    path = None if wanted is None else fetch(wanted).expanduser()
    words = read_lexicon(config.lexicon, None if path is None else str(path))
    known = None if words is None else [word for word in words if not tokenizer.unknown_characters(word)]
    if words and not known:
        raise DataError(
            f"evaluate.lm_path: the tokenizer can write none of its {len(words):,} words, the first of which is "
            f"{words[0]!r} ({tokenizer.describe()}); are they in another case?"
        )
    model = None
    if path is not None:
        scored = [*(known or ()), *(word for phrase in hot_words for word in phrase.split())]
        model = KenLM(path, scored, tokenizer.to_pieces)
    weight = config.lm_weight if model is not None else 0.0
    lexicon = None if known is None else frozenset(map(tokenizer.to_pieces, known))
    return WordValues(model, weight, lexicon, config.word_bonus)


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
    if config.hot_words or config.hot_words_file:
        shown = [*config.hot_words[:5], *["..."] * (len(config.hot_words) > 5)]
        shown += [Path(config.hot_words_file).name] if config.hot_words_file else []
        parts.append(f"hot words {', '.join(shown)} ({config.hot_word_bonus:g} each)")
    return ", ".join(parts)


def unused_options(config: SearchConfig, *, has_decoder: bool = False) -> Iterator[Problem]:
    """Find settings that the chosen search does not read: worth a warning, no reason to stop.

    Args:
        config: of the search.
        has_decoder: whether the model has an autoregressive decoder, which is evaluated too and reads no hot words.

    Yields:
        Problem by problem, with keys relative to the section.

    Examples:
        >>> [problem.key for problem in unused_options(SearchConfig(lm_path="words.arpa"))]
        ['lm_path']
    """
    if config.decoder == "greedy":
        for name in (name for name in ("hot_words", "hot_words_file", "lexicon") if getattr(config, name)):
            yield Problem(name, "not_read", "not read by greedy decoding; set evaluate.decoder=beam to use it")
    elif has_decoder:
        for name in (name for name in ("hot_words", "hot_words_file") if getattr(config, name)):
            message = "not read by the autoregressive decoder: its figures are without, those of CTC with them"
            yield Problem(name, "not_read", message)
    if config.decoder != "lm" and config.lm_path is not None:
        message = f"not read by evaluate.decoder={config.decoder}; set evaluate.decoder=lm to use it"
        yield Problem("lm_path", "not_read", message)


def decoder_problems(config: SearchConfig) -> Iterator[Problem]:
    """Find why a search cannot work, before anything is trained for it.

    Args:
        config: of the search.

    Yields:
        Problem by problem, with keys relative to the section.
    """
    if config.decoder == "beam" and config.lexicon:
        try:
            read_lexicon(config.lexicon, None)
        except DataError as error:
            yield Problem("lexicon", "unreadable", str(error))
    if config.decoder != "lm":
        return
    if config.lm_path is None:
        message = "needed by evaluate.decoder=lm; tools/train_ngram.py makes one from a text file"
        yield Problem("lm_path", "missing", message)
        return
    if importlib.util.find_spec("flashlight") is None:
        message = f"lm needs the package flashlight-text: {install_hint('lm')}"
        yield Problem("decoder", "missing_package", message)
    try:
        read_lexicon(config.lexicon, str(fetch(config.lm_path).expanduser()))
    except DataError as error:
        yield Problem("lm_path", "unreadable", str(error))
