"""A model's lag: how far behind a sound the frames of its tokens stand; ``bigfoot align --calibrate`` measures it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bigfoot.errors import ModelError
from bigfoot.paths import MODEL_SUFFIXES
from bigfoot.runtime.engine import ModelFacts
from bigfoot.text.json_files import read_json_if_there
from bigfoot.types import Seconds

SUFFIX = ".lag.json"
_LONGEST: Seconds = 2.0


@dataclass(frozen=True)
class Lag:
    """How late tokens come: positive where a frame stands behind the start, or the end, of its sound.

    Args:
        start: of the first token of a word behind its start.
        end: of the last frame of a word behind its end; mostly negative.
        starts: the same by token, where it was measured often enough.
        ends: likewise.

    Examples:
        >>> lag = Lag(0.1, -0.08, {"S": 0.12})
        >>> lag.before("S"), lag.before("T"), lag.behind("T")
        (0.12, 0.1, -0.08)
    """

    start: Seconds
    end: Seconds
    starts: Mapping[str, Seconds] = field(default_factory=dict)
    ends: Mapping[str, Seconds] = field(default_factory=dict)

    def before(self, token: str) -> Seconds:
        """Return how far the first frame of a token stands behind the start of its sound."""
        return self.starts.get(token, self.start)

    def behind(self, token: str) -> Seconds:
        """Return how far the end of a token stands behind the end of its sound."""
        return self.ends.get(token, self.end)


def lag_place(model: str | Path) -> Path:
    """Name the file of a model's lag: beside an exported file or a folder, here for everything else.

    Args:
        model: as given to a command.

    Examples:
        >>> lag_place("./student.onnx").as_posix(), lag_place("tiny_teacher").as_posix()
        ('student.lag.json', 'tiny_teacher.lag.json')
    """
    path = Path(os.path.normpath(model))
    if path.name in ("", ".."):  # the folder that one is in has a name too
        path = path.resolve()
    stem = path.with_suffix("") if path.suffix in MODEL_SUFFIXES else path
    return stem.parent / (stem.name + SUFFIX) if path.exists() or path.parent.is_dir() else Path(stem.name + SUFFIX)


def _fingerprint(facts: ModelFacts) -> str:
    """Return what a lag depends on and a file can show: the tokens and the length of a frame."""
    tokens = "\0".join([str(facts.stride), *facts.tokenizer.pieces])
    return hashlib.sha256(tokens.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def lag_to_json(lag: Lag, facts: ModelFacts, words: int) -> bytes:
    """Return the content of a lag's file.

    Args:
        lag: as measured.
        facts: of the model.
        words: how many were measured.
    """
    tables = {name: {k: round(v, 4) for k, v in sorted(getattr(lag, name).items())} for name in ("starts", "ends")}
    values = {"start": round(lag.start, 4), "end": round(lag.end, 4), **tables}
    return (json.dumps({"model": _fingerprint(facts), "words": words, **values}, ensure_ascii=False) + "\n").encode()


def read_lag(place: str | Path, facts: ModelFacts) -> Lag:
    """Read a lag file.

    Args:
        place: a file that ``bigfoot align --calibrate`` wrote.
        facts: of the model.

    Raises:
        ModelError: no such file, something else, or of a model of other tokens.
    """
    found = read_json_if_there(Path(place))
    if not found:
        raise ModelError(f"{place}: no lag; bigfoot align MODEL --calibrate writes one")
    if found.get("model") != _fingerprint(facts):
        raise ModelError(f"{place}: of a model with other tokens or frames than {facts.name}; calibrate this one")
    try:
        tables = [{str(token): _seconds(value) for token, value in found[key].items()} for key in ("starts", "ends")]
        return Lag(_seconds(found["start"]), _seconds(found["end"]), *tables)
    except (KeyError, AttributeError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"{place}: no lag as bigfoot writes it ({error}); calibrate the model again") from error


def _seconds(value: Any) -> Seconds:  # noqa: ANN401 - from JSON
    if isinstance(value, bool) or not abs(float(value)) <= _LONGEST:
        raise ValueError(f"{value!r} is no number of seconds up to {_LONGEST:g}")
    return float(value)
