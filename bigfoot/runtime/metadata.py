"""Read the metadata that ``bigfoot export`` writes into a file, with an error message for each fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bigfoot.errors import ModelError
from bigfoot.runtime.engine import AudioFacts, ModelFacts
from bigfoot.runtime.frame_stream import StreamFacts
from bigfoot.runtime.task_answers import TASK_KINDS, TaskFacts
from bigfoot.text.json_fields import is_whole, quote
from bigfoot.text.json_files import parse_json
from bigfoot.text.pieces import PieceTokenizer
from bigfoot.text.tokenizer import Tokenizer
from bigfoot.text.tokenizers import CharTokenizer
from bigfoot.types import HIGHEST_RATE, LOWEST_RATE

STREAMING = "streaming"
"""Metadata, and the runtime's name, of files that run chunk by chunk."""
FORMAT = "1"
"""The layout of inputs, outputs and metadata that this module reads."""
_LONGEST_FIELD = 10_000_000


class StreamsError(ModelError):
    """A file that runs chunk by chunk, where one of whole recordings was expected."""


def read_facts(metadata: Mapping[str, str], name: str) -> ModelFacts:
    """Read a model's metadata.

    Args:
        metadata: keys and strings as they stand in the file.
        name: of the file, for messages.

    Returns:
        The facts.

    Raises:
        ModelError: the file is not of bigfoot's making, is of a later one, or something in it is missing or wrong;
            all of that at once.
    """
    if "task" in metadata:
        raise ModelError(f"{name}: answers a task and writes no text; run it by bigfoot classify")
    fields = _Fields(metadata, name)
    tokenizer = fields.read(
        "vocab", lambda text: _read_tokenizer(text, metadata), "a list of different tokens, one a logit"
    )
    fields.read("blank_id", int, "a whole number")
    given = _read_audio_facts(fields)
    fields.refuse()
    return ModelFacts(name=name, tokenizer=tokenizer, **given)


def read_task(metadata: Mapping[str, str], name: str) -> tuple[AudioFacts, TaskFacts]:
    """Read the metadata of a model that answers a task.

    Args:
        metadata: keys and strings as they stand in the file.
        name: of the file, for messages.

    Returns:
        How its input is prepared, and how its logits are read.

    Raises:
        ModelError: see ``read_facts``; or it answers no task.
    """
    fields = _Fields(metadata, name)
    if "task" not in metadata:
        raise ModelError(f"{name}: answers no task; run it by bigfoot transcribe")
    task = fields.read("task", _read_task, "an object with kind and labels")
    given = _read_audio_facts(fields)
    fields.refuse()
    return AudioFacts(name=name, **given), task


def refuse_other_runtime(metadata: Mapping[str, str], name: str) -> None:
    """Refuse a graph that ``bigfoot export`` wrote in the form of another runtime.

    Args:
        metadata: see ``read_facts``.
        name: see there.

    Raises:
        ModelError: it is one; with the runtime that reads it.
    """
    if metadata.get("runtime") == STREAMING:
        raise StreamsError(f"{name}: runs chunk by chunk; bigfoot transcribe and StreamingTranscriber open it")
    if runtime := metadata.get("runtime"):
        raise ModelError(f"{name}: exported --to {runtime}, whose runtime runs it; bigfoot runs what --to onnx writes")


def read_streaming(metadata: Mapping[str, str], name: str) -> tuple[ModelFacts, StreamFacts]:
    """Read the metadata of a model that runs chunk by chunk.

    Args:
        metadata: see ``read_facts``.
        name: see there.

    Raises:
        ModelError: see there; or the model reads whole recordings.
    """
    if STREAMING not in metadata:
        raise ModelError(f"{name}: reads whole recordings; bigfoot export --to streaming writes one that streams")
    fields = _Fields(metadata, name, STREAMING)
    stream = fields.read(STREAMING, _read_stream, "an object with chunk, left and state")
    fields.refuse()
    return read_facts({**metadata, "runtime": ""}, name), stream


