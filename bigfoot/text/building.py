"""The tokenizer that a configuration asks for, out of training transcripts."""

from __future__ import annotations

from collections.abc import Sequence

from bigfoot.text.huggingface import load_huggingface_tokenizer
from bigfoot.text.lines import read_lines
from bigfoot.text.normalize import normalize_text
from bigfoot.text.phonemes import build_phoneme_tokenizer
from bigfoot.text.sentencepieces import train_sentencepiece
from bigfoot.text.settings import TokenizerConfig
from bigfoot.text.tokenizer import Tokenizer
from bigfoot.text.tokenizers import build_char_tokenizer


def build_tokenizer(config: TokenizerConfig, texts: Sequence[str]) -> Tokenizer:
    """Make the vocabulary of a new head.

    Args:
        config: ``tokenizer`` and the fields below it.
        texts: normalized training transcripts; their characters can be spelled whatever pieces are learned from.

    Returns:
        The tokenizer.

    Raises:
        DataError: too little text for so many pieces, or none.
        ModelError: no Hugging Face tokenizer where one was named.
        MissingExtraError: the package that does it is not installed.

    Examples:
        >>> build_tokenizer(TokenizerConfig(tokenizer="char"), ["ONE", "TWO"]).describe()
        'characters, 10 tokens'
    """
    if config.tokenizer == "char":
        return build_char_tokenizer(texts)
    if config.tokenizer == "phonemes":
        return build_phoneme_tokenizer(texts, config.phoneme_voice, stress=config.phoneme_stress)
    if config.tokenizer == "huggingface":
        return load_huggingface_tokenizer(config.tokenizer_path or "")
    characters = {character for text in texts for character in text}
    lines = list(texts)
    if config.tokenizer_text is not None:
        lines = [normalize_text(line, characters) for line in read_lines(config.tokenizer_text)]
    return train_sentencepiece(lines, config.tokenizer, config.vocab_size, characters)
