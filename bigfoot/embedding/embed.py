"""Compute embeddings of a folder of recordings: a safetensors file and its index."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bigfoot.audio.pauses import LONGEST_PIECE, Piece, cut_at_pauses
from bigfoot.audio.recording import normalize_part, open_recording
from bigfoot.config import Problem
from bigfoot.data.pairs import Pair, PairedFolders, pair_by_name
from bigfoot.embedding.hidden_states import ADAPTER, POOLS, EncodedAudio, digest_model, encode, read_layer
from bigfoot.embedding.store import Done, check_places, digests_of, index_of, is_finished, open_store
from bigfoot.embedding.text_split import SplitText, TextSplitter
from bigfoot.errors import AudioError, ConfigError, DataError
from bigfoot.formats.folder import LoadedModel
from bigfoot.storage.digests import FileDigests
from bigfoot.storage.lock import locked
from bigfoot.storage.ownership import OWN_ONLY, MayReplace
from bigfoot.types import Seconds

SHORTEST_LONGEST: Seconds = 2.0
"""Lower bound of the maximal length of a piece."""


@dataclass(frozen=True)
class EmbedRequest:
    """Request for embeddings.

    Args:
        audio_dir: folder of recordings.
        output: the safetensors file to write; its index is written beside it, as ``.jsonl``.
        transcripts_dir: folder of texts; None without any.
        layer: see ``read_layer``.
        pool: ``mean`` over the frames of a piece, or ``none``.
        longest: recordings with more seconds are cut at their pauses into pieces of at most this length.
        may: what may be replaced, besides embeddings.
    """

    audio_dir: Path
    output: Path
    transcripts_dir: Path | None = None
    layer: str = "last"
    pool: str = "mean"
    longest: Seconds = LONGEST_PIECE
    may: MayReplace = OWN_ONLY

    def find_problems(self) -> Iterator[Problem]:
        """Find the invalid settings."""
        if self.output.suffix != ".safetensors":
            yield Problem("--output-file", "other_suffix", f"{self.output} should end in .safetensors")
        if self.pool not in POOLS:
            yield Problem("--pool", "unknown_word", f"{self.pool!r} is none of {', '.join(POOLS)}")
        if not self.longest >= SHORTEST_LONGEST:
            message = f"{self.longest:g} should be {SHORTEST_LONGEST:g} or more"
            yield Problem("--chunk-seconds", "out_of_range", message)


@dataclass(frozen=True)
class EmbedSummary:
    """Summary of the written embeddings.

    Args:
        tensors: number in the file, one per piece.
        recordings: number of recordings with embeddings.
        failed: number of unreadable recordings.
        folders: the pairs found, and files without a partner.
        was_there: the file already existed for the same request; nothing was done.
        seconds: of embedded audio.
    """

    tensors: int
    recordings: int
    failed: int
    folders: PairedFolders
    was_there: bool = False
    seconds: Seconds = 0.0

    def notes(self) -> Iterator[str]:
        """Yield the files without a partner, one line each."""
        yield from (f"{name}: no transcript" for name in self.folders.lone_audio)
        yield from (f"{name}: no recording" for name in self.folders.lone_transcripts)

    def describe(self, output: Path) -> str:
        """Return a one-line summary.

        Args:
            output: the safetensors file.
        """
        lone = [f"{len(self.folders.lone_audio)} without transcript"] * bool(self.folders.lone_audio)
        lone += [f"{len(self.folders.lone_transcripts)} transcripts alone"] * bool(self.folders.lone_transcripts)
        failed = [f"{self.failed} could not be read"] * bool(self.failed)
        there = "already there, " if self.was_there else ""
        counts = ((self.tensors, "tensor"), (self.recordings, "recording"))
        made = " of ".join(f"{count} {word}{'s' * (count != 1)}" for count, word in counts)
        facts = [f"{there}{made} ({self.seconds:.1f} s)", *failed, *lone]
        return f"{output}: {', '.join(facts)}; index: {index_of(output)}"


def embed_folder(
    loaded: LoadedModel,
    request: EmbedRequest,
    complain: Callable[[str], None],
    on_progress: Callable[[Seconds], None] | None = None,
) -> EmbedSummary:
    """Write the embeddings of every recording in a folder.

    The same call after a kill resumes where it stopped, and the file is the same to the bit.

    Args:
        loaded: with or without a CTC head; the text of a long recording can only be split with one.
        request: what to compute.
        complain: called for each unreadable recording, and for each text that cannot be split.
        on_progress: called with the seconds of each finished piece.

    Returns:
        See ``EmbedSummary``.

    Raises:
        ConfigError: the request is invalid.
        DataError: no such folder, or no audio in it.
        OSError: the file cannot be written.
        OutputError: the file is an input or not bigfoot's, or another process writes it.
    """
    if problems := list(request.find_problems()):
        raise ConfigError(problems)
    layer = read_layer(request.layer, loaded.model.config.num_hidden_layers, adapter=loaded.adapter is not None)
    read = [] if loaded.folder is None else [loaded.folder]
    request = replace(request, may=replace(request.may, inputs=read, models=read))
    with locked(request.output):
        return _embed(loaded, request, layer, complain, on_progress or (lambda _: None))


def _embed(
    loaded: LoadedModel, request: EmbedRequest, layer: int | str, complain: Callable[[str], None],
    on_progress: Callable[[Seconds], None],
) -> EmbedSummary:  # fmt: skip
    check_places(request.output, request.may)
    folders = pair_by_name(request.audio_dir, request.transcripts_dir)
    wanted = _describe(loaded, request, folders.pairs)
    digest = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    finished, damage = is_finished(request.output, digest)
    if finished:
        return _count_there(request.output, folders)
    if damage:
        complain(f"{request.output}: {damage}; it is made again")
    store, done, stale = open_store(request.output, wanted, request.may)
    if stale:
        complain(f"{request.output}: started for another request, model or folder; starting over")
    tensors, failed, seconds = done.tensors, done.failed, done.seconds
    if done.seconds:
        on_progress(done.seconds)
    try:
        for pair in folders.pairs[done.recordings :]:
            try:
                for row, states in _Work(loaded, request, layer, pair, complain).rows(done, on_progress):
                    store.add(row, states)
                    tensors, seconds = tensors + 1, seconds + row["end"] - row["start"]
            except AudioError as error:
                complain(f"{pair.name}: {error.reason}")
                store.add({"name": pair.name, "problem": error.reason})
                failed += 1
            done = Done()
    finally:
        store.close()
    store.finish(_metadata(loaded, request, digest))
    return EmbedSummary(tensors, len(folders.pairs) - failed, failed, folders, seconds=seconds)


def _describe(loaded: LoadedModel, request: EmbedRequest, pairs: Sequence[Pair]) -> dict[str, Any]:
    """Return everything that determines the content of the file."""
    found, digests = hashlib.sha256(), FileDigests(digests_of(request.output))
    for pair in pairs:
        # A dangling link is an unreadable file; the others are not affected.
        content = [None if path is None else digests.digest(path) for path in (pair.audio, pair.transcript)]
        found.update(json.dumps([pair.name, pair.problem, content]).encode())
    digests.save()
    asked = {name: value for name, value in asdict(request).items() if name not in ("output", "audio_dir", "may")}
    asked["transcripts_dir"] = request.transcripts_dir is not None
    return {"model": digest_model(loaded), "request": asked, "files": found.hexdigest()}


def _metadata(loaded: LoadedModel, request: EmbedRequest, digest: str) -> dict[str, str]:
    facts = {"layer": request.layer, "pool": request.pool, "model": str(loaded.folder), "format": "pt"}
    return {"digest": digest, "frame_seconds": repr(_frame_seconds(loaded, request.layer)), **facts}


def _frame_seconds(loaded: LoadedModel, layer: int | str) -> Seconds:
    frame = loaded.model.config.inputs_to_logits_ratio / loaded.processor.sample_rate
    # One embedding of an adapter stands for several frames.
    return frame * loaded.adapter.shape.stride if layer == ADAPTER and loaded.adapter is not None else frame


def _count_there(output: Path, folders: PairedFolders) -> EmbedSummary:
    tensors, failed, seconds = 0, 0, 0.0
    with index_of(output).open(encoding="utf-8") as file:
        for row in map(json.loads, file):
            if "shape" in row:
                tensors, seconds = tensors + 1, seconds + row["end"] - row["start"]
            failed += "problem" in row
    return EmbedSummary(tensors, len(folders.pairs) - failed, failed, folders, was_there=True, seconds=seconds)


class _Work:
    """Work on one recording."""

    def __init__(
        self,
        loaded: LoadedModel,
        request: EmbedRequest,
        layer: int | str,
        pair: Pair,
        complain: Callable[[str], None],
    ) -> None:
        self._model, self._processor, self._adapter = loaded.model, loaded.processor, loaded.adapter
        self._request, self._layer, self._pair, self._complain = request, layer, pair, complain
        self._frame_seconds = _frame_seconds(loaded, layer)

    def rows(
        self, done: Done, on_progress: Callable[[Seconds], None]
    ) -> Iterator[tuple[dict[str, Any], npt.NDArray[np.float32]]]:
        """Yield a line of the index and its tensor, for each piece that is not done yet."""
        rate, text = self._processor.sample_rate, self._read_text()
        splitter: TextSplitter | None = None
        pieces = self._encode_pieces(done.pieces)
        following = next(pieces, None)
        while following is not None:
            (piece, encoded), following = following, next(pieces, None)
            split_text: SplitText | None = None
            if piece.count > 1:
                if piece.index == done.pieces and text is not None:
                    splitter = self._split(text, done.text)
                split_text, splitter = self._take(splitter, encoded, None if following is None else following[1])
            start, end = piece.chunk.start / rate, piece.until / rate
            row = self._row(piece, start, end)
            if piece.count == 1:
                row["text"] = text
            elif split_text is not None:
                row |= {"text": split_text.text, "text_confidence": round(split_text.confidence, 4)}
            yield row, self._pool(encoded)
            on_progress(end - start)

    def _read_text(self) -> str | None:
        try:
            return self._pair.read_text()
        except DataError as error:
            raise AudioError(self._pair.name, str(error)) from error

    def _encode_pieces(self, skip: int) -> Iterator[tuple[Piece, EncodedAudio]]:
        pair, config, rate = self._pair, self._model.config, self._processor.sample_rate
        if pair.problem is not None:
            raise AudioError(pair.name, pair.problem)
        recording = open_recording(pair.audio, 0, rate)
        stride, field = config.inputs_to_logits_ratio, config.receptive_field
        # A piece includes its whole last frame: then the frames of all pieces are those of the recording.
        pieces = cut_at_pauses(recording, longest=self._request.longest, step=stride, tail=field - stride, skip=skip)
        for piece in pieces:
            size = len(piece.samples)
            if size < field:
                raise AudioError(pair.name, f"has {1000 * size / rate:.0f} ms; a frame takes {1000 * field / rate:.0f}")
            wave = normalize_part(piece.samples, piece.moments) if self._processor.do_normalize else piece.samples
            yield piece, encode(self._model, wave, self._layer, self._adapter)

    def _split(self, text: str, taken: str) -> TextSplitter | None:
        tokenizer = self._processor.tokenizer
        try:
            if self._model.head is None or tokenizer is None or not tokenizer.fits(self._model.head.out_features):
                raise ValueError("the model has no CTC head with its vocabulary")
            splitter = TextSplitter(text, tokenizer)
            splitter.skip(taken)
        except ValueError as error:
            self._complain(f"{self._pair.name}: cut into pieces without their text: {error}")
            return None
        return splitter

    def _take(
        self, splitter: TextSplitter | None, encoded: EncodedAudio, ahead: EncodedAudio | None
    ) -> tuple[SplitText | None, TextSplitter | None]:
        if splitter is None or encoded.log_probs is None:
            return None, None
        try:
            return splitter.take(encoded.log_probs, None if ahead is None else ahead.log_probs), splitter
        except ValueError as error:
            self._complain(f"{self._pair.name}: its text does not fit its audio: {error}; the last piece is without")
            return None, None

    def _pool(self, encoded: EncodedAudio) -> npt.NDArray[np.float32]:
        return encoded.states if self._request.pool == "none" else encoded.states.mean(axis=-2)

    def _row(self, piece: Piece, start: Seconds, end: Seconds) -> dict[str, Any]:
        name = self._pair.name
        return {
            "key": name if piece.count == 1 else f"{name}#{piece.index + 1}",
            "name": name,
            "piece": piece.index,
            "pieces": piece.count,
            "text": None,
            "start": round(start, 6),
            "end": round(end, 6),
            "first_frame": piece.chunk.start_frame,
            "frame_seconds": self._frame_seconds,
            "layer": self._layer,
        }
