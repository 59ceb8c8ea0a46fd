"""Make a small GPT-2 of a text file: a byte-level BPE and a model, trained for a few minutes.

    python tools/make_small_gpt2.py transcripts.txt.gz runs/small_gpt2

Plain transformers opens the folder (``GPT2LMHeadModel.from_pretrained``), and so does a run with
``finetune.decoder.kind=pretrained finetune.decoder.language_model=runs/small_gpt2``. It stands in for a model where
none can be fetched.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from bigfoot.errors import plain_errors

with plain_errors():  # without the extra [train]: its install line
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from torch import Tensor
    from transformers import GPT2Config, GPT2LMHeadModel

    from bigfoot.text.lines import read_lines

END = "<|endoftext|>"


def learn_tokenizer(lines: list[str], vocab_size: int) -> Tokenizer:
    """Learn a byte-level BPE, which can write any text.

    Args:
        lines: of text.
        vocab_size: tokens, the 256 bytes and the end among them.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(lines, trainer)
    return tokenizer


def draw_batches(tokens: Tensor, batch_size: int, length: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Draw (B, length) stretches of the text, without end."""
    while True:
        begins = torch.randint(0, len(tokens) - length + 1, (batch_size,), generator=generator)
        yield torch.stack([tokens[begin : begin + length] for begin in begins])


def train(model: GPT2LMHeadModel, batches: Iterator[Tensor], steps: int, learning_rate: float) -> float:
    """Train with AdamW and a cosine schedule.

    Returns:
        The mean loss of the last tenth of the steps, in nats a token.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    model.train()
    losses, began = [], time.monotonic()
    for step, batch in enumerate(islice(batches, steps)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        loss = model(batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
        if (step + 1) % max(1, steps // 10) == 0:
            print(f"step {step + 1}/{steps}  loss {losses[-1]:.3f}  {time.monotonic() - began:.0f} s")
    last = losses[-max(1, steps // 10) :]
    model.eval()
    return sum(last) / len(last)


def main() -> None:
    """Read, train, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="a text file, plain or .gz; names of utterances are left out")
    parser.add_argument("folder", type=Path, help="where the model is written")
    parser.add_argument("--lines", type=int, default=20_000, help="read so many lines")
    sizes = (("vocab-size", 1000), ("width", 128), ("layers", 4), ("heads", 4), ("positions", 256), ("steps", 1000),
             ("batch-size", 16), ("length", 64), ("seed", 7), ("threads", 1))  # fmt: skip
    for name, default in sizes:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    lines = list(islice(read_lines(given.text), given.lines))
    tokenizer = learn_tokenizer(lines, given.vocab_size)
    end = tokenizer.token_to_id(END)
    tokens = torch.tensor([token for encoded in tokenizer.encode_batch(lines) for token in (end, *encoded.ids)])
    shape = GPT2Config(
        vocab_size=tokenizer.get_vocab_size(), n_positions=given.positions, n_embd=given.width,
        n_layer=given.layers, n_head=given.heads, bos_token_id=end, eos_token_id=end,
    )  # fmt: skip
    model = GPT2LMHeadModel(shape)
    length = min(given.length, given.positions, len(tokens))
    batches = draw_batches(tokens, given.batch_size, length, torch.Generator().manual_seed(given.seed))
    loss = train(model, batches, given.steps, given.learning_rate)
    model.save_pretrained(given.folder)
    tokenizer.save(str(given.folder / "tokenizer.json"))
    perplexity = math.exp(loss)
    print(f"{given.folder}: {model.num_parameters():,} parameters, perplexity {perplexity:.1f} a token of its own text")


if __name__ == "__main__":
    with plain_errors():
        main()