class _Fields:
    """Fields of a file's metadata; what is wrong with them is collected."""

    def __init__(self, metadata: Mapping[str, str], name: str, runtime: str = "") -> None:
        self._metadata, self._name = metadata, name
        self._problems: list[str] = []
        if metadata.get("runtime") != runtime:
            refuse_other_runtime(metadata, name)
        version = metadata.get("bigfoot_format")
        if version is None:
            raise ModelError(
                f"{name}: a model, but without bigfoot's metadata (vocabulary, normalisation, stride); "
                "write it by bigfoot export"
            )
        if version != FORMAT:
            raise ModelError(
                f"{name}: written in format {quote(version)}, and this bigfoot reads {FORMAT!r}; install a later one"
            )

    def read(
        self, key: str, parse: Callable[[str], Any], expected: str, *, required: bool = True
    ) -> Any:  # noqa: ANN401 - each has its own type
        """Read a field; None where it is missing or wrong."""
        if not required and key not in self._metadata:
            return None
        try:
            return parse(self._metadata[key])
        except KeyError:
            self._problems.append(f"{key} is missing")
        except ValueError:
            self._problems.append(f"{key} should be {expected}, and is {self._metadata[key][:60]!r}")
        return None

    def refuse(self) -> None:
        """Raise what was wrong, all of it at once."""
        if self._problems:
            problems = "; ".join(self._problems)
            raise ModelError(f"{self._name}: its metadata cannot be used: {problems}; export the model again")


def _read_audio_facts(fields: _Fields) -> dict[str, Any]:
    return {
        "stride": fields.read("stride", _between(1, _LONGEST_FIELD), "a number of samples"),
        "receptive_field": fields.read("receptive_field", _between(1, _LONGEST_FIELD), "a number of samples"),
        "sample_rate": fields.read("sample_rate", _between(LOWEST_RATE, HIGHEST_RATE), "a rate in Hz"),
        "normalizes": fields.read("do_normalize", _one_of({"true": True, "false": False, "inside": False}),
                                  "true, false or inside"),
        "batch_invariant": fields.read("batch_invariant", _one_of({"true": True, "per_utterance": False}),
                                       "true or per_utterance"),
        "longest": fields.read("window", _between(1, _LONGEST_FIELD), "a number of samples", required=False),
    }  # fmt: skip


def _read_task(text: str) -> TaskFacts:
    found = parse_json(text)
    if not isinstance(found, dict) or found.get("kind") not in TASK_KINDS:
        raise ValueError("no task")
    labels = _as_strings(found.get("labels"))
    if not labels:
        raise ValueError("no labels")
    link, numbers = found.get("link", "corn"), [found.get(key) or [] for key in ("center", "scale")]
    for values in numbers:
        plain = isinstance(values, list) and all(isinstance(each, int | float) for each in values)
        if not plain or (values and len(values) != len(labels)):
            raise ValueError("no numbers")
    if link not in ("coral", "corn"):
        raise ValueError("no link")
    return TaskFacts(found["kind"], labels, link, *numbers)


def _read_stream(text: str) -> StreamFacts:
    found = parse_json(text)
    given = [found.get(key) for key in ("chunk", "left", "state")] if isinstance(found, dict) else []
    numbers = [each for each in given if isinstance(each, int) and is_whole(each) and each <= _LONGEST_FIELD]
    if len(numbers) < 3:
        raise ValueError("no stream")
    return StreamFacts(*numbers)


def _read_strings(text: str) -> tuple[str, ...]:
    return _as_strings(parse_json(text))


def _as_strings(found: object) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ValueError("not a list of strings")
    return tuple(found)


def _read_tokenizer(text: str, metadata: Mapping[str, str]) -> Tokenizer:
    tokens = _read_strings(text)
    blank = _between(0, len(tokens) - 1)(metadata.get("blank_id", "0"))
    cleans_up, unknown = metadata.get("clean_up") == "true", metadata.get("unknown_token")
    if "pieces" in metadata:
        pieces = _read_strings(metadata["pieces"])
        place = tokens.index(unknown) if unknown in tokens else None
        return PieceTokenizer(tokens, pieces, blank, place, cleans_up, metadata.get("final_sigma") == "true")
    return CharTokenizer(
        tokens,
        blank_token=tokens[blank],
        word_delimiter=metadata.get("word_delimiter", ""),
        unknown_token=unknown or CharTokenizer.unknown_token,
        cleans_up=cleans_up,
    )


def _between(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not low <= int(text) <= high:
            raise ValueError(text)
        return int(text)

    return parse


def _one_of(meanings: Mapping[str, bool]) -> Callable[[str], bool]:
    def parse(text: str) -> bool:
        if text not in meanings:
            raise ValueError(text)
        return meanings[text]

    return parse
