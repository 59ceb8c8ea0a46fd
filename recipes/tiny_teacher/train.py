"""Train the tiny teacher that ships with bigfoot, with transformers' own ``Wav2Vec2ForCTC``.

The teacher is made without bigfoot's encoder on purpose: what bigfoot distils in its demo is a plain Hugging Face
model, as a user's would be. Strings begin with one digit and lengthen; synthetic and FSDD speech are mixed; a killed
run goes on from its last checkpoint when the same command is given again.

    python recipes/tiny_teacher/train.py --fsdd ../shared/data/fsdd --out runs/tiny_teacher
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bigfoot.errors import plain_errors

with plain_errors():  # without the extra [train]: its install line
    import jiwer
    import torch
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
        Wav2Vec2Processor,
    )
    from transformers.audio_utils import mel_filter_bank

    from bigfoot.data.fsdd import join_strings
    from bigfoot.data.synthetic import synthesize_split
    from bigfoot.data.utterance import Utterance, add_noise
    from bigfoot.storage.replace import swapped_in

# The 32 tokens of wav2vec2-base-960h, in its order: by frequency in English after the specials.
VOCABULARY = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK", "'", *"XJQZ"]
STRING_LENGTHS = ((700, 1), (900, 2), (1200, 4), (10**9, 8))
"""(steps, most digits in a string until then)."""
FLAT_START = ((0, 1.0), (300, 1.0), (600, 0.0))
"""(steps, weight of the flat start against CTC), straight lines between."""
NUM_MELS = 40
POOL_PASSES = 3
CHECKPOINT = "checkpoint.pt"
COLUMNS = ("step", "CTC", "flat", "digit", "WER synthetic", "WER fsdd", "seconds")


def build_processor(folder: Path) -> Wav2Vec2Processor:
    """Write the vocabulary and wrap it as transformers wants it."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({token: i for i, token in enumerate(VOCABULARY)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(vocabulary), word_delimiter_token="|")
    extractor = Wav2Vec2FeatureExtractor(
        feature_size=1, sampling_rate=16_000, padding_value=0.0, do_normalize=True, return_attention_mask=False
    )
    return Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer)


def build_model() -> Wav2Vec2ForCTC:
    """The structure of wav2vec2-base, 12 layers and group norm, with everything narrow.

    Norms after the blocks, as there: with norms first, the positional convolution grows until it drowns the content.
    """
    config = Wav2Vec2Config(
        vocab_size=len(VOCABULARY), hidden_size=128, num_hidden_layers=12, num_attention_heads=4, intermediate_size=512,
        conv_dim=(64,) * 7, num_conv_pos_embeddings=64, num_conv_pos_embedding_groups=16, feat_extract_norm="group",
        do_stable_layer_norm=False, layerdrop=0.0, hidden_dropout=0.05, attention_dropout=0.05, activation_dropout=0.05,
        feat_proj_dropout=0.0, final_dropout=0.0, mask_time_prob=0.05, mask_time_length=5, mask_time_min_masks=0,
        mask_feature_prob=0.05, mask_feature_length=10, ctc_loss_reduction="mean", ctc_zero_infinity=True,
    )  # fmt: skip
    return Wav2Vec2ForCTC(config)


def read_pool(fsdd: Path, seed: int, max_digits: int, size: int, unseen: Sequence[str] = ()) -> list[Utterance]:
    """Fresh training strings: two in three synthetic, since unseen voices are the harder test."""
    from_fsdd = size // 3
    pool = list(synthesize_split(seed, "train", size - from_fsdd, 1, max_digits))
    return pool + list(join_strings(fsdd, "train", from_fsdd, seed, 1, max_digits, unseen=unseen))


