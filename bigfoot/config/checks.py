"""What is wrong with the values of a configuration, as far as it can tell by itself."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence

from bigfoot.config.rules import rule_problems
from bigfoot.config.schema import AugmentConfig, Config, FinetuneConfig, PruneConfig, TrainConfig

STEPS = ("student", "prune", "gates", "distill", "finetune")
TRACKERS = ("tensorboard", "wandb", "mlflow", "comet_ml")
GATED = ("heads", "feed_forward", "conv", "blocks")
DECODER_STREAMS = ("encoder", "layers", "fbank", "posteriors")
PRUNABLE = ("heads", "feed_forward", "conv", "width")
_PARTS = ("feature_encoder", "feature_projection", "encoder", "lm_head", "decoder", "projections")


def find_value_problems(config: Config) -> Iterator[str]:
    """Say which values are out of range, or unknown words.

    Args:
        config: with values of the right types.

    Yields:
        One sentence a problem, beginning with the key at fault.
    """
    yield from rule_problems(config)
    yield from _unknown("steps", "step", config.steps, STEPS)
    yield from _unknown("evaluate.splits", "split", config.evaluate.splits, ("dev", "test"))
    yield from _unknown("trackers", "tracker", config.trackers, TRACKERS)
    if config.data.max_digits < config.data.min_digits:
        yield "data.max_digits: below data.min_digits"
    yield from _bounds_problems(config.data.augment)
    yield from _prune_problems(config.prune)
    yield from _unknown("gates.parts", "part", config.gates.parts, GATED)
    if not config.gates.parts:
        yield f"gates.parts: empty, so gates have nothing to stand on; parts are {', '.join(GATED)}"
    yield from _train_problems("gates", config.gates)
    yield from _train_problems("distill", config.distill)
    yield from _train_problems("finetune", config.finetune)
    yield from _decoder_problems(config.finetune)
    yield from _pretrained_problems(config)
    yield from _growth_problems(config)
    yield from _tokenizer_problems(config.finetune)


def _unknown(key: str, what: str, given: Sequence[str], known: Sequence[str]) -> Iterator[str]:
    for word in given:
        if word not in known:
            yield f"{key}: unknown {what} {word!r}; {what}s are {', '.join(known)}"


def _bounds_problems(augment: AugmentConfig) -> Iterator[str]:
    for part in ("speed", "gain_db", "noise_snr_db"):
        bounds = getattr(augment, part)
        if len(bounds) != 2 or bounds[0] > bounds[1]:
            yield f"data.augment.{part}: expected [lowest, highest], got {bounds}"


def _prune_problems(prune: PruneConfig) -> Iterator[str]:
    yield from _unknown("prune.parts", "part", prune.parts, PRUNABLE)
    yield from _unknown("prune.part_ratios", "part", list(prune.part_ratios), PRUNABLE)
    if not prune.parts:
        yield f"prune.parts: empty, so there is nothing to cut; parts are {', '.join(PRUNABLE)}"
    for part, ratio in prune.part_ratios.items():
        if not 0 <= ratio <= 1:
            yield f"prune.part_ratios: {part} must be from 0 to 1, got {ratio}"
    if prune.part_ratios and prune.scope == "global":
        yield "prune.part_ratios: with scope global all units compete; use scope part or layer"
    if prune.target != "ratio" and not prune.keep:
        yield f"prune.keep: must be above 0 with target {prune.target}, got {prune.keep}"


def _train_problems(name: str, train: TrainConfig) -> Iterator[str]:
    yield from _unknown(f"{name}.learning_rate_factors", "part", list(train.learning_rate_factors), _PARTS)
    if len(train.adam_betas) != 2:
        yield f"{name}.adam_betas: expected two numbers, got {train.adam_betas}"


def _decoder_problems(finetune: FinetuneConfig) -> Iterator[str]:
    smoothing, decoder = finetune.label_smoothing, finetune.decoder
    if len(smoothing) != 2 or not all(0 <= share <= 1 for share in smoothing):
        yield f"finetune.label_smoothing: expected [at the first step, at the last], from 0 to 1, got {smoothing}"
    yield from _unknown("finetune.decoder.streams", "stream", decoder.streams, DECODER_STREAMS)
    if not decoder.streams or len(set(decoder.streams)) < len(decoder.streams):
        yield f"finetune.decoder.streams: expected one or more, each once, got {decoder.streams}"
    if decoder.hidden_size % 2 or (decoder.num_heads > 0 and decoder.hidden_size % decoder.num_heads):
        yield (
            f"finetune.decoder.hidden_size: {decoder.hidden_size} should be even and a multiple of num_heads "
            f"{decoder.num_heads}"
        )


def _pretrained_problems(config: Config) -> Iterator[str]:
    decoder = config.finetune.decoder
    if decoder.kind != "pretrained" or config.finetune.objective == "ctc":
        return
    if decoder.language_model is None:
        yield "finetune.decoder.language_model: needed by kind pretrained: folder or id of a causal language model"
    if decoder.fuse == "decoder":
        yield "finetune.decoder.fuse: decoder is for mini_gpt; a pretrained model attends to one stream, so pool them"
    if decoder.train == "lora" and importlib.util.find_spec("peft") is None:
        yield "finetune.decoder.train: lora needs the package peft: pip install 'bigfoot[decoder]'"
    if config.evaluate.autoregressive.ctc_weight:
        yield (
            "evaluate.autoregressive.ctc_weight: a pretrained decoder has tokens of its own, which the CTC head cannot "
            "score; set it to 0"
        )


def _growth_problems(config: Config) -> Iterator[str]:
    growth, last = config.distill.grow_groups, config.distill.max_steps
    if growth and (len(growth) != 2 or not 0 <= growth[0] < growth[1] <= last):
        yield f"distill.grow_groups: expected [from, until] with until after from, up to max_steps {last}, got {growth}"


def _tokenizer_problems(finetune: FinetuneConfig) -> Iterator[str]:
    kind = finetune.tokenizer
    if kind != "char" and finetune.head == "teacher":
        yield f"finetune.tokenizer: {kind} is another vocabulary than the teacher's; set finetune.head=new"
    if (kind == "huggingface") != (finetune.tokenizer_path is not None):
        yield "finetune.tokenizer_path: goes with finetune.tokenizer=huggingface, and that with it"
    if finetune.tokenizer_text is not None and kind not in ("unigram", "bpe"):
        yield f"finetune.tokenizer_text: not read by finetune.tokenizer={kind}; it is for unigram and bpe"
