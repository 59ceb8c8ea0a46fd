"""A thin, blocking wrapper of the espeak-ng library that the wheel ``espeakng-loader`` carries: sound, times, phonemes.

espeak-ng is GPL-3.0 and therefore an optional extra, imported here and nowhere else.
"""

from __future__ import annotations

import _ctypes
import ctypes
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bigfoot.errors import MissingExtraError
from bigfoot.types import Samples, Seconds

# espeak-ng's own numbers, from its public header speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_PHONEME_EVENTS = 1
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_POS_CHARACTER = 1
_EE_OK = 0
_RATE, _PITCH, _RANGE, _WORDGAP = 1, 3, 4, 7
_EVENT_END, _EVENT_WORD, _EVENT_PHONEME = 0, 1, 7
# Phonemes whose name starts with it are pauses.
_PAUSE = b"_"
_IPA = 2
# Stands between phonemes of a word, in bits 8 to 23 of the mode; no phoneme is written with it.
_SEPARATOR = "_"
_STRESS = str.maketrans("", "", "\u02c8\u02cc")
_LANGUAGE_MARK = re.compile(r"\([a-z-]+\)")


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("name", ctypes.c_char * 8),  # a union of pointers, a number, and the name of a phoneme
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Voice:
    """How one sentence is spoken.

    Args:
        name: espeak-ng voice, ``language+variant`` such as ``en-us+f3``.
        rate: speed in words a minute, 80 to 450.
        pitch: base pitch, 0 to 100.
        pitch_range: liveliness of the intonation, 0 (flat) to 100.
        word_gap: pause between words in units of 10 ms.
    """

    name: str
    rate: int = 170
    pitch: int = 50
    pitch_range: int = 50
    word_gap: int = 0


@dataclass(frozen=True)
class SpokenWord:
    """A word and its times, as espeak-ng reports them.

    Args:
        word: as it stands in the text.
        start: from the start of the sound, in seconds.
        end: where its last phoneme ends: at a pause, or at the next word.
    """

    word: str
    start: Seconds
    end: Seconds


class _Library:
    """The shared library, loaded for one sentence.

    espeak-ng goes on from sentence to sentence with static state that no call resets (the phase of the flutter, the
    seed of the breath noise, drawn from the clock): the same sentence then never sounds the same twice. Loading the
    library anew forgets it all, and costs some 3 ms.
    """

    def __init__(self, *, times: bool = False) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise MissingExtraError("synthetic", "espeakng-loader") from error
        self._lib = ctypes.CDLL(espeakng_loader.get_library_path())
        self.sample_rate: int = self._lib.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS,
            0,
            espeakng_loader.get_data_path().encode(),
            _INITIALIZE_DONT_EXIT | (_INITIALIZE_PHONEME_EVENTS if times else 0),
        )
        if self.sample_rate <= 0:
            raise RuntimeError("espeak-ng could not read its voice data; reinstall espeakng-loader")
        self._lib.espeak_ng_SetRandSeed(ctypes.c_long(1))
        self._chunks: list[np.ndarray] = []
        self._words: list[tuple[int, int, Seconds]] = []  # position in the text from 1, length, start
        self._pauses: list[Seconds] = []
        # The reference must outlive the library's use of it, hence an attribute.
        self._callback = _CALLBACK(self._collect)
        self._lib.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples: ctypes._Pointer, count: int, events: ctypes._Pointer) -> int:
        if count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events and events[index].type != _EVENT_END:
            event = events[index]
            if event.type == _EVENT_WORD:
                self._words.append((event.text_position, event.length, event.audio_position / 1000))
            elif event.type == _EVENT_PHONEME and event.name.startswith(_PAUSE):
                self._pauses.append(event.audio_position / 1000)
            index += 1
        return 0

    def _set_voice(self, name: str) -> None:
        if self._lib.espeak_SetVoiceByName(name.encode()) != _EE_OK:
            raise ValueError(f"espeak-ng has no voice named {name!r}")

    def speak(self, text: str, voice: Voice) -> Samples:
        self._set_voice(voice.name)
        for parameter, value in (
            (_RATE, voice.rate),
            (_PITCH, voice.pitch),
            (_RANGE, voice.pitch_range),
            (_WORDGAP, voice.word_gap),
        ):
            self._lib.espeak_SetParameter(parameter, value, 0)
        self._chunks.clear()
        self._words.clear()
        self._pauses.clear()
        data = text.encode()
        self._lib.espeak_Synth(data, len(data) + 1, 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None)
        if not self._chunks:
            raise RuntimeError(f"espeak-ng gave no sound for {text!r}")
        return np.concatenate(self._chunks).astype(np.float32) / 32768.0

    def words(self, text: str) -> list[SpokenWord]:
        """Return the words of the sentence that was spoken last; their ends need ``times``."""
        sound = sum(map(len, self._chunks)) / self.sample_rate
        bounds = [*(start for _, _, start in self._words[1:]), sound]
        found = []
        for (first, length, start), bound in zip(self._words, bounds, strict=True):
            end = min((pause for pause in self._pauses if start < pause < bound), default=bound)
            found.append(SpokenWord(text[first - 1 : first - 1 + length], start, end))
        return found

    def phonemes(self, text: str, voice: str) -> list[str]:
        self._set_voice(voice)
        convert = self._lib.espeak_TextToPhonemes
        convert.restype = ctypes.c_char_p
        rest = ctypes.c_char_p(text.encode())
        found: list[str] = []
        # One clause a call; the pointer moves on, and is null at the end.
        while rest.value:
            clause = convert(ctypes.byref(rest), _CHARS_UTF8, _IPA | ord(_SEPARATOR) << 8) or b""
            symbols = _LANGUAGE_MARK.sub("", clause.decode())
            found += [phoneme for word in symbols.split() for phoneme in word.split(_SEPARATOR) if phoneme]
        return found

    def close(self) -> None:
        self._chunks.clear()
        self._lib.espeak_Terminate()
        # ctypes never unloads by itself; its own functions for it have no public name.
        unload = getattr(_ctypes, "FreeLibrary" if sys.platform == "win32" else "dlclose")
        unload(self._lib._handle)