def augment(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Speed (pitch and formants move along, which widens the voices), gain and noise."""
    speed = rng.uniform(0.87, 1.15)
    positions = np.arange(0, len(samples) - 1, speed)
    samples = np.interp(positions, np.arange(len(samples)), samples).astype(np.float32)
    if rng.random() < 0.5:
        samples = add_noise(samples, rng, snr_db=rng.uniform(15.0, 40.0))
    return (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)


def to_batch(utterances: list[Utterance], rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Pad a batch of nearly equal lengths."""
    sounds = [augment(u.samples, rng) for u in utterances]
    input_values = torch.zeros(len(sounds), max(map(len, sounds)))
    attention_mask = torch.zeros(input_values.shape, dtype=torch.long)
    labels = torch.full((len(sounds), max(len(u.text) for u in utterances)), -100)
    for i, (sound, utterance) in enumerate(zip(sounds, utterances, strict=True)):
        input_values[i, : len(sound)] = torch.from_numpy(sound)
        attention_mask[i, : len(sound)] = 1
        tokens = [VOCABULARY.index(c) for c in utterance.text.replace(" ", "|")]
        labels[i, : len(tokens)] = torch.tensor(tokens)
    return {"input_values": input_values, "attention_mask": attention_mask, "labels": labels}


def log_mel(input_values: torch.Tensor) -> torch.Tensor:
    """Log mel energies of exactly the samples that each frame of the feature encoder covers, (B, T, mels)."""
    filters = mel_filter_bank(257, NUM_MELS, 20.0, 8000.0, 16_000)
    frames = input_values.unfold(-1, 400, 320) * torch.hann_window(400)
    power = torch.fft.rfft(frames, 512).abs().square()
    return torch.log(power @ torch.tensor(filters, dtype=torch.float32) + 0.1)


def warm_features(model: Wav2Vec2ForCTC, args: argparse.Namespace) -> None:
    """Warm up the convolutions: a linear map of their output shall give log mels.

    From random weights they pass on little more than loudness for thousands of steps; this takes two minutes.
    """
    encoder, width = model.wav2vec2.feature_extractor, model.config.conv_dim[-1]
    head = torch.nn.Sequential(torch.nn.LayerNorm(width), torch.nn.Linear(width, NUM_MELS))
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, 3e-3, betas=(0.9, 0.98), weight_decay=0.01)
    stream = training_batches(args, 0, seconds=8.0)
    for step in range(args.warm_steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 50) * (1.0 - step / args.warm_steps)
        input_values = next(stream)["input_values"]
        target, predicted = log_mel(input_values), head(encoder(input_values).transpose(1, 2))
        real = input_values.unfold(-1, 400, 320).abs().sum(-1) > 0
        target = (target - target[real].mean(0)) / target[real].std()
        loss = (predicted - target)[real].square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % 100 == 0:
            print(f"features {step + 1}/{args.warm_steps}  log mel error {loss.item():.4f}", flush=True)


