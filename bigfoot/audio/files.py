"""Audio files in, mono float32 at one rate out; every way a file can be bad has its own sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from bigfoot.audio.channels import choose_channel
from bigfoot.audio.foreign import foreign_problem
from bigfoot.audio.lengths import UNKNOWN_BYTES, alac_problem, sphere_problem
from bigfoot.audio.mpeg_count import mpeg_problem
from bigfoot.audio.ogg import ogg_problem
from bigfoot.audio.streams import AudioFile, open_streams
from bigfoot.errors import AudioError
from bigfoot.paths import file_problem
from bigfoot.types import HIGHEST_RATE, LOWEST_RATE, SAMPLE_RATE, Hertz, Samples, Seconds

_BLOCK: Seconds = 60.0
# A recorder that writes to a pipe cannot go back to fill in the length. A wav then has all ones there, which libsndfile
# mends; for flac it reports all of int64 and fails at the end of the file.
_UNKNOWN_FRAMES = 2**62

LOUDEST = 2.0**31
"""Largest sample that is taken for audio, which lies in -1..1. Files of floats in the scale of integers, 16 to 32 bits,
exist: models that normalize read them alike. What is beyond is damage, and its squares leave float32's range."""


@dataclass(frozen=True)
class AudioHeader:
    """What a file's header states.

    Args:
        sample_rate: in Hz.
        num_channels: 1 or more.
        num_frames: samples of one channel, 1 or more.
    """

    sample_rate: Hertz
    num_channels: int
    num_frames: int

    @property
    def seconds(self) -> Seconds:
        """Length of the audio."""
        return self.num_frames / self.sample_rate


def _checked_open(path: Path) -> AudioFile:
    if problem := file_problem(path):
        raise AudioError(path, problem)
    try:
        file = open_streams(path)
    except (soundfile.LibsndfileError, OSError, TypeError) as error:
        problem = foreign_problem(path) or f"not audio that soundfile can read ({error})"
        raise AudioError(path, problem) from error
    if problem := _problem_of_format(path, file) or _header_problem(file):
        file.close()
        raise AudioError(path, problem)
    return file


def _problem_of_format(path: Path, file: AudioFile) -> str | None:
    if file.format == "OGG":
        return ogg_problem(path)
    if file.format == "MP3":
        return mpeg_problem(path)
    if file.format == "CAF":
        return alac_problem(path, file.frames)
    return sphere_problem(path, file.frames) if file.format == "NIST" else None


def _header_problem(file: AudioFile) -> str | None:
    if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE:
        return f"sample rate {file.samplerate} Hz is outside {LOWEST_RATE}..{HIGHEST_RATE}"
    if file.frames > _UNKNOWN_FRAMES:
        return "its header leaves the length out, as one written to a pipe does; write it anew with flac or ffmpeg"
    if _is_cut_off(file.extra_info):
        return "truncated: its header promises more audio than the file holds"
    return "holds no samples" if file.frames == 0 else None


def _is_cut_off(log: str) -> bool:
    # libsndfile shortens a cut-off wav in silence; only its log still has the length in the header:
    #   data : 32000 (should be 9956)
    return any(
        int(held) < int(promised) < UNKNOWN_BYTES for promised, held in re.findall(r"(\d+) \(should be (\d+)\)", log)
    )


def read_header(path: str | Path) -> AudioHeader:
    """Read rate, channels and length of a file without decoding it.

    Args:
        path: any file that ``read_audio`` reads.

    Returns:
        The header; what lies behind it may still be cut off or damaged, which only reading shows.

    Raises:
        AudioError: missing, unreadable, empty, visibly truncated, or of an absurd rate.

    Examples:
        >>> import tempfile, numpy as np, soundfile
        >>> path = tempfile.mktemp(suffix=".wav")
        >>> soundfile.write(path, np.zeros((4000, 2)), 8000)
        >>> read_header(path), read_header(path).seconds
        (AudioHeader(sample_rate=8000, num_channels=2, num_frames=4000), 0.5)
    """
    with closing(_checked_open(Path(path))) as file:
        return AudioHeader(file.samplerate, file.channels, file.frames)


