"""Read the metadata that ``bigfoot export`` writes into a file, with an error message for each fault."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bigfoot.errors import ModelError
from bigfoot.runtime.engine import ModelFacts
from bigfoot.text.json_fields import quote
from bigfoot.text.json_files import parse_json
from bigfoot.text.pieces import PieceTokenizer
from bigfoot.text.tokenizer import Tokenizer
from bigfoot.text.tokenizers import CharTokenizer
from bigfoot.types import HIGHEST_RATE, LOWEST_RATE

FORMAT = "1"
"""The layout of inputs, outputs and metadata that this module reads."""
_LONGEST_FIELD = 10_000_000


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
    problems: list[str] = []

    def read(key: str, parse: Callable[[str], Any], expected: str) -> Any:  # noqa: ANN401 - each key has its own type
        try:
            return parse(metadata[key])
        except KeyError:
            problems.append(f"{key} is missing")
        except ValueError:
            problems.append(f"{key} should be {expected}, and is {metadata[key][:60]!r}")
        return None

    tokenizer = read("vocab", lambda text: _read_tokenizer(text, metadata), "a list of different tokens, one a logit")
    read("blank_id", int, "a whole number")
    facts = {
        "stride": read("stride", _between(1, _LONGEST_FIELD), "a number of samples"),
        "receptive_field": read("receptive_field", _between(1, _LONGEST_FIELD), "a number of samples"),
        "sample_rate": read("sample_rate", _between(LOWEST_RATE, HIGHEST_RATE), "a rate in Hz"),
        "normalizes": read("do_normalize", _one_of({"true": True, "false": False, "inside": False}),
                           "true, false or inside"),
        "batch_invariant": read("batch_invariant", _one_of({"true": True, "per_utterance": False}),
                                "true or per_utterance"),
    }  # fmt: skip
    if problems:
        raise ModelError(f"{name}: its metadata cannot be used: {'; '.join(problems)}; export the model again")
    return ModelFacts(name=name, tokenizer=tokenizer, **facts)


def _read_strings(text: str) -> tuple[str, ...]:
    found = parse_json(text)
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise ValueError("not a list of strings")
    return tuple(found)


def _read_tokenizer(text: str, metadata: Mapping[str, str]) -> Tokenizer:
    tokens = _read_strings(text)
    blank = _between(0, len(tokens) - 1)(metadata.get("blank_id", "0"))
    cleans_up, unknown = metadata.get("clean_up") == "true", metadata.get("unknown_token")
    if "pieces" in metadata:
        pieces = _read_strings(metadata["pieces"])
        return PieceTokenizer(tokens, pieces, blank, tokens.index(unknown) if unknown in tokens else None, cleans_up)
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