def flat_alignment(batch: dict[str, torch.Tensor], num_frames: int) -> torch.Tensor:
    """Spread the characters of each one-digit utterance evenly over its loud frames, the blank elsewhere.

    From random weights CTC idles for thousands of steps on "everything is blank"; a flat start, as hidden Markov models
    were given it, tells the features at once what a digit is.

    Returns:
        (B, T) tokens, -100 on padding.
    """
    target = torch.zeros(len(batch["labels"]), num_frames, dtype=torch.long)
    for i, sound in enumerate(batch["input_values"].abs()):
        frames = (int(batch["attention_mask"][i].sum()) - 400) // 320 + 1
        loudness = sound[: frames * 320].view(frames, 320).mean(-1)
        loud = (loudness > 0.3 * loudness.mean()).nonzero().flatten()
        first, end = int(loud[0]), int(loud[-1]) + 1
        tokens = batch["labels"][i][batch["labels"][i] >= 0]
        target[i, first:end] = tokens[torch.arange(end - first) * len(tokens) // (end - first)]
        target[i, frames:] = -100
    return target


def compute_losses(
    model: Wav2Vec2ForCTC, word_head: torch.nn.Linear, batch: dict[str, torch.Tensor], flat: float
) -> tuple[torch.Tensor, list[float]]:
    """CTC, mixed during the flat start with two helps that know where and which a single digit is.

    Args:
        model: that is trained.
        word_head: guesses the digit.
        batch: of ``to_batch``, single digits where ``flat`` is above 0.
        flat: weight of the two helps, 1 to 0.

    Returns:
        What is minimized, and the terms: CTC, cross-entropy on the flat alignment, and that of the digit guessed from
        the mean frame.
    """
    output = model(**batch, output_hidden_states=True)
    if flat == 0.0:
        return output.loss, [output.loss.item(), 0.0, 0.0]
    logits = output.logits
    target = flat_alignment(batch, logits.shape[1])
    entropy = torch.nn.functional.cross_entropy(logits.transpose(1, 2), target, ignore_index=-100)
    real = (target >= 0).unsqueeze(-1)
    mean_frame = (output.hidden_states[-1] * real).sum(1) / real.sum(1)
    # No two digits share their first two characters.
    words = batch["labels"][:, 0] * len(VOCABULARY) + batch["labels"][:, 1]
    guess = torch.nn.functional.cross_entropy(word_head(mean_frame), words)
    return flat * (entropy + guess) + (1.0 - flat) * output.loss, [output.loss.item(), entropy.item(), guess.item()]


def batches(pool: list[Utterance], seconds: float, rng: np.random.Generator) -> Iterator[list[Utterance]]:
    """Neighbours in length share a batch of about the given seconds; the batches come shuffled."""
    ordered = sorted(pool, key=lambda u: u.seconds * rng.uniform(0.97, 1.03))
    groups: list[list[Utterance]] = [[]]
    for utterance in ordered:
        if groups[-1] and utterance.seconds * (len(groups[-1]) + 1) > seconds:
            groups.append([])
        groups[-1].append(utterance)
    for i in rng.permutation(len(groups)):
        yield groups[i]


def flat_weight(step: int) -> float:
    """Weight of the flat start against CTC."""
    return float(np.interp(step, *zip(*FLAT_START, strict=True)))


def max_digits(step: int) -> int:
    """Most digits in a string."""
    return next(digits for until, digits in STRING_LENGTHS if step < until)


def training_batches(args: argparse.Namespace, first_step: int, seconds: float) -> Iterator[dict[str, torch.Tensor]]:
    """Endless batches from pools that are made anew and lengthen; what comes follows from the step it starts at."""
    step = first_step
    while True:
        rng = np.random.default_rng([args.seed, step])
        pool = read_pool(args.fsdd, int(rng.integers(2**31)), max_digits(step), args.pool, args.unseen)
        for _ in range(POOL_PASSES):
            for group in batches(pool, seconds, rng):
                yield to_batch(group, rng)
                step += 1


@torch.no_grad()
def measure_wer(model: Wav2Vec2ForCTC, processor: Wav2Vec2Processor, utterances: list[Utterance]) -> float:
    """Greedy word error rate, one utterance at a time: a batch's padding would change group norm."""
    model.eval()
    texts = []
    for utterance in utterances:
        inputs = processor(utterance.samples, sampling_rate=16_000, return_tensors="pt")
        texts.append(processor.batch_decode(model(inputs.input_values).logits.argmax(-1))[0])
    model.train()
    return jiwer.wer([u.text for u in utterances], texts)


def learning_rate(step: int, args: argparse.Namespace) -> float:
    """Warm up, hold, then fall linearly to nothing over the last half."""
    warm = min(1.0, (step + 1) / 300)
    fall = min(1.0, (args.steps - step) / (0.5 * args.steps))
    return args.lr * warm * fall


def save_atomically(state: dict[str, object], path: Path) -> None:
    """Write beside and rename, so that a kill leaves the last good checkpoint."""
    with swapped_in(path) as beside:
        torch.save(state, beside)


@dataclass
class Training:
    """What learns, what it needs, and how far it is.

    Args:
        model: becomes the teacher.
        word_head: helps with single digits, and is thrown away.
        optimizer: of both.
        step: optimizer steps done.
    """

    model: Wav2Vec2ForCTC
    word_head: torch.nn.Linear
    optimizer: torch.optim.Optimizer
    step: int = 0

    @property
    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {"model": self.model, "word_head": self.word_head, "optimizer": self.optimizer}

    def save(self, checkpoint: Path) -> None:
        """Write a checkpoint."""
        state: dict[str, object] = {name: part.state_dict() for name, part in self.parts.items()}
        save_atomically(state | {"step": self.step}, checkpoint)

    def resume(self, checkpoint: Path) -> None:
        """Take up a checkpoint."""
        state = torch.load(checkpoint, weights_only=True)
        self.step = state["step"]
        for name, part in self.parts.items():
            part.load_state_dict(state[name])

    def advance(self, batch: dict[str, torch.Tensor], args: argparse.Namespace) -> list[float]:
        """Take one optimizer step, and return its loss terms."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, args)
        # Masks over utterances of half a second would hide the whole of them.
        self.model.config.apply_spec_augment = max_digits(self.step) > 1
        loss, terms = compute_losses(self.model, self.word_head, batch, flat_weight(self.step))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        return terms


def start(args: argparse.Namespace) -> Training:
    """Build the model, and take up the last checkpoint or warm up the convolutions."""
    model = build_model().train()
    word_head = torch.nn.Linear(model.config.hidden_size, len(VOCABULARY) ** 2)
    trained = [*model.parameters(), *word_head.parameters()]
    optimizer = torch.optim.AdamW(trained, args.lr, betas=(0.9, 0.98), weight_decay=0.01)
    training, checkpoint = Training(model, word_head, optimizer), args.out / CHECKPOINT
    if checkpoint.exists():
        training.resume(checkpoint)
        torch.manual_seed(args.seed + training.step)
        print(f"resuming from step {training.step}", flush=True)
    else:
        warm_features(model, args)
    return training


def write_row(row: list[float], curve: Path) -> None:
    """Print a row of ``COLUMNS`` and add it to the curve."""
    print("  ".join(f"{name} {value}" for name, value in zip(COLUMNS, row, strict=True)), flush=True)
    with curve.open("a", newline="") as file:
        csv.writer(file).writerow(row)


def train(args: argparse.Namespace) -> None:
    """Train to ``--steps``, measuring and saving on the way."""
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    processor, training = build_processor(args.out / "vocabulary"), start(args)
    dev_sets = {
        "synthetic": list(synthesize_split(1, "dev", args.dev)),
        "fsdd": list(join_strings(args.fsdd, "dev", args.dev, 1, unseen=args.unseen)),
    }
    losses: list[list[float]] = []
    started = time.time()
    stream = training_batches(args, training.step, args.batch_seconds)
    while training.step < args.steps:
        losses.append(training.advance(next(stream), args))
        if training.step % args.every == 0 or training.step == args.steps:
            wers = [measure_wer(training.model, processor, utterances) for utterances in dev_sets.values()]
            figures = [round(float(value), 4) for value in [*np.mean(losses, axis=0), *wers]]
            write_row([training.step, *figures, int(time.time() - started)], args.out / "curve.csv")
            losses.clear()
            training.save(args.out / CHECKPOINT)
    training.model.eval().save_pretrained(args.out / "model")
    processor.save_pretrained(args.out / "model")
    print(f"teacher in {args.out / 'model'}")


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fsdd", type=Path, required=True, help="folder of the Free Spoken Digit Dataset")
    parser.add_argument("--out", type=Path, default=Path("runs/tiny_teacher"), help="folder for checkpoint and model")
    parser.add_argument("--steps", type=int, default=2800, help="optimizer steps in all")
    parser.add_argument("--warm_steps", type=int, default=700, help="steps in which the convolutions learn log mels")
    parser.add_argument("--every", type=int, default=100, help="measure and save every so many steps")
    parser.add_argument("--lr", type=float, default=8e-4, help="highest learning rate")
    parser.add_argument("--batch_seconds", type=float, default=24.0, help="audio in a batch")
    parser.add_argument("--pool", type=int, default=1500, help="strings synthesized at a time")
    parser.add_argument("--dev", type=int, default=20, help="dev strings of each corpus")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--unseen", nargs="*", default=[], help="speakers of FSDD that it is not trained on")
    parser.add_argument("--seed", type=int, default=1, help="seed of weights and data")
    train(parser.parse_args())


if __name__ == "__main__":
    with plain_errors():
        main()
