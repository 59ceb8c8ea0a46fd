"""Settings of tokenizers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bigfoot.config import Problem, above_zero, one_of


@dataclass
class TokenizerConfig:
    """Which tokenizer a new CTC head has."""

    tokenizer: str = one_of("char", "unigram", "bpe", "phonemes", "huggingface")
    """Of a new head: characters, sentencepiece's ``unigram`` or ``bpe``, espeak-ng's ``phonemes``, or a Hugging Face
    ``tokenizer.json``. Error rates of phonemes are not of words, and called PER."""
    vocab_size: int = above_zero(100)
    """Tokens of ``unigram`` and ``bpe``, four specials among them."""
    tokenizer_text: str | None = None
    """Text file, plain or .gz, from which those are learned; null takes the training transcripts."""
    tokenizer_path: str | None = None
    """Folder with the ``tokenizer.json`` of ``huggingface``."""
    phoneme_voice: str = "en-us"
    """espeak-ng's voice that pronounces the transcripts."""
    phoneme_stress: bool = False
    """Keep marks of stress: a stressed vowel is another token."""

    def find_problems(self) -> Iterator[Problem]:
        """Check which settings go together."""
        kind = self.tokenizer
        if (kind == "huggingface") != (self.tokenizer_path is not None):
            yield Problem(
                "tokenizer_path", "needs_each_other", "goes with finetune.tokenizer=huggingface, and that with it"
            )
        if self.tokenizer_text is not None and kind not in ("unigram", "bpe"):
            yield Problem(
                "tokenizer_text", "not_read", f"not read by finetune.tokenizer={kind}; it is for unigram and bpe"
            )
