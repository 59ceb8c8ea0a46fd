"""GigaSpeech (Chen et al., 2021): one JSON of gigabytes over audiobooks, podcasts and videos."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bigfoot.data.manifests import UNKNOWN_SPEAKER, ListedUtterance
from bigfoot.data.stretches import Stretch
from bigfoot.errors import DataError

_PUNCTUATION = re.compile(r"<(?:COMMA|PERIOD|QUESTIONMARK|EXCLAMATIONPOINT)>")
_NO_SPEECH = frozenset(("<SIL>", "<MUSIC>", "<NOISE>", "<OTHER>"))
_BETWEEN = re.compile(r"[\s,]*")
_BLOCK = 1 << 20


def list_gigaspeech(root: Path, split: str) -> list[ListedUtterance]:
    """List a subset.

    ``GigaSpeech.json`` beside ``audio/`` lists recordings with their segments; it is read a recording at a time::

        {"dataset": "GigaSpeech", "audios": [{"path": "audio/audiobook/P0001/AUD0000000195.opus", "aid": ...,
         "subsets": ["{XL}"], "segments": [{"sid": "AUD0000000195_S0000000", "speaker": "N/A", "begin_time": 159.0,
         "end_time": 167.93, "text_tn": "DOUGLAS MCGRAY IS GOING TO BE OUR GUIDE <COMMA> ...", "subsets": ["{XL}"]}]}]}

    Args:
        root: folder of ``GigaSpeech.json``.
        split: ``XS``, ``S``, ``M``, ``L``, ``XL``, ``DEV`` or ``TEST``.

    Returns:
        The segments in the order of the file, without marks of punctuation and without those of silence, music and
        noise.

    Raises:
        DataError: there is no such file, it is damaged, or it holds no such subset.
    """
    file, tag = root / "GigaSpeech.json", f"{{{split.strip('{}')}}}"
    if not file.is_file():
        raise DataError(f"data: no GigaSpeech.json in {root}; data.root is its folder")
    listed = [item for audio in _read_audios(file) for item in _list_audio(audio, root, tag)]
    if not listed:
        raise DataError(f"data: {file} holds no segment of {split}; subsets are XS, S, M, L, XL, DEV and TEST")
    return listed


def _list_audio(audio: dict[str, Any], root: Path, tag: str) -> Iterator[ListedUtterance]:
    for segment in audio.get("segments", []):
        if tag not in segment.get("subsets", audio.get("subsets", [])):
            continue
        text = " ".join(_PUNCTUATION.sub(" ", segment["text_tn"]).split())
        if text in _NO_SPEECH:
            continue
        start, end = float(segment["begin_time"]), float(segment["end_time"])
        speaker = segment.get("speaker") or "N/A"
        speaker = UNKNOWN_SPEAKER if speaker == "N/A" else str(speaker)
        path = root / audio["path"]
        yield ListedUtterance(segment["sid"], path, text, speaker, None, Stretch(start, end - start))


def _read_audios(file: Path) -> Iterator[dict[str, Any]]:
    """Objects of the list ``audios``, one by one."""
    decoder, held, at = json.JSONDecoder(), "", 0
    with file.open(encoding="utf-8") as stream:
        while (start := re.search(r'"audios"\s*:\s*\[', held)) is None:
            if not (block := stream.read(_BLOCK)):
                raise DataError(f"data: {file} has no list of audios; copy it again")
            held += block
        at = start.end()
        while True:
            at = _BETWEEN.match(held, at).end()  # type: ignore[union-attr]
            if held.startswith("]", at):
                return
            try:
                audio, at = decoder.raw_decode(held, at)
            except ValueError as error:
                # The object ends in what was not read yet, or nowhere.
                held, at = held[at:], 0
                if not (block := stream.read(max(_BLOCK, len(held)))):
                    raise DataError(f"data: {file} is damaged ({error}); copy it again") from error
                held += block
                continue
            yield audio
