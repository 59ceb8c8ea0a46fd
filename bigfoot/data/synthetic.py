"""Strings of spoken digits by espeak-ng: a speech corpus on a bare machine, the same bits for the same seed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bigfoot.audio.files import resample
from bigfoot.data.utterance import Utterance, add_noise, digits_to_text, silence
from bigfoot.espeak import Voice, speak

ACCENTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-us-nyc")

# A variant is a voice; relatives (iven2, klatt5, ...) stay in one split, so that the speakers of dev and test are new.
# Whispering, croaking and robot effects are left out: users do not sound like that. So are Reed and caleb, for
# whom espeak-ng reads memory that it never set, so that they never sound the same twice; Andy and f1 stand in their
# places, a second time each, so that every other string keeps its voice.
VARIANTS: dict[str, tuple[str, ...]] = {
    "train": (
        "Alex", "Alicia", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Gene2", "Henrique", "Hugo", "Jacky",
        "Marco", "Mario", "Michael", "Andy", "RicishayMax", "RicishayMax2", "RicishayMax3", "Storm", "adam", "anika",
        "announcer", "antonio", "aunty", "benjamin", "boris", "f1", "david", "ed", "f1", "f2", "f4", "grandma",
        "gustave", "ian", "iven", "iven2", "iven3", "iven4", "john", "klatt", "klatt2", "klatt3", "klatt4", "klatt5",
        "klatt6", "m1", "m2", "m4", "m5", "m7", "m8", "marcelo", "max", "michel", "norbert", "pablo", "paul", "pedro",
        "quincy", "rob", "robert", "sandro", "steph", "steph2", "steph3", "travis", "victor", "zac",
    ),
    "dev": ("Lee", "belinda", "f5", "m3", "miguel", "shelby"),
    "test": ("Mike", "mike2", "Nguyen", "edward", "edward2", "f3", "grandpa", "kaukovalta", "linda", "m6"),
}  # fmt: skip
FEMALE = frozenset({
    "Alicia", "Andrea", "Annie", "anika", "aunty", "belinda", "f1", "f2", "f3", "f4", "f5", "grandma", "linda", "steph",
    "steph2", "steph3",
})  # fmt: skip
"""Variants that espeak-ng names female."""
_NATIONS = {"en-us": "american", "en-us-nyc": "american", "en-029": "caribbean"}
FAST = 155
"""Words a minute from which a voice is fast."""
_SPLIT_CODE = {"train": 0, "dev": 1, "test": 2}


def synthesize_string(seed: int, split: str, index: int, min_digits: int = 1, max_digits: int = 8) -> Utterance:
    """Synthesize one string of digits; text and voice follow from (seed, split, index) alone.

    Args:
        seed: of the corpus.
        split: ``train``, ``dev`` or ``test``; decides the voices.
        index: number of the utterance in its split, 0 or more.
        min_digits: fewest digits in a string, 1 or more.
        max_digits: most digits in a string.

    Returns:
        The utterance, its voice's variant as the speaker.

    Examples:
        >>> synthesize_string(0, "test", 3).text
        'FIVE FIVE'
    """
    rng = np.random.default_rng([seed, _SPLIT_CODE[split], index])
    digits = rng.integers(0, 10, size=rng.integers(min_digits, max_digits + 1)).tolist()
    text = digits_to_text(digits)
    variant = VARIANTS[split][rng.integers(len(VARIANTS[split]))]
    voice = Voice(
        name=f"{ACCENTS[rng.integers(len(ACCENTS))]}+{variant}",
        rate=int(rng.integers(110, 200)),
        pitch=int(rng.integers(25, 76)),
        pitch_range=int(rng.integers(20, 81)),
        word_gap=int(rng.integers(0, 12)),
    )
    samples = resample(*speak(text.lower(), voice))
    samples = np.concatenate([silence(rng, 0.25), samples, silence(rng, 0.25)])
    samples = samples * np.float32(rng.uniform(0.1, 0.7) / max(1e-3, float(np.abs(samples).max())))
    samples = add_noise(samples, rng, snr_db=rng.uniform(15.0, 40.0))
    return Utterance(f"synthetic-{split}-{index:06d}", variant, text, samples, describe_voice(voice))


def describe_voice(voice: Voice) -> dict[str, str]:
    """Label a voice for tasks.

    Args:
        voice: such as ``en-us+f3``.

    Returns:
        ``sex``, ``accent``, ``speed``, and ``traits``: female, american, british, caribbean and fast, as far as they
        are true, separated by ``|``.

    Examples:
        >>> describe_voice(Voice("en-us+f3", rate=180))["traits"]
        'female|american|fast'
    """
    accent, _, variant = voice.name.partition("+")
    sex, nation = "female" if variant in FEMALE else "male", _NATIONS.get(accent, "british")
    speed = "fast" if voice.rate >= FAST else "slow"
    traits = [word for word in (sex, nation, speed) if word not in ("male", "slow")]
    return {"sex": sex, "accent": nation, "speed": speed, "traits": "|".join(traits)}


def synthesize_split(
    seed: int, split: str, count: int, min_digits: int = 1, max_digits: int = 8
) -> Iterator[Utterance]:
    """Speak a whole split, one utterance after the other.

    Args:
        seed: of the corpus.
        split: ``train``, ``dev`` or ``test``.
        count: number of utterances.
        min_digits: fewest digits in a string.
        max_digits: most digits in a string.

    Yields:
        Utterances 0 to count - 1 of ``synthesize_string``.

    Examples:
        >>> len(list(synthesize_split(0, "dev", 3)))
        3
    """
    for index in range(count):
        yield synthesize_string(seed, split, index, min_digits, max_digits)