def sum_seconds(paths: Iterable[Path]) -> Seconds:
    """Sum the audio in files by their headers; those that cannot be read add nothing.

    Args:
        paths: files.
    """
    total = 0.0
    for path in paths:
        with suppress(AudioError):
            total += read_header(path).seconds
    return total


def samples_problem(samples: npt.NDArray[np.float32]) -> str | None:
    """Explain why numbers are no audio.

    Args:
        samples: of any shape.

    Returns:
        A few words; None for finite samples up to ``LOUDEST``.

    Examples:
        >>> samples_problem(np.array([0.5, 3e38], np.float32))
        'holds samples up to 3e+38; expected -1..1'
    """
    peak = max(float(samples.max()), -float(samples.min())) if samples.size else 0.0
    if not np.isfinite(peak):
        return "holds samples that are not finite numbers"
    return f"holds samples up to {peak:.3g}; expected -1..1" if peak > LOUDEST else None


def _read_mono(
    file: AudioFile, path: Path, start: int, count: int | None, size: int, channel: int | None
) -> Iterator[Samples]:
    """Read at most ``count`` samples in blocks of ``size``, and report what only reading shows."""
    expected = file.frames - start if count is None else count
    if channel is None:
        channel = choose_channel(path, file.channels)
    elif not 0 <= channel < file.channels:
        raise AudioError(path, f"has {file.channels} channels; channel {channel + 1} is asked for")
    held, missing = 0, count
    try:
        file.seek(start)
        # Block by block: a header's length may be nonsense.
        while missing is None or missing > 0:
            wanted = size if missing is None else min(size, missing)
            channels = file.read(wanted, dtype="float32", always_2d=True)
            if problem := samples_problem(channels):
                raise AudioError(path, problem)
            block = channels.mean(axis=1, dtype=np.float32) if channel is None else channels[:, channel]
            held, missing = held + len(block), None if missing is None else missing - wanted
            if len(block):
                yield block
            if len(block) < wanted:
                break
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(path, f"cannot be decoded ({error})") from error
    if held == 0:
        raise AudioError(path, "holds no samples")
    # A stretch may end a sample beyond the file through rounding; a tenth of a second is no rounding.
    if expected - held > file.samplerate // 10:
        raise AudioError(path, f"truncated: {held} of {expected} samples could be read")


def read_audio(
    path: str | Path,
    *,
    offset: Seconds = 0.0,
    duration: Seconds | None = None,
    sample_rate: Hertz = SAMPLE_RATE,
    channel: int | None = None,
) -> Samples:
    """Read a file, or a stretch of it, as mono at one rate.

    Args:
        path: wav, flac, ogg, opus, mp3 or whatever else soundfile reads; any rate, any channel count.
        offset: where to start, seconds, 0 or more.
        duration: how long a stretch, seconds; to the end by default.
        sample_rate: rate of the result in Hz.
        channel: that is read alone, from 0; the mean of all by default.

    Returns:
        Samples (N,), N of 1 or more.

    Raises:
        AudioError: missing, unreadable, empty, truncated, not finite, or of an absurd rate.

    Examples:
        >>> import tempfile, numpy as np, soundfile
        >>> path = tempfile.mktemp(suffix=".wav")
        >>> soundfile.write(path, np.zeros((8000, 2)), 8000)
        >>> read_audio(path).shape
        (16000,)
    """
    path = Path(path)
    with closing(_checked_open(path)) as file:
        rate, start = file.samplerate, round(offset * file.samplerate)
        count = None if duration is None else round(duration * rate)
        samples = np.concatenate(list(_read_mono(file, path, start, count, round(_BLOCK * rate), channel)))
    return resample(samples, rate, sample_rate)


