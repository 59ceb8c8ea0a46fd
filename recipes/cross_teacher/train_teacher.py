"""Train a small conformer with a CTC head, transformers' own ``ParakeetForCTC``, on FSDD's training recordings.

It is no wav2vec2: log-mel input, frames of 40 or 80 ms, a vocabulary of its own (small letters, or pieces of words).
bigfoot reads the folder as ``teacher.path``. A killed training starts again from its first step: it takes minutes.

    python recipes/cross_teacher/train_teacher.py --fsdd ../shared/data/fsdd --out runs/conformer
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bigfoot.errors import plain_errors

with plain_errors():  # without the extra [train]: its install line
    import jiwer
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from torch import Tensor
    from transformers import (
        ParakeetCTCConfig,
        ParakeetEncoderConfig,
        ParakeetFeatureExtractor,
        ParakeetForCTC,
        ParakeetTokenizer,
    )

    from bigfoot.data.fsdd import join_strings
    from bigfoot.data.utterance import Utterance

TIME_MASKS, TIME_MASK = 2, 10
MEL_MASKS, MEL_MASK = 2, 12
"""SpecAugment: how many masks, and the most frames (10 ms) or channels of one."""
STRING_LENGTHS = ((0.2, 1), (0.4, 3), (1.0, 8))
"""(share of the steps, most digits in a string until then)."""
FLAT_START = ((0.0, 1.0), (0.1, 1.0), (0.2, 0.0))
"""(share of the steps, weight of the flat start against CTC), straight lines between."""


def build_tokenizer(texts: list[str], pieces: int) -> ParakeetTokenizer:
    """Build a vocabulary of small letters, or of byte-pair pieces; the blank comes last, as Parakeet has it.

    Args:
        texts: in small letters.
        pieces: tokens of the vocabulary; 0 for letters alone.
    """
    letters = ["<unk>", "\u2581", *sorted(set("".join(texts)) - {" "})]
    if pieces:
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
        trainer = trainers.BpeTrainer(vocab_size=pieces, special_tokens=["<unk>"], show_progress=False)
    else:
        tokenizer = Tokenizer(models.BPE({token: index for index, token in enumerate(letters)}, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    if pieces:
        tokenizer.train_from_iterator(texts, trainer)
    return ParakeetTokenizer(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>")


def build_model(args: argparse.Namespace, vocabulary: int, blank: int) -> ParakeetForCTC:
    """Build a narrow Parakeet with random weights."""
    encoder = ParakeetEncoderConfig(
        hidden_size=args.hidden, num_hidden_layers=args.layers, num_attention_heads=4, num_mel_bins=80,
        intermediate_size=4 * args.hidden, subsampling_factor=args.subsampling, subsampling_conv_channels=32,
        layerdrop=0.0, dropout=0.1, activation_dropout=0.1, attention_dropout=0.1, scale_input=False,
    )  # fmt: skip
    config = ParakeetCTCConfig(vocab_size=vocabulary, encoder_config=encoder.to_dict(), pad_token_id=blank)
    return ParakeetForCTC(config)


@dataclass(frozen=True)
class Example:
    """Log-mel frames (T, M) of an utterance, and its labels (U,)."""

    features: Tensor
    labels: Tensor


def extract(
    utterances: list[Utterance], extractor: ParakeetFeatureExtractor, tokenizer: ParakeetTokenizer
) -> list[Example]:
    """Compute the features of utterances, one by one."""
    found = []
    for utterance in utterances:
        given = extractor([utterance.samples], sampling_rate=16_000)
        length = int(given["attention_mask"].sum())
        labels = torch.tensor(tokenizer(utterance.text.lower()).input_ids)
        found.append(Example(given["input_features"][0, :length], labels))
    return found


def collate(examples: list[Example], rng: np.random.Generator | None = None) -> dict[str, Tensor]:
    """Pad examples into a batch, with masks of SpecAugment where there is a generator."""
    longest = max(len(example.features) for example in examples)
    features = torch.zeros(len(examples), longest, examples[0].features.shape[1])
    mask = torch.zeros(len(examples), longest, dtype=torch.bool)
    labels = torch.full((len(examples), max(len(example.labels) for example in examples)), -100)
    for row, example in enumerate(examples):
        length = len(example.features)
        features[row, :length], mask[row, :length] = example.features, True
        labels[row, : len(example.labels)] = example.labels
        if rng is not None:
            _mask(features[row, :length], rng)
    return {"input_features": features, "attention_mask": mask, "labels": labels}


def _mask(features: Tensor, rng: np.random.Generator) -> None:
    for _ in range(TIME_MASKS):
        start = int(rng.integers(len(features)))
        features[start : start + int(rng.integers(TIME_MASK + 1))] = 0.0
    for _ in range(MEL_MASKS):
        start = int(rng.integers(features.shape[1]))
        features[:, start : start + int(rng.integers(MEL_MASK + 1))] = 0.0


def make_groups(examples: list[Example], frames: int, rng: np.random.Generator) -> list[list[Example]]:
    """Group neighbours in length into batches of about so many frames, shuffled."""
    groups: list[list[Example]] = [[]]
    for example in sorted(examples, key=lambda each: len(each.features) * rng.uniform(0.97, 1.03)):
        if groups[-1] and len(example.features) * (len(groups[-1]) + 1) > frames:
            groups.append([])
        groups[-1].append(example)
    return [groups[index] for index in rng.permutation(len(groups))]


def spread_labels(batch: dict[str, Tensor], num_frames: int, subsampling: int) -> Tensor:
    """Spread the labels of an utterance evenly over its loud frames, blanks elsewhere: a rough alignment for the start.

    Returns:
        (B, T) tokens, -1 for the blank, -100 on padding.
    """
    target = torch.full((len(batch["labels"]), num_frames), -100)
    for row, (features, mask, labels) in enumerate(zip(*batch.values(), strict=True)):
        energy = features[mask].mean(-1)[::subsampling][:num_frames]
        loud = (energy > energy.mean()).nonzero().flatten()
        first, end, tokens = int(loud[0]), int(loud[-1]) + 1, labels[labels >= 0]
        target[row, : len(energy)] = -1
        target[row, first:end] = tokens[torch.arange(end - first) * len(tokens) // (end - first)]
    return target


def compute_loss(model: ParakeetForCTC, batch: dict[str, Tensor], flat: float, subsampling: int) -> Tensor:
    """CTC, mixed at the start with cross-entropy on the rough alignment: from blanks alone CTC hardly comes away."""
    output = model(**batch)
    if not flat:
        return output.loss
    target = spread_labels(batch, output.logits.shape[1], subsampling)
    target = target.where(target != -1, model.config.pad_token_id)
    entropy = torch.nn.functional.cross_entropy(output.logits.transpose(1, 2), target, ignore_index=-100)
    return flat * entropy + (1.0 - flat) * output.loss


@torch.no_grad()
def measure_wer(
    model: ParakeetForCTC, tokenizer: ParakeetTokenizer, examples: list[Example], references: list[str]
) -> float:
    """Compute the greedy word error rate, one utterance at a time."""
    model.eval()
    hypotheses = []
    for example in examples:
        batch = collate([example])
        logits = model(batch["input_features"], batch["attention_mask"]).logits
        hypotheses.append(tokenizer.decode(logits[0].argmax(-1).tolist()).upper())
    model.train()
    return float(jiwer.wer(references, hypotheses))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters."""
    for parameters in optimizer.param_groups:
        parameters["lr"] = rate


