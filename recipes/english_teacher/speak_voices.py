"""Speak sentences by a neural voice, as a folder of audio beside .txt for ``prepare.py --voices``.

    pip install hibari-tts
    python recipes/english_teacher/speak_voices.py runs/english_teacher/data/text.txt voices --sentences 2500

hibari-tts (Apache-2.0) is some hundred times faster than real time on a core. Played at other rates its one voice
becomes several. What is there is not spoken again; every draw follows from the seed and the number of the sentence.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from bigfoot.errors import plain_errors

with plain_errors():
    from bigfoot.audio.files import resample, write_audio
    from bigfoot.progress import track
    from bigfoot.storage.replace import swapped_in, write_file

RATE = 24_000
WARPS = (0.78, 0.84, 0.9, 0.96, 1.0, 1.04, 1.08, 1.12)
"""How many times faster the voice is played: pitch and formants move along."""


def to_sentence(words: list[str]) -> str:
    """Write words as a sentence, which is spoken better than capitals."""
    lowered = " ".join("I" + word[1:].lower() if word.split("'")[0] == "I" else word.lower() for word in words)
    return f"{lowered[:1].upper()}{lowered[1:]}."


def speak(args: argparse.Namespace) -> None:
    """Speak the sentences that are not there yet."""
    from hibari import Hibari

    synthesizer = Hibari()
    lines = [line.split() for line in args.text.read_text(encoding="utf-8").splitlines() if line]
    for index in track(range(args.sentences), "speaking", args.sentences, "sentences"):
        rng = np.random.default_rng([args.seed, index])
        words, count = lines[rng.integers(len(lines))], int(rng.integers(4, 24))
        start = int(rng.integers(max(1, len(words) - count + 1)))
        words, warp = words[start : start + count], WARPS[rng.integers(len(WARPS))]
        audio = args.out / f"hibari{round(100 * warp)}" / f"hibari-{index:06d}.flac"
        if audio.is_file():
            continue
        speed = float(np.clip(rng.uniform(0.68, 1.05) / warp, 0.5, 2.0))
        samples = np.asarray(synthesizer(to_sentence(words), speed=speed, seed=int(rng.integers(2**30))), np.float32)
        samples = resample(samples, round(RATE * warp))
        write_file(audio.with_suffix(".txt"), (" ".join(words) + "\n").encode())
        with swapped_in(audio) as beside:
            write_audio(beside, 0.6 * samples / max(1e-3, float(np.abs(samples).max())))


def main() -> None:
    """Read the command line and speak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, help="sentences in capitals, one a line")
    parser.add_argument("out", type=Path, help="folder of the audio")
    parser.add_argument("--sentences", type=int, default=2500, help="how many to speak")
    parser.add_argument("--seed", type=int, default=1, help="seed of texts and voices")
    speak(parser.parse_args())


if __name__ == "__main__":
    with plain_errors():
        main()
