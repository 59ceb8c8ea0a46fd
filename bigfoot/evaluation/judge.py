"""Error rates of a model by everything in it that writes text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bigfoot.decoding.choose import describe_decoder
from bigfoot.decoding.spoken import name_decoding, require_spelling
from bigfoot.evaluation.evaluate import evaluate_accuracy
from bigfoot.evaluation.settings import EvaluateConfig
from bigfoot.formats.folder import LoadedModel
from bigfoot.measure.error_rate import ErrorRate


@dataclass(frozen=True)
class Judgement:
    """Error rate of a model on a split by one of its decoders.

    Args:
        rate: with raw counts and interval.
        decoder: the way, as reports have it.
        unit: what is counted, ``word`` or ``phoneme``.
    """

    rate: ErrorRate
    decoder: str
    unit: str

    def describe(self, split: str) -> str:
        """Two lines for people.

        Args:
            split: that was evaluated.
        """
        rate, words = self.rate, self.rate.words
        figures = (rate.wer, rate.wer_low, rate.wer_high, rate.cer)
        wer, low, high, cer = ("n/a" if value is None else f"{value:.2%}" for value in figures)
        scope = f"{rate.num_words} {self.unit}s, {rate.num_utterances} utterances of {split}"
        kinds = f"{words.substitutions} substitutions, {words.deletions} deletions, {words.insertions} insertions"
        name = "WER" if self.unit == "word" else "PER"
        return (
            f"{name} {wer} [{low}, {high}]  CER {cer}  ({scope}, {self.decoder})\n"
            f"{kinds}; interval: bootstrap over {rate.bootstrap_unit}s"
        )


def judge_model(loaded: LoadedModel, manifest: Path, config: EvaluateConfig, seed: int) -> list[Judgement]:
    """Count errors by the CTC head, and by the model's decoder where it has one.

    Args:
        loaded: with CTC head and vocabulary.
        manifest: lhotse manifest of the split.
        config: batch size, decoders and resamplings.
        seed: of the resampling.

    Returns:
        CTC's first.

    Raises:
        ModelError: see ``evaluate_accuracy``.
        DataError: see ``evaluate_accuracy``.
    """
    rate = evaluate_accuracy(loaded, manifest, config, seed).error_rate
    tokenizer = loaded.processor.tokenizer
    assert tokenizer is not None  # without one there was no rate
    found = [Judgement(rate, describe_decoder(config), tokenizer.unit)]
    if loaded.model.decoder is not None:
        rate = evaluate_accuracy(loaded, manifest, config, seed, by_decoder=True).error_rate
        name = name_decoding(loaded.model, config.autoregressive)
        found.append(Judgement(rate, name, require_spelling(loaded).unit))
    return found
