"""Make short counselling-like dialogues on the spot: a grammar of turns, spoken by espeak-ng.

    python recipes/dialogue/make_dialogues.py runs/dialogue/data

Writes ``train.jsonl``, ``dev.jsonl`` and ``test.jsonl`` (one turn a line: dialogue, audio, start, end, speaker, role,
text, attitude, lean, tone), a recording a dialogue, and ``train.txt``, on which a small language model can be trained.

What a client means depends on words and on the way they are spoken. Words lean towards change, away from it, or
neither; the tone is bright (fast, high, lively), flat, or slow (low, with pauses). ``ATTITUDES`` gives the attitude of
both. The tone is drawn by the words such that the best guess from words alone is right in ``TEXT_CEILING`` of the
turns, with that macro F1 too: a text-only model cannot pass it, whatever it reads of the history.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from bigfoot.errors import plain_errors

with plain_errors():  # without the extra [train]: its install line
    import numpy as np
    import soundfile

    from bigfoot.audio.files import resample
    from bigfoot.data.synthetic import VARIANTS
    from bigfoot.data.utterance import add_noise, silence
    from bigfoot.espeak import Voice, speak

SAMPLE_RATE = 16_000
TEXT_CEILING = 0.6
"""Accuracy and macro F1 of the best guess from the words alone."""
LEANS, TONES = ("towards", "away", "open"), ("bright", "flat", "slow")
ATTITUDES = {
    "towards": {"bright": "change", "flat": "neutral", "slow": "sustain"},
    "away": {"bright": "sustain", "flat": "neutral", "slow": "change"},
    "open": {"flat": "neutral", "bright": "change", "slow": "sustain"},
}
"""Attitude by lean and tone; the first tone of each lean is the usual one."""
TOPICS = ("smoking", "drinking", "gambling", "shopping")
CLIENT = {
    "towards": ("i want to stop {topic}", "i will quit {topic}", "i am done with {topic}"),
    "away": ("i really need my {topic}", "{topic} keeps me going", "nothing beats {topic}"),
    "open": ("there is also the {topic}", "we talked about {topic} before", "you asked me about {topic}"),
}
OPENING = ("what brings you here", "how was your week", "what is on your mind")
REPLY = {
    "change": ("that is a good plan", "you are ready for it"),
    "sustain": ("it is hard to let go", "you are not ready for it"),
    "neutral": ("tell me more about it", "what else is there"),
}


@dataclass(frozen=True)
class Line:
    """One turn before it is spoken.

    Args:
        role: ``counsellor`` or ``client``.
        text: its words.
        lean: of a client's words; empty for a counsellor.
        tone: of a client.
    """

    role: str
    text: str
    lean: str = ""
    tone: str = "flat"

    @property
    def attitude(self) -> str:
        """What a client means; empty for a counsellor."""
        return ATTITUDES[self.lean][self.tone] if self.lean else ""


def draw_dialogue(rng: np.random.Generator, exchanges: int) -> list[Line]:
    """Draw the lines of a dialogue.

    Args:
        rng: decides all.
        exchanges: pairs of a counsellor's and a client's turn; a counsellor's answer ends the dialogue.
    """

    def choose(words: tuple[str, ...]) -> str:
        return words[rng.integers(len(words))]

    lines, topic = [Line("counsellor", choose(OPENING))], choose(TOPICS)
    for _ in range(exchanges):
        lean = choose(LEANS)
        tones = tuple(ATTITUDES[lean])
        rest = (1 - TEXT_CEILING) / 2
        tone = tones[rng.choice(3, p=[TEXT_CEILING, rest, rest])]
        lines.append(Line("client", choose(CLIENT[lean]).format(topic=topic), lean, tone))
        lines.append(Line("counsellor", choose(REPLY[lines[-1].attitude])))
    return lines


def choose_voice(name: str, base: int, tone: str, rng: np.random.Generator) -> Voice:
    """Choose how a line is spoken.

    Args:
        name: of espeak-ng.
        base: the speaker's own pitch.
        tone: of the line.
        rng: decides the rest.
    """
    if tone == "bright":
        return Voice(name, int(rng.integers(215, 245)), base + 25, 90, 0)
    if tone == "slow":
        return Voice(name, int(rng.integers(95, 115)), base - 15, 20, int(rng.integers(8, 14)))
    return Voice(name, int(rng.integers(150, 170)), base, 30, 0)


def speak_dialogue(lines: list[Line], split: str, rng: np.random.Generator) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Speak a dialogue with two voices of a split.

    Returns:
        Samples, and where each line starts and ends in them.
    """
    variants = VARIANTS[split]
    voices = {role: f"en-us+{variants[rng.integers(len(variants))]}" for role in ("counsellor", "client")}
    bases = {role: int(rng.integers(35, 56)) for role in voices}
    parts, bounds, place = [], [], 0
    for line in lines:
        spoken = resample(*speak(line.text, choose_voice(voices[line.role], bases[line.role], line.tone, rng)))
        spoken = np.concatenate([silence(rng, 0.1), spoken, silence(rng, 0.1)])
        # The level is no cue.
        spoken = spoken * np.float32(rng.uniform(0.2, 0.6) / max(1e-3, float(np.abs(spoken).max())))
        parts.append(add_noise(spoken, rng, snr_db=rng.uniform(20.0, 40.0)))
        bounds.append((place, place + len(spoken)))
        place += len(spoken)
    return np.concatenate(parts), bounds


def write_split(folder: Path, split: str, count: int, exchanges: int, seed: int) -> int:
    """Write a split.

    Returns:
        Its client turns.
    """
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        rng = np.random.default_rng([seed, list(VARIANTS).index(split), number])
        lines = draw_dialogue(rng, exchanges)
        samples, bounds = speak_dialogue(lines, split, rng)
        name = f"{split}-{number:04d}"
        soundfile.write(folder / "audio" / f"{name}.flac", samples, SAMPLE_RATE)
        for line, (first, last) in zip(lines, bounds, strict=True):
            rows.append({
                "dialogue": name, "audio": f"audio/{name}.flac", "start": round(first / SAMPLE_RATE, 4),
                "end": round(last / SAMPLE_RATE, 4), "speaker": f"{name}-{line.role}", "role": line.role,
                "text": line.text, "attitude": line.attitude, "lean": line.lean, "tone": line.tone,
            })  # fmt: skip
    spoken = "".join(f"{row['role']}: {row['text']}\n" for row in rows)
    (folder / f"{split}.txt").write_text(spoken, encoding="utf-8")
    lines_of_json = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / f"{split}.jsonl").write_text(lines_of_json, encoding="utf-8")
    return sum(row["role"] == "client" for row in rows)


def main() -> None:
    """Write all splits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    for name, default in (("train", 300), ("dev", 30), ("test", 80), ("exchanges", 3), ("seed", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    for split in VARIANTS:
        turns = write_split(given.folder, split, getattr(given, split), given.exchanges, given.seed)
        print(f"{split}: {getattr(given, split)} dialogues, {turns} turns of clients")
    print(f"macro F1 that the words alone allow: {TEXT_CEILING:.1%}")


if __name__ == "__main__":
    with plain_errors():
        main()
