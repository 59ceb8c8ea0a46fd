"""Settings of decoding: of CTC's posteriors, and of an autoregressive decoder."""

from __future__ import annotations

from dataclasses import dataclass, field

from bigfoot.config import above_zero, not_negative, one_of, share


@dataclass
class DecodingConfig:
    """How an autoregressive decoder's tokens become a text."""

    beam_size: int = above_zero(1)
    """Texts that are followed at once; 1 is greedy."""
    ctc_weight: float = share(0.0)
    """Share of CTC's prefix probability in the score; the decoder has the rest. Above 0 only where both have the same
    tokens."""
    length_bonus: float = 0.0
    """Added to the score for every token, in nats: above 0 for longer texts, below for shorter ones."""
    max_tokens: int = above_zero(1000)
    """Longest text; no text has more tokens than the audio has frames."""
    max_repeats: int = above_zero(16)
    """A text that repeats a piece more often in a row is in a repetition loop: it is cut there, and reported."""


@dataclass
class SearchConfig:
    """How CTC's posteriors become text."""

    decoder: str = one_of("greedy", "beam", "lm")
    """How CTC's posteriors become text in the report: ``greedy``, prefix ``beam`` search, or that with a language model
    (``lm``). Evaluation on dev during training is greedy."""
    beam_size: int = above_zero(16)
    """Prefixes that ``beam`` and ``lm`` keep after every frame."""
    lm_path: str | None = None
    """n-gram model of ``lm``: ARPA, or KenLM's binary."""
    lm_weight: float = not_negative(0.5)
    """Factor of its log probabilities."""
    lexicon: str | None = None
    """File with a word a line: the only ones that come out. Null: those of the language model, or any without one."""
    word_bonus: float = 0.0
    """Added for every word, in nats, where there is a language model or a lexicon; positive where words are lost."""
    hot_words: list[str] = field(default_factory=list)
    """Words and phrases that are likelier here than elsewhere. They are normalized as transcripts are; what the
    vocabulary cannot write is refused before the run."""
    hot_words_file: str | None = None
    """File with more of them, one a line, in UTF-8; lines that start with ``#`` are comments."""
    hot_word_bonus: float = not_negative(3.0)
    """Added for each time that one of them comes out, in nats."""