def speak(text: str, voice: Voice) -> tuple[Samples, int]:
    """Speak one sentence; the same bits for the same arguments.

    Args:
        text: in the voice's language.
        voice: speaker and manner of speaking.

    Returns:
        Samples (N,) as float32 in [-1, 1], and the sample rate in Hz (espeak-ng's own, 22050).

    Raises:
        MissingExtraError: the extra ``[synthetic]`` is not installed.
        ValueError: the voice does not exist.

    Examples:
        >>> samples, rate = speak("seven", Voice("en-us+f3"))
        >>> rate
        22050
    """
    library = _Library()
    try:
        return library.speak(text, voice), library.sample_rate
    finally:
        library.close()


def speak_with_times(text: str, voice: Voice) -> tuple[Samples, int, list[SpokenWord]]:
    """Speak one sentence and return the times of its words.

    Args:
        text: in the voice's language.
        voice: speaker and manner of speaking.

    Returns:
        Samples and sample rate as of ``speak``, and the words in order.

    Raises:
        MissingExtraError: the extra ``[synthetic]`` is not installed.
        ValueError: the voice does not exist.

    Examples:
        >>> samples, rate, words = speak_with_times("seven three", Voice("en-us+f3"))
        >>> [word.word for word in words], 0.2 < words[0].end <= words[1].start < 0.8
        (['seven', 'three'], True)
    """
    library = _Library(times=True)
    try:
        samples = library.speak(text, voice)
        return samples, library.sample_rate, library.words(text)
    finally:
        library.close()


def phonemize(texts: Sequence[str], voice: str = "en-us", *, stress: bool = False) -> list[list[str]]:
    """Convert texts to phonemes.

    Capitals are lowered before, for espeak-ng reads some words letter by letter that have nothing else (US).

    Args:
        texts: in the voice's language.
        voice: espeak-ng voice.
        stress: keep the marks of stress, which stand before a vowel and make another symbol of it.

    Returns:
        Phonemes of the International Phonetic Alphabet, a list a text.

    Raises:
        MissingExtraError: the extra ``[synthetic]`` is not installed.
        ValueError: the voice does not exist.

    Examples:
        >>> phonemize(["SIX"])
        [['s', '\u026a', 'k', 's']]
    """
    library = _Library()
    try:
        phonemized = [library.phonemes(text.lower(), voice) for text in texts]
    finally:
        library.close()
    if stress:
        return phonemized
    return [[kept for phoneme in phonemes if (kept := phoneme.translate(_STRESS))] for phonemes in phonemized]
