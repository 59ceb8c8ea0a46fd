"""A thin, blocking voice on the espeak-ng library that the wheel ``espeakng-loader`` carries.

espeak-ng is GPL-3.0 and therefore an optional extra, imported here and nowhere else.
"""

from __future__ import annotations

import _ctypes
import ctypes
import sys
from dataclasses import dataclass

import numpy as np

from bigfoot.errors import MissingExtraError

# espeak-ng's own numbers, from its public header speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_POS_CHARACTER = 1
_EE_OK = 0
_RATE, _PITCH, _RANGE, _WORDGAP = 1, 3, 4, 7
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


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


class _Library:
    """The shared library, loaded for one sentence.

    espeak-ng goes on from sentence to sentence with static state that no call resets (the phase of the flutter, the
    seed of the breath noise, drawn from the clock): the same sentence then never sounds the same twice. Loading the
    library anew forgets it all, and costs some 3 ms.
    """

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError as error:
            raise MissingExtraError("synthetic", "espeakng-loader") from error
        self._lib = ctypes.CDLL(espeakng_loader.get_library_path())
        self.sample_rate: int = self._lib.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS,
            0,
            espeakng_loader.get_data_path().encode(),
            _INITIALIZE_DONT_EXIT,
        )
        if self.sample_rate <= 0:
            raise RuntimeError("espeak-ng could not read its voice data; reinstall espeakng-loader")
        self._lib.espeak_ng_SetRandSeed(ctypes.c_long(1))
        self._chunks: list[np.ndarray] = []
        # The reference must outlive the library's use of it, hence an attribute.
        self._callback = _CALLBACK(self._collect)
        self._lib.espeak_SetSynthCallback(self._callback)

    def _collect(self, samples: ctypes._Pointer, count: int, _events: int) -> int:
        if count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def speak(self, text: str, voice: Voice) -> np.ndarray:
        if self._lib.espeak_SetVoiceByName(voice.name.encode()) != _EE_OK:
            raise ValueError(f"espeak-ng has no voice named {voice.name!r}")
        for parameter, value in (
            (_RATE, voice.rate),
            (_PITCH, voice.pitch),
            (_RANGE, voice.pitch_range),
            (_WORDGAP, voice.word_gap),
        ):
            self._lib.espeak_SetParameter(parameter, value, 0)
        self._chunks.clear()
        data = text.encode()
        self._lib.espeak_Synth(data, len(data) + 1, 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None)
        if not self._chunks:
            raise RuntimeError(f"espeak-ng gave no sound for {text!r}")
        return np.concatenate(self._chunks).astype(np.float32) / 32768.0

    def close(self) -> None:
        self._chunks.clear()
        self._lib.espeak_Terminate()
        # ctypes never unloads by itself; its own functions for it have no public name.
        unload = getattr(_ctypes, "FreeLibrary" if sys.platform == "win32" else "dlclose")
        unload(self._lib._handle)


def speak(text: str, voice: Voice) -> tuple[np.ndarray, int]:
    """Speak one sentence; the same bits for the same arguments.

    Args:
        text: what to say, in the voice's language.
        voice: who says it and how.

    Returns:
        Samples (N,) as float32 in [-1, 1], and the sample rate in Hz (espeak-ng's own, 22050).

    Raises:
        MissingExtraError: the extra ``[synthetic]`` is not installed.
        ValueError: the voice does not exist.

    Example:
        >>> samples, rate = speak("seven", Voice("en-us+f3"))
        >>> rate
        22050
    """
    library = _Library()
    try:
        return library.speak(text, voice), library.sample_rate
    finally:
        library.close()
