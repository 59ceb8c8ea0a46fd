"""One batch: utterances that were read, padded to the longest of them, with their position in the stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from lhotse.cut import Cut
from torch import Tensor

from bigfoot.audio.files import read_audio
from bigfoot.audio.pauses import cut_at_pauses
from bigfoot.audio.recording import Moments, Recording, normalize_part
from bigfoot.data.cuts import HYPOTHESES_FIELD, LABELS_FIELD, path_of
from bigfoot.data.shards.readers import as_file
from bigfoot.data.word_times import WORD_TIMES, parse_word_times, place_labels
from bigfoot.errors import DataError
from bigfoot.text.tokenizer import Tokenizer
from bigfoot.text.tokenizers import Processor
from bigfoot.types import SAMPLE_RATE, Samples, Seconds

LABEL_PADDING = -100
"""Stands behind the labels of shorter transcripts; losses pass over it."""
ROOM_FIELD = "room"
"""Field of a cut that was shortened; see ``CutSource.room``."""


@dataclass(frozen=True, order=True)
class Position:
    """A position in the training stream.

    Args:
        epoch: 0 for the first pass over the manifest.
        batch: batches of this epoch that were consumed by all processes, the one it travels with included.
    """

    epoch: int = 0
    batch: int = 0


@dataclass
class Batch:
    """Utterances as a model takes them; B utterances, N samples of the longest, U labels of the longest.

    Args:
        input_values: (B, N) float32, normalised per utterance where the processor does so, 0 behind the end.
        attention_mask: (B, N) True on real samples.
        labels: (B, U) int64, U at least 1, ``LABEL_PADDING`` behind the end and all along where there is no transcript;
            None without a tokenizer.
        ids: B utterances by name.
        texts: B transcripts.
        speakers: B speakers.
        position: where in the stream; None in evaluation.
        decoder_labels: (B, U') int64, as ``labels``, of a decoder with tokens of its own; None where there is none.
        attributes: B utterances' labels of tasks, by name.
        hypotheses: (B, H, U'') int64 labels of H texts of another model, as ``labels``, and (B, H) their log
            probabilities, minus infinity where an utterance has fewer; None where none has any.
        moments: (B, 2) mean and standard deviation that every row was normalised with; None where none was.
        through: position behind the batches that all processes get with this one; None where there is one process.
        label_times: (B, U, 2) first sample of each label and the one behind its last, NaN where not known; None where
            no utterance has times of words.
        masks: what was drawn for it where it was read, by name; None where nothing was.
    """

    input_values: Tensor
    attention_mask: Tensor
    labels: Tensor | None
    ids: list[str]
    texts: list[str]
    speakers: list[str]
    position: Position | None = None
    decoder_labels: Tensor | None = None
    attributes: list[Mapping[str, str]] = field(default_factory=list)
    moments: Tensor | None = None
    hypotheses: tuple[Tensor, Tensor] | None = None
    through: Position | None = field(default=None, kw_only=True)
    label_times: Tensor | None = field(default=None, kw_only=True)
    masks: Mapping[str, Tensor] | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.ids)

    @property
    def input_lengths(self) -> Tensor:
        """(B,) real samples of every utterance."""
        return self.attention_mask.sum(dim=1)

    def values_for(self, do_normalize: bool) -> Tensor:
        """Return the samples normalised per utterance, or as they were before that; 0 on padding.

        Args:
            do_normalize: as of the processor of the model that gets them.

        Examples:
            >>> utterance = LoadedUtterance("a", "s", "", np.array([1.0, 3.0], np.float32))
            >>> collate([utterance], Processor()).values_for(False).tolist()
            [[1.0, 3.0]]
        """
        if do_normalize == (self.moments is not None):
            return self.input_values
        if self.moments is not None:
            mean, deviation = self.moments[:, :1], self.moments[:, 1:]
            return (self.input_values * deviation + mean).where(self.attention_mask, 0.0)
        rows = [row[: int(length)] for row, length in zip(self.input_values, self.input_lengths, strict=True)]
        normal = [torch.from_numpy(normalize_part(row.cpu().numpy(), None)) for row in rows]
        return torch.nn.utils.rnn.pad_sequence(normal, batch_first=True).to(self.input_values.device)

    def seconds(self, sample_rate: int) -> Seconds:
        """Return audio without padding."""
        return int(self.attention_mask.sum()) / sample_rate

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch with its tensors on a device; a GPU is not waited for."""
        waits = torch.device(device).type == "cpu"
        return self._each(lambda tensor: tensor.to(device, non_blocking=not waits))

    def pin_memory(self) -> Batch:
        """Return the batch in memory that a GPU copies from while the CPU goes on; a ``DataLoader`` asks for it."""
        masks = None if self.masks is None else {name: mask.pin_memory() for name, mask in self.masks.items()}
        return replace(self._each(torch.Tensor.pin_memory), masks=masks)

    def repeat_row(self, row: int, times: int) -> Batch:
        """Return a batch of one utterance several times, without the padding of the others.

        Args:
            row: of the utterance.
            times: utterances of the new batch.

        Examples:
            >>> batch = collate([LoadedUtterance("a", "s", "", np.zeros(n, np.float32)) for n in (3, 2)], Processor())
            >>> batch.repeat_row(1, 3).input_values.shape
            torch.Size([3, 2])
        """
        length = int(self.input_lengths[row])
        chosen = self._each(lambda tensor: tensor[row : row + 1].expand(times, *tensor.shape[1:]).contiguous())
        return replace(
            chosen, ids=[self.ids[row]] * times, texts=[self.texts[row]] * times,
            speakers=[self.speakers[row]] * times,
            attributes=[self.attributes[row]] * times if self.attributes else [],
            input_values=chosen.input_values[:, :length].contiguous(),
            attention_mask=chosen.attention_mask[:, :length].contiguous(), masks=None,
        )  # fmt: skip

    def _each(self, move: Callable[[Tensor], Tensor]) -> Batch:
        def one(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else move(tensor)

        return replace(
            self,
            input_values=move(self.input_values),
            attention_mask=move(self.attention_mask),
            labels=one(self.labels),
            decoder_labels=one(self.decoder_labels),
            moments=one(self.moments),
            label_times=one(self.label_times),
            hypotheses=None if self.hypotheses is None else (move(self.hypotheses[0]), move(self.hypotheses[1])),
        )


@dataclass(frozen=True)
class LoadedUtterance:
    """An utterance whose audio was read.

    Args:
        id: its name.
        speaker: who speaks.
        text: the normalized transcript.
        samples: (N,) at the processor's rate, not normalised.
        moments: what to normalise with where these are a piece of something longer.
        attributes: labels of tasks, by name.
        hypotheses: texts of another model with their log probabilities.
        sample_rate: samples to a second of the recording; another number than the processor's where it is played at
            another speed.
    """

    id: str
    speaker: str
    text: str
    samples: Samples
    moments: Moments | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    hypotheses: Sequence[tuple[str, float]] = ()
    sample_rate: float = SAMPLE_RATE


@dataclass(frozen=True)
class CutSource:
    """The part of a cut that is needed to read it: small, since it is sent to workers."""

    id: str
    speaker: str
    text: str
    path: str
    offset: Seconds
    duration: Seconds | None
    seconds: Seconds
    attributes: Mapping[str, str]
    room: Seconds = 0.0
    """How much later than at ``offset`` a stretch of it may start."""
    hypotheses: tuple[tuple[str, float], ...] = ()
    """See ``LoadedUtterance``."""
    channel: int | None = None
    """Of several, the one that is read; None for their mean."""
    content: bytes | None = field(default=None, repr=False)
    """Of audio in a shard, where it was read ahead."""

    @classmethod
    def of(cls, cut: Cut) -> CutSource:
        """Take what is needed of a cut."""
        supervision = cut.supervisions[0]
        # Reading to the end finds a truncated file, a stretch that rounds to it would not always.
        whole = cut.start == 0 and abs(cut.duration - cut.recording.duration) < 1e-6
        return cls(
            id=cut.id,
            speaker=str(supervision.speaker),
            text=supervision.text or "",
            path=path_of(cut),
            offset=cut.start,
            duration=None if whole else cut.duration,
            seconds=cut.duration,
            attributes=(supervision.custom or {}).get(LABELS_FIELD, {}),
            room=(cut.custom or {}).get(ROOM_FIELD, 0.0),
            hypotheses=tuple((text, score) for text, score in (supervision.custom or {}).get(HYPOTHESES_FIELD, ())),
            channel=cut.channel if isinstance(cut.channel, int) and cut.recording.num_channels > 1 else None,
        )

    def load(self, sample_rate: int) -> LoadedUtterance:
        """Read it whole."""
        with as_file(self.path, self.content) as path:
            samples = read_audio(
                path, offset=self.offset, duration=self.duration, sample_rate=sample_rate, channel=self.channel
            )
        return LoadedUtterance(
            self.id, self.speaker, self.text, samples, attributes=self.attributes, hypotheses=self.hypotheses,
            sample_rate=sample_rate,
        )  # fmt: skip

    def load_pieces(self, sample_rate: int, longest: Seconds | None) -> Iterator[LoadedUtterance]:
        """Yield longer cuts in pieces of one id, the first of which has the transcript."""
        if longest is None:
            yield self.load(sample_rate)
            return
        size = round(self.seconds * sample_rate)
        with as_file(self.path, self.content) as path:
            stretch = Recording(path, size, sample_rate, None, self.offset, self.duration, self.channel)
            for piece in cut_at_pauses(stretch, longest=longest):
                text = "" if piece.index else self.text
                yield LoadedUtterance(self.id, self.speaker, text, piece.samples, piece.moments, self.attributes)


def collate(utterances: Sequence[LoadedUtterance], processor: Processor, position: Position | None = None) -> Batch:
    """Collate utterances into one batch.

    Args:
        utterances: B of them, 1 or more.
        processor: whether to normalise, and the tokenizer of the labels.
        position: to travel with the batch.

    Returns:
        The batch, in the order given.

    Raises:
        DataError: a transcript cannot be tokenized.

    Examples:
        >>> pair = [LoadedUtterance(name, "s", "A", np.ones(n, np.float32)) for name, n in (("a", 3), ("b", 2))]
        >>> collate(pair, Processor(do_normalize=False)).attention_mask.tolist()
        [[True, True, True], [True, True, False]]
    """
    longest = max(len(item.samples) for item in utterances)
    input_values = np.zeros((len(utterances), longest), dtype=np.float32)
    attention_mask = np.zeros((len(utterances), longest), dtype=np.bool_)
    for row, item in enumerate(utterances):
        length = len(item.samples)
        scaled = normalize_part(item.samples, item.moments) if processor.do_normalize else item.samples
        input_values[row, :length] = scaled
        attention_mask[row, :length] = True
    labels = _pad_labels(utterances, processor.tokenizer)
    return Batch(
        input_values=torch.from_numpy(input_values),
        attention_mask=torch.from_numpy(attention_mask),
        labels=labels,
        label_times=_place_labels(utterances, labels, processor.tokenizer),
        ids=[item.id for item in utterances],
        texts=[item.text for item in utterances],
        speakers=[item.speaker for item in utterances],
        position=position,
        # Who asks for no labels of the head asks for none at all.
        decoder_labels=_pad_labels(utterances, processor.decoder_tokenizer if processor.tokenizer else None),
        attributes=[item.attributes for item in utterances],
        hypotheses=_pad_hypotheses(utterances, processor.tokenizer),
        moments=torch.tensor([_moments(item) for item in utterances]) if processor.do_normalize else None,
    )


def _pad_hypotheses(
    utterances: Sequence[LoadedUtterance], tokenizer: Tokenizer | None
) -> tuple[Tensor, Tensor] | None:
    most = max(len(item.hypotheses) for item in utterances)
    if tokenizer is None or most == 0:
        return None
    scores = torch.full((len(utterances), most), -torch.inf)
    rows = []
    for row, item in enumerate(utterances):
        texts = [text for text, _ in item.hypotheses]
        scores[row, : len(texts)] = torch.tensor([score for _, score in item.hypotheses])
        rows += [replace(item, text=text) for text in [*texts, *[""] * (most - len(texts))]]
    labels = _pad_labels(rows, tokenizer)
    assert labels is not None
    return labels.view(len(utterances), most, -1), scores


def _moments(utterance: LoadedUtterance) -> tuple[float, float]:
    """Mean and standard deviation that ``normalize_part`` takes."""
    found = utterance.moments
    mean = np.mean(utterance.samples) if found is None else found.mean
    variance = np.var(utterance.samples) if found is None else found.variance
    return float(mean), float(np.sqrt(variance + 1e-7))


def _place_labels(
    utterances: Sequence[LoadedUtterance], labels: Tensor | None, tokenizer: Tokenizer | None
) -> Tensor | None:
    """Return the samples of labels; see ``Batch.label_times``."""
    if labels is None or tokenizer is None or not any(WORD_TIMES in item.attributes for item in utterances):
        return None
    times = torch.full((*labels.shape, 2), torch.nan)
    for row, item in enumerate(utterances):
        cell, ids = item.attributes.get(WORD_TIMES), labels[row][labels[row] >= 0].tolist()
        if cell is None or not ids:
            continue
        try:
            spans = place_labels(ids, tokenizer.pieces, parse_word_times(cell))
        except DataError as error:
            raise DataError(f"{item.id}: {error}") from error
        times[row, : len(ids)] = torch.tensor(spans) * item.sample_rate
    return times


def _pad_labels(utterances: Sequence[LoadedUtterance], tokenizer: Tokenizer | None) -> Tensor | None:
    if tokenizer is None:
        return None
    labels_by_row = []
    for item in utterances:
        try:
            labels_by_row.append(tokenizer.encode(item.text))
        except ValueError as error:
            raise DataError(f"{item.id}: {error}; prepare the data for this model's vocabulary") from error
    # At least one column: without any transcript, the losses fail on a tensor without elements.
    labels = torch.full((len(labels_by_row), max(1, *map(len, labels_by_row))), LABEL_PADDING, dtype=torch.int64)
    for row, ids in enumerate(labels_by_row):
        labels[row, : len(ids)] = torch.tensor(ids, dtype=torch.int64)
    return labels
