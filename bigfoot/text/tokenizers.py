"""The processor files of a model folder: how audio is normalized, how ids become text.

Pure Python and JSON, so that a deployed model needs no transformers to be understood.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigfoot.errors import ModelError
from bigfoot.text.characters import CharTokenizer, build_char_tokenizer
from bigfoot.text.json_fields import Flag, Rule, SampleRate, find_problems
from bigfoot.text.json_files import read_json_if_there, write_json
from bigfoot.text.phones import PhoneTokenizer
from bigfoot.text.saving import load_tokenizer, save_tokenizer
from bigfoot.text.tokenizer import Tokenizer
from bigfoot.text.vocabulary_files import load_vocabulary, save_vocabulary
from bigfoot.types import SAMPLE_RATE, Hertz

__all__ = ["CharTokenizer", "Processor", "build_char_tokenizer", "load_processor", "save_processor"]

_DECODER_FOLDER = "decoder_tokenizer"
_EXTRACTOR_FILES = "preprocessor_config.json or processor_config.json"
FILTER_BANKS = "SeamlessM4TFeatureExtractor"
"""transformers' class for log-mel filter banks, which takes samples that are not normalized."""
_EXTRACTOR: dict[str, Rule] = {
    "sampling_rate": SampleRate(), "do_normalize": Flag(optional=True), "return_attention_mask": Flag(optional=True)
}  # fmt: skip


@dataclass(frozen=True)
class FilterBanks:
    """Log-mel filter banks that a model of transformers takes in place of samples.

    Args:
        bins: filters.
        stride: windows beside each other in one frame.
    """

    bins: int
    stride: int


@dataclass(frozen=True)
class Processor:
    """Normalization of audio and the tokenizers of a model.

    Args:
        tokenizer: None where the folder has no vocabulary, as of a model without a CTC head.
        do_normalize: every utterance is brought to zero mean and unit variance.
        sample_rate: of the audio in Hz.
        return_attention_mask: whether Hugging Face's own class is to give a mask; bigfoot always does.
        decoder_tokenizer: of a decoder that has tokens of its own; None where it has the CTC head's, or there is none.
    """

    tokenizer: Tokenizer | None = None
    do_normalize: bool = True
    sample_rate: Hertz = SAMPLE_RATE
    return_attention_mask: bool = False
    decoder_tokenizer: Tokenizer | None = None


def load_processor(folder: str | Path, head_size: int | None = None, language: str | None = None) -> Processor:
    """Read the Hugging Face files of a model folder, old layout or new.

    Args:
        folder: with ``vocab.json``, ``tokenizer_config.json`` or ``special_tokens_map.json``, and
            ``preprocessor_config.json`` or ``processor_config.json``; whichever of them exist. Tokenizers other than
            of characters have ``bigfoot_tokenizer.json``.
        head_size: rows of the CTC head, where it is known; see ``load_vocabulary``.
        language: of several; see there.

    Returns:
        The processor; without a vocabulary its tokenizer is None, and what no file sets has its default.

    Raises:
        ModelError: a file is not JSON, or the vocabulary is not one flat list of tokens.
    """
    folder = Path(folder)
    settings = extractor_settings(folder)
    given = {name: settings[name] for name in _EXTRACTOR if name in settings}
    if problems := list(find_problems(given, _EXTRACTOR)):
        raise ModelError(f"{folder}: in {_EXTRACTOR_FILES}, {'; '.join(problems)}")
    takes_samples = settings.get("feature_extractor_type") != FILTER_BANKS
    return Processor(
        tokenizer=load_tokenizer(folder) or load_vocabulary(folder, head_size, language),
        do_normalize=takes_samples and bool(given.get("do_normalize", True)),
        sample_rate=given.get("sampling_rate", SAMPLE_RATE),
        return_attention_mask=bool(given.get("return_attention_mask", False)),
        decoder_tokenizer=load_tokenizer(folder / _DECODER_FOLDER),
    )


def extractor_settings(folder: Path) -> dict[str, Any]:
    """Read the settings of a model folder's feature extractor.

    Args:
        folder: of the model.

    Returns:
        As the file has them; empty where there is none.

    Raises:
        ModelError: a file is not JSON, or holds something else.
    """
    # transformers 5 nests the feature extractor in processor_config.json and prefers it there.
    settings = read_json_if_there(folder / "processor_config.json").get("feature_extractor")
    settings = settings or read_json_if_there(folder / "preprocessor_config.json")
    if not isinstance(settings, dict):
        raise ModelError(f"{folder}: in {_EXTRACTOR_FILES}, feature_extractor should be an object")
    return settings


def save_processor(processor: Processor, folder: str | Path, banks: FilterBanks | None = None) -> None:
    """Write the files from which ``load_processor`` and transformers, old or new, make the same processor.

    Args:
        processor: what to write.
        folder: the model folder; made where missing.
        banks: that transformers' class is to compute; None where its model takes samples.

    Examples:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> processor = Processor(CharTokenizer(("<pad>", "|", "A")), do_normalize=False)
        >>> save_processor(processor, folder)
        >>> load_processor(folder) == processor
        True
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if processor.decoder_tokenizer is not None:
        (folder / _DECODER_FOLDER).mkdir(exist_ok=True)
        save_tokenizer(processor.decoder_tokenizer, folder / _DECODER_FOLDER)
    extractor = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "sampling_rate": processor.sample_rate,
        "padding_side": "right",
        "padding_value": 0.0,
        "do_normalize": processor.do_normalize,
        "return_attention_mask": processor.return_attention_mask,
    }
    named = {"processor_class": "Wav2Vec2Processor"}
    if banks is not None:
        named = {"processor_class": "Wav2Vec2BertProcessor"}
        extractor |= {"feature_extractor_type": FILTER_BANKS, "feature_size": banks.bins, "num_mel_bins": banks.bins,
                      "stride": banks.stride, "return_attention_mask": True}  # fmt: skip
    if processor.tokenizer is None:
        write_json(folder / "preprocessor_config.json", extractor)
        return
    if not isinstance(processor.tokenizer, CharTokenizer | PhoneTokenizer):
        # transformers' class for CTC tokenizes by characters: a vocab.json would make it write other text silently.
        write_json(folder / "preprocessor_config.json", extractor)
        save_tokenizer(processor.tokenizer, folder)
        return
    write_json(folder / "preprocessor_config.json", extractor | named)
    write_json(folder / "processor_config.json", {"feature_extractor": extractor} | named)
    save_vocabulary(processor.tokenizer, folder, named)
