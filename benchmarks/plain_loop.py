"""What a user would write with transformers alone: its training step, and its inference beside ours.

    python benchmarks/plain_loop.py --seconds 10 --utterances 16 --precision bf16

The training step is the one of ``train_step.py`` with transformers' own models: a teacher of 12 layers, a student of 4,
KL divergence of the logits and mean squared distance of the hidden states, AdamW. Inference is one padded batch, in
turns with ours.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from train_step import read_clock
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC

from bigfoot.models import BigfootConfig, BigfootForCTC

Seconds = float
SMALL = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 4, "conv_dim": [64] * 7,
         "num_conv_pos_embeddings": 64}  # fmt: skip
STUDENT_LAYERS = (3, 6, 9, 12)


def make_batch(seconds: Seconds, utterances: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Noise of unequal lengths, half of the seconds to all of them, with its mask."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.linspace(0.5, 1.0, utterances).mul(16_000 * seconds).long()
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    return (torch.randn(mask.shape, generator=generator) * mask).to(device), mask.to(device)


def plain_step(teacher: Any, student: Any, optimizer: torch.optim.Optimizer, given: tuple[Tensor, Tensor]) -> None:  # noqa: ANN401
    """Take one step."""
    values, mask = given
    with torch.no_grad():
        there = teacher(values, mask.long(), output_hidden_states=True)
    here = student(values, mask.long(), output_hidden_states=True)
    loss = nn.functional.kl_div(
        here.logits.float().log_softmax(-1), there.logits.float().log_softmax(-1), reduction="sum", log_target=True
    ) / here.logits[..., 0].numel()
    for own, other in enumerate(STUDENT_LAYERS, start=1):
        loss = loss + nn.functional.mse_loss(here.hidden_states[own].float(), there.hidden_states[other].float()) / 4
    loss.backward()
    nn.utils.clip_grad_norm_(student.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def time_rounds(calls: dict[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, list[Seconds]]:
    """Time calls in turns, after one round that does not count."""
    times: dict[str, list[Seconds]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            start = read_clock(device)
            call()
            if number:
                times[name].append(read_clock(device) - start)
    return times


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=["base", "tiny"], default="base", help="of the teacher")
    parser.add_argument("--seconds", type=float, default=10.0, help="longest utterance")
    parser.add_argument("--utterances", type=int, default=2, help="in the batch")
    parser.add_argument("--rounds", type=int, default=5, help="that count, after one that does not")
    parser.add_argument("--precision", choices=["no", "bf16"], default="no", help="autocast")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--json", type=Path, help="file for the figures")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shape = {"layerdrop": 0.0} | (SMALL if given.shape == "tiny" else {})
    teacher = Wav2Vec2ForCTC(Wav2Vec2Config(**shape)).to(device).eval().requires_grad_(False)
    student = Wav2Vec2ForCTC(Wav2Vec2Config(**shape, num_hidden_layers=4)).to(device).train()
    ours = BigfootForCTC(BigfootConfig.from_dict(teacher.config.to_dict())).to(device).eval()
    optimizer = torch.optim.AdamW(student.parameters(), 1e-4)
    batch = make_batch(given.seconds, given.utterances, device)
    audio = float(batch[1].sum()) / 16_000
    with torch.autocast(device.type, torch.bfloat16, enabled=given.precision == "bf16"):
        step = time_rounds({"step": lambda: plain_step(teacher, student, optimizer, batch)}, given.rounds, device)
        with torch.no_grad():
            calls = {"transformers": lambda: teacher(batch[0], batch[1].long()), "bigfoot": lambda: ours(*batch)}
            infer = time_rounds(calls, given.rounds, device)
    ratios = [one / other for one, other in zip(infer["transformers"], infer["bigfoot"], strict=True)]
    found = {"audio_seconds": audio, "step": step["step"], "inference": infer}
    middle = statistics.median(step["step"])
    print(f"plain step {1000 * middle:.0f} ms, {audio / middle:.0f} s of audio/s; "
          f"inference {statistics.median(ratios):.2f} times as fast as transformers")  # fmt: skip
    if given.json:
        kept = vars(given) | {"json": str(given.json), "torch": torch.__version__} | found
        given.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