def read_blocks(
    path: str | Path,
    *,
    offset: Seconds = 0.0,
    duration: Seconds | None = None,
    sample_rate: Hertz = SAMPLE_RATE,
    seconds: Seconds = 10.0,
    channel: int | None = None,
) -> Iterator[Samples]:
    """Read a file of any length, or a stretch of it, as mono at one rate, a little at a time.

    Args:
        path: see ``read_audio``.
        offset: where to start, seconds, 0 or more.
        duration: how long a stretch, seconds; to the end by default.
        sample_rate: rate of the result in Hz.
        seconds: most audio that is held at once.
        channel: see ``read_audio``.

    Yields:
        Blocks (N,) of which the whole is what ``read_audio`` gives, but for rounding where the rate changes.

    Raises:
        AudioError: as ``read_audio``; what only reading shows, once that block is reached.

    Examples:
        >>> import tempfile, numpy as np, soundfile
        >>> path = tempfile.mktemp(suffix=".wav")
        >>> soundfile.write(path, np.zeros(8000), 8000)
        >>> sum(len(block) for block in read_blocks(path, seconds=0.3))
        16000
    """
    path = Path(path)
    with closing(_checked_open(path)) as file:
        rate = file.samplerate
        count = None if duration is None else round(duration * rate)
        blocks = _read_mono(file, path, round(offset * rate), count, round(seconds * rate), channel)
        if rate == sample_rate:
            yield from blocks
            return
        stream = soxr.ResampleStream(rate, sample_rate, 1, dtype="float32", quality="HQ")
        for block in blocks:
            yield stream.resample_chunk(block)
        yield stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)


def resample(samples: Samples, rate: Hertz, sample_rate: Hertz = SAMPLE_RATE) -> Samples:
    """Change the rate of mono samples with soxr's high quality filter.

    Args:
        samples: (N,).
        rate: their rate in Hz.
        sample_rate: rate of the result in Hz.

    Returns:
        (N * sample_rate / rate,) float32; the input itself where the rates agree.

    Examples:
        >>> resample(np.zeros(22050, np.float32), 22050).shape
        (16000,)
    """
    if rate == sample_rate:
        return samples
    return np.asarray(soxr.resample(samples, rate, sample_rate, quality="HQ"), dtype=np.float32)


def normalize_waveform(
    samples: Samples, mean: np.floating | None = None, variance: np.floating | None = None
) -> Samples:
    """Normalize an utterance to zero mean and unit variance, by Hugging Face's ``Wav2Vec2FeatureExtractor``'s formula.

    Args:
        samples: (N,) real samples, without padding.
        mean: of the whole, where these are a part of something longer.
        variance: of the whole.

    Returns:
        (N,) float32.

    Examples:
        >>> normalize_waveform(np.array([1.0, 3.0], np.float32)).round(3).tolist()
        [-1.0, 1.0]
    """
    mean = np.mean(samples) if mean is None else mean
    variance = np.var(samples) if variance is None else variance
    return np.asarray((samples - mean) / np.sqrt(variance + 1e-7), dtype=np.float32)


def write_audio(path: str | Path, samples: Samples, sample_rate: Hertz = SAMPLE_RATE) -> None:
    """Write mono 16-bit audio; the format follows the suffix, and the folder is made.

    Args:
        path: file to write, such as ``a.flac``.
        samples: (N,) in [-1, 1]; what lies outside is clipped.
        sample_rate: rate in Hz.

    Examples:
        >>> import tempfile
        >>> write_audio(tempfile.mktemp(suffix=".flac"), np.zeros(16000, np.float32))
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.clip(samples, -1.0, 1.0), sample_rate, subtype="PCM_16")


def find_peak(
    path: str | Path, *, offset: Seconds = 0.0, duration: Seconds | None = None, sample_rate: Hertz = SAMPLE_RATE,
    channel: int | None = None,
) -> float:  # fmt: skip
    """Decode all of a file, or of a stretch, a little at a time: twelve hours may have two megabytes.

    Args:
        path: see ``read_blocks``, as the others.
        offset: of the stretch.
        duration: of the stretch.
        sample_rate: the file's own is the fastest.
        channel: see ``read_audio``.

    Returns:
        Its largest magnitude; 0 of silence.

    Raises:
        AudioError: see ``read_blocks``.
    """
    blocks = read_blocks(path, offset=offset, duration=duration, sample_rate=sample_rate, channel=channel)
    # No generator within any(): every block is to be read.
    return max([float(np.abs(block).max(initial=0.0)) for block in blocks])
