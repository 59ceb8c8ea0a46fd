"""Small files in which a run keeps its state: written whole, and read back only where nothing in them has changed.

A state file is the JSON of a dataclass with the digest of its fields. One that is cut off, empty, binary, changed by
a bit or of another version is no state: its reader gets a reason, and does its work again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import types
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

from bigfoot.errors import OutputError
from bigfoot.storage.digests import is_plain_file
from bigfoot.storage.replace import swapped_in

_T = TypeVar("_T")
_CHECKSUM = "checksum"
_LONGEST = 1 << 30
"""Bytes of a state file; those of the longest trainings have some millions."""


def read_state(path: Path, kind: type[_T]) -> tuple[_T | None, str]:
    """Read a state file.

    Args:
        path: the file.
        kind: dataclass of its fields.

    Returns:
        The value and ``""``; or None and the reason in a few words, which is ``""`` where there is no file.

    Examples:
        >>> read_state(Path("nothing.json"), Path)
        (None, '')
    """
    if not os.path.lexists(path):
        return None, ""
    try:
        content = json.loads(_read(path))
        if not isinstance(content, dict):
            return None, f"{path} holds no JSON object"
        checksum = content.pop(_CHECKSUM, None)
        if checksum is None:
            return None, f"{path} is of another version of bigfoot"
        if checksum != _digest(content):
            return None, f"{path} is damaged (its checksum differs)"
        return parse_as(kind, content), ""
    except (ValueError, RecursionError) as error:
        return None, f"{path} is damaged ({_shorten(error)})"
    except OSError as error:
        return None, f"{path} cannot be read ({error.strerror or error})"


def write_state(path: Path, value: Any) -> None:  # noqa: ANN401 - of any dataclass
    """Write a state file whole or not at all.

    Args:
        path: the file; its folder is made where missing.
        value: an instance of a dataclass of plain values.

    Raises:
        OutputError: a folder is in its place.
        OSError: nothing can be written there.
    """
    write_whole(path, encode_state(value))


def encode_state(value: Any) -> bytes:  # noqa: ANN401 - of any dataclass
    """Encode the content of a state file, for a writer of its own.

    Args:
        value: an instance of a dataclass of plain values.
    """
    # As JSON reads it back: tuples are lists, the keys of dictionaries are strings.
    content = json.loads(json.dumps(asdict(value)))
    return json.dumps({**content, _CHECKSUM: _digest(content)}, indent=1).encode()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its place and move it there.

    Raises:
        OutputError: a folder is in its place.
        OSError: nothing can be written there.
    """
    refuse_folder(path)
    with swapped_in(path) as beside:
        beside.write_bytes(content)


def forget_state(*paths: Path) -> None:
    """Remove state files, those that are there, so that they do not vouch for what is about to be replaced.

    Raises:
        OutputError: a folder is in the place of one.
    """
    for path in paths:
        refuse_folder(path)
        path.unlink(missing_ok=True)


def refuse_folder(path: Path) -> None:
    """Refuse a folder where a file of a run should be.

    Raises:
        OutputError: there is one.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder, where a file of the run should be; move it away")


def refuse_file(path: Path) -> None:
    """Refuse a file where a folder of a run should be.

    Raises:
        OutputError: there is one.
    """
    if os.path.lexists(path) and not path.is_dir():
        raise OutputError(f"{path} is a file, where a folder of the run should be; move it away")


def parse_as(kind: Any, value: Any, name: str = "") -> Any:  # noqa: ANN401 - any type, any JSON
    """Check what JSON holds against a type, and build dataclasses of it.

    Args:
        kind: a dataclass, a typed dictionary (it may have further keys), or ``str``, ``int``, ``float``, ``bool``,
            ``None``, ``Any``, or a list, dict or union of them.
        value: of ``json.loads``.
        name: of the field, for the error.

    Returns:
        The value, with dataclasses in the places of their dictionaries.

    Raises:
        ValueError: a field is missing, unknown or of another type, or a number is larger than a float.

    Examples:
        >>> parse_as(dict[str, list[int]], {"a": [1, 2]})
        {'a': [1, 2]}
        >>> parse_as(int, "1", "step")
        Traceback (most recent call last):
        ValueError: step: expected int, found str
    """
    if kind is Any:
        return value
    if is_dataclass(kind):
        return _parse_fields(kind, value, name)
    if is_typeddict(kind):
        return _parse_keys(kind, value, name)
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, types.UnionType):
        return _parse_union(inner, value, name)
    if origin is list and isinstance(value, list):
        return [parse_as(inner[0], item, name) for item in value] if inner else value
    if origin is dict and isinstance(value, dict):
        return {key: parse_as(inner[1], item, f"{name}.{key}") for key, item in value.items()} if inner else value
    if type(value) is origin or (origin is float and type(value) is int):
        return _check_size(value, name)
    raise ValueError(f"{name or 'value'}: expected {getattr(kind, '__name__', kind)}, found {type(value).__name__}")


def _check_size(value: Any, name: str) -> Any:  # noqa: ANN401
    if type(value) is int and abs(value) > sys.float_info.max:
        raise ValueError(f"{name or 'value'}: a number of {value.bit_length()} bits is too large")
    return value


def _parse_union(kinds: tuple[Any, ...], value: Any, name: str) -> Any:  # noqa: ANN401
    errors = []
    for kind in kinds:
        try:
            return parse_as(kind, value, name)
        except ValueError as error:
            errors.append(error)
    raise errors[0]  # That of `X` in `X | None`.


def _parse_keys(kind: Any, value: Any, name: str) -> Any:  # noqa: ANN401
    if not isinstance(value, dict):
        raise ValueError(f"{name or 'value'}: expected an object, found {type(value).__name__}")
    if missing := sorted(kind.__required_keys__ - value.keys()):
        raise ValueError(f"{name}: no {missing[0]}")
    hints = get_type_hints(kind)
    return {key: parse_as(hints.get(key, Any), item, f"{name}.{key}".strip(".")) for key, item in value.items()}


def _parse_fields(kind: Any, value: Any, name: str) -> Any:  # noqa: ANN401
    if not isinstance(value, dict):
        raise ValueError(f"{name or 'value'}: expected an object, found {type(value).__name__}")
    hints, known = get_type_hints(kind), {entry.name: entry for entry in fields(kind)}
    if unknown := sorted(value.keys() - known.keys()):
        raise ValueError(f"unknown field {unknown[0]}")
    for field, entry in known.items():
        if field not in value and entry.default is MISSING and entry.default_factory is MISSING:
            raise ValueError(f"no field {field}")
    return kind(**{field: parse_as(hints[field], item, f"{name}.{field}".strip(".")) for field, item in value.items()})


def _read(path: Path) -> str:
    if not is_plain_file(path):
        raise ValueError("it is no file")
    if path.stat().st_size > _LONGEST:
        raise ValueError("it is larger than such files are")
    return path.read_bytes().decode("utf-8")


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _shorten(error: Exception) -> str:
    return str(error).splitlines()[0][:120] if str(error) else type(error).__name__