def train(args: argparse.Namespace) -> None:
    """Train to ``--steps``, and save the folder."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    extractor = ParakeetFeatureExtractor(feature_size=80)
    splits = {
        split: list(join_strings(args.fsdd, split, count, args.seed))
        for split, count in (("train", args.strings), ("dev", 60))
    }
    lengths = [len(utterance.text.split()) for utterance in splits["train"]]
    tokenizer = build_tokenizer([utterance.text.lower() for utterance in splits["train"]], args.pieces)
    model = build_model(args, len(tokenizer), tokenizer.pad_token_id).train()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens", flush=True)
    examples = {split: extract(utterances, extractor, tokenizer) for split, utterances in splits.items()}
    optimizer = torch.optim.AdamW(model.parameters(), args.lr, betas=(0.9, 0.98), weight_decay=0.01)
    rng, step, started, losses = np.random.default_rng(args.seed), 0, time.time(), list[float]()
    while step < args.steps:
        most = next(digits for share, digits in STRING_LENGTHS if step < share * args.steps)
        chosen = [each for each, length in zip(examples["train"], lengths, strict=True) if length <= most]
        for group in make_groups(chosen, round(args.batch_seconds * 100), rng):
            set_rate(optimizer, args.lr * min(1.0, (step + 1) / 150, 2 * (args.steps - step) / args.steps))
            # Masks would hide the whole of a single digit.
            flat = float(np.interp(step / args.steps, *zip(*FLAT_START, strict=True)))
            loss = compute_loss(model, collate(group, rng if most > 1 else None), flat, args.subsampling)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            step += 1
            if step % args.every == 0 or step == args.steps:
                wer = measure_wer(model, tokenizer, examples["dev"], [each.text for each in splits["dev"]])
                print(f"step {step}  CTC {np.mean(losses):.3f}  dev WER {wer:.4f}  {time.time() - started:.0f} s",
                      flush=True)  # fmt: skip
                losses.clear()
            if step == args.steps:
                break
    for part in (model.eval(), extractor, tokenizer):
        part.save_pretrained(args.out)
    print(f"teacher in {args.out}")


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fsdd", type=Path, required=True, help="folder of the Free Spoken Digit Dataset")
    parser.add_argument("--out", type=Path, default=Path("runs/conformer"), help="folder of the teacher")
    parser.add_argument("--pieces", type=int, default=0, help="byte-pair tokens; 0 for letters")
    parser.add_argument("--subsampling", type=int, default=4, help="frames of 10 ms in one of the output's")
    parser.add_argument("--hidden", type=int, default=96, help="width")
    parser.add_argument("--layers", type=int, default=4, help="conformer layers")
    parser.add_argument("--strings", type=int, default=4000, help="training strings")
    parser.add_argument("--steps", type=int, default=1000, help="optimizer steps")
    parser.add_argument("--lr", type=float, default=1e-3, help="highest learning rate")
    parser.add_argument("--batch_seconds", type=float, default=16.0, help="audio in a batch")
    parser.add_argument("--every", type=int, default=100, help="measure every so many steps")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--seed", type=int, default=1, help="seed of weights and data")
    train(parser.parse_args())


if __name__ == "__main__":
    with plain_errors():
        main()
