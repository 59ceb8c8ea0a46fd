"""Pickles read without running anything they ask for.

A pickle is a program: its opcodes may name any function of Python and call it. Here the opcodes only ever build
numbers, strings, containers, what the caller lends builders for, and inert records, which keep the name of a class
and what the file holds of it. No name of the file is ever looked up or imported, so there is nothing to call.

What a file can cost is bounded by counting: bytes read, opcodes, and a clock that is asked in every loop over what
came from the file. No opcode does more than linear work on bytes that are in the file, so the clock is read in time;
``first_look`` ends a process that never reads it.
"""

from __future__ import annotations

import pickletools
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from bigfoot.errors import ModelError

MAX_BYTES = 64 * 2**20
"""Of one pickle: a fairseq checkpoint's, without its tensors, has below one megabyte."""
MAX_OPCODES = 1_000_000
"""Of one pickle: each makes at most some two hundred bytes, an empty set."""
MAX_SECONDS = 60.0

Builder = Callable[..., object]

# Modules whose names may stand in a file, as inert records.
_INERT_MODULES = ("fairseq", "omegaconf", "examples", "typing")
# What else a checkpoint of fairseq's names, never to be called: a configuration's type hints, numbers of numpy.
_INERT_NAMES = (
    "argparse.Namespace", "pathlib.PosixPath", "torch.device", "collections.defaultdict", "numpy.dtype",
    "numpy.ndarray", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct", "_operator.getitem",
    "operator.getitem",
)  # fmt: skip
# Of type hints; protocol 2 names int and str as Python 2 did.
_INERT_BUILTINS = (
    "object", "dict", "list", "tuple", "set", "int", "long", "float", "complex", "bool", "str", "unicode", "bytes",
)  # fmt: skip
_PLAIN_KEYS = (str, bytes, int, float, bool, type(None))


class UnsafePickleError(ModelError):
    """A pickle that asks for more than it may, or is none."""


@dataclass(frozen=True)
class Symbol:
    """A class or function that a file names; only its name.

    Args:
        name: dotted, ``builtins`` where Python 2 had ``__builtin__``.
    """

    name: str


@dataclass(eq=False)
class Record:
    """An object of the file's, of which only the facts are kept.

    Args:
        name: dotted name of its class, or of the function that would have made it.
        arguments: what that would have been given.
        state: its attributes.
        items: what was appended or set in it, in order; pairs for keys.
    """

    name: str
    arguments: tuple[object, ...] = ()
    state: dict[str, Any] = field(default_factory=dict)
    items: list[object] = field(default_factory=list)

    def __repr__(self) -> str:
        """Only the name: a file may nest records so that printing them never ends."""
        return f"Record({self.name!r})"


class BoundedFile:
    """A stretch of a file that gives no byte from beyond its end, however many are asked for.

    Args:
        file: open for reading bytes.
        start: first byte.
        size: bytes from there.
    """

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self.file, self.end = file, start + size
        file.seek(start)

    def read(self, count: int) -> bytes:
        """Read up to ``count`` bytes: fewer at the end, never memory for more than there are."""
        return self.file.read(max(0, min(count, self.end - self.file.tell())))

    def readline(self) -> bytes:
        """Read up to the end of a line."""
        return self.file.readline(max(0, self.end - self.file.tell()))

    def tell(self) -> int:
        """Return the position in the whole file."""
        return self.file.tell()


def read_pickle(
    file: BinaryIO,
    start: int,
    size: int,
    builders: Mapping[str, Builder] | None = None,
    persistent: Builder | None = None,
    max_seconds: float = MAX_SECONDS,
) -> object:
    """Build what a pickle holds, running nothing; the file then stands behind it.

    Args:
        file: open for reading bytes, seekable.
        start: where the pickle starts.
        size: bytes it may have; at most ``MAX_BYTES`` of them are read.
        builders: by dotted name, our own functions for what the file would have made by that name; each is
            called with the file's arguments and must expect anything of them.
        persistent: our own function for the file's references to something outside the pickle.
        max_seconds: of a processor, after which reading stops: beside other work a large file is slow, not hostile.

    Returns:
        Numbers, strings, containers, ``Symbol``s, ``Record``s and what builders gave.

    Raises:
        UnsafePickleError: it asks for more than that, is damaged, or larger than it may be.

    Examples:
        >>> import io, pickle
        >>> data = pickle.dumps({"layers": [1, 2]})
        >>> read_pickle(io.BytesIO(data), 0, len(data))
        {'layers': [1, 2]}
        >>> data = pickle.dumps(print)
        >>> read_pickle(io.BytesIO(data), 0, len(data))
        Traceback (most recent call last):
        bigfoot.formats.safe_pickle.UnsafePickleError: the file asks for 'builtins.print', ...
    """
    bounded = BoundedFile(file, start, min(size, MAX_BYTES))
    machine = _Machine(dict(builders or {}), persistent, time.thread_time() + max_seconds)
    try:
        # pickletools only lists opcodes; nothing in it builds or calls.
        for opcode, argument, _ in pickletools.genops(cast(BinaryIO, bounded)):
            machine.charge(1)
            machine.step(opcode.name, argument)
        return machine.result()
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, struct.error) as error:
        size_note = f"; more than {MAX_BYTES} bytes are not read" if size > MAX_BYTES else ""
        raise UnsafePickleError(f"the file is damaged, or no pickle: {_short(error)}{size_note}") from error


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:200] + "..."


class _Machine:
    """The stack machine of a pickle, with opcodes that only build."""

    def __init__(self, builders: dict[str, Builder], persistent: Builder | None, deadline: float) -> None:
        self.builders = _CONTAINERS | builders
        self.persistent, self.deadline = persistent, deadline
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.work = 0

    def charge(self, work: int) -> None:
        """Count an opcode, or the copy of what a few opcodes could ask to have copied again and again."""
        self.work += work
        if self.work > MAX_OPCODES:
            raise UnsafePickleError(f"more than {MAX_OPCODES} opcodes, where a checkpoint has some thousands")
        if self.work % 256 == 0 or work > 256:
            self.watch_clock()

    def watch_clock(self) -> None:
        """Raise when the time is over."""
        if time.thread_time() > self.deadline:
            raise UnsafePickleError("it takes too long to read, where a checkpoint takes a second; the file is hostile")

    def result(self) -> object:
        if len(self.stack) != 1 or self.marked:
            raise ValueError("it ends in the middle")
        return self.stack.pop()

    def step(self, name: str, argument: object) -> None:
        """Run one opcode."""
        if name in _PUSHED:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            items = tuple(self.stack[len(self.stack) - _TUPLES[name] :])
            if len(items) != _TUPLES[name]:
                raise ValueError("a tuple of more than there is")
            self.stack[len(self.stack) - len(items) :] = [items]
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[cast(int, argument)] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[cast(int, argument)])
        elif name not in ("PROTO", "FRAME", "STOP"):
            act = _ACTIONS.get(name)
            if act is None:
                raise UnsafePickleError(f"the opcode {name} stands in no checkpoint; the file was not read further")
            act(self, argument)

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marked.pop()
        return items

    def mark(self, _: object) -> None:
        self.marked.append(self.stack)
        self.stack = []

    def drop(self, _: object) -> None:
        self.stack.pop()

    def memoize(self, _: object) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def make_tuple(self, _: object) -> None:
        items = self.pop_mark()
        self.stack.append(tuple(items))

    def make_list(self, _: object) -> None:
        items = self.pop_mark()
        self.stack.append(items)

    def make_dict(self, _: object) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self._set(items)

    def append(self, _: object) -> None:
        self._extend([self.stack.pop()])

    def appends(self, _: object) -> None:
        self._extend(self.pop_mark())

    def set_item(self, _: object) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def set_items(self, _: object) -> None:
        self._set(self.pop_mark())

    def add_items(self, _: object) -> None:
        items, target = self.pop_mark(), self.stack[-1]
        if not isinstance(target, set):
            raise UnsafePickleError(f"it adds to a {type(target).__name__} as if it were a set")
        for item in items:
            self._check_key(item)
            target.add(item)

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Record):
            target = target.items
        if not isinstance(target, list):
            raise UnsafePickleError(f"it appends to a {type(target).__name__}")
        target.extend(items)

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if len(items) % 2 or not isinstance(target, dict | Record):
            raise UnsafePickleError(f"it sets items in a {type(target).__name__}, or keys without values")
        for key, value in zip(items[::2], items[1::2], strict=True):
            self._check_key(key)
            if isinstance(target, Record):
                target.items.append((key, value))
            else:
                target[key] = value

    def _check_key(self, key: object) -> None:
        """Keys are plain: hashing tuples in tuples takes for ever, and so do keys chosen to collide."""
        self.watch_clock()
        parts = key if isinstance(key, tuple) else (key,)
        if not all(isinstance(part, (*_PLAIN_KEYS, Symbol, Record)) for part in parts):
            raise UnsafePickleError("a key of its dictionaries is neither string nor number")

    def look_up(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(self._symbol(module, name))

    def look_up_on_stack(self, _: object) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise UnsafePickleError("it names a class by something that is no string")
        self.stack.append(self._symbol(module, name))

    def _symbol(self, module: str, name: str) -> Symbol:
        module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
        dotted = f"{module}.{name}"
        known = dotted in self.builders or dotted in _INERT_NAMES or module.split(".")[0] in _INERT_MODULES
        if not known and not (module == "builtins" and name in _INERT_BUILTINS):
            raise UnsafePickleError(
                f"the file asks for {_short(repr(dotted))}, which is neither tensor nor container nor a record that "
                "checkpoints hold; it was not called, and the file not read further"
            )
        return Symbol(dotted)

    def call(self, _: object) -> None:
        """REDUCE and NEWOBJ: what would call a function or make an object."""
        arguments, made = self.stack.pop(), self.stack.pop()
        if not isinstance(made, Symbol) or not isinstance(arguments, tuple):
            raise UnsafePickleError(f"it calls a {type(made).__name__}, which is nothing to be called")
        builder = self.builders.get(made.name)
        self.charge(sum(len(part) for part in arguments[:8] if isinstance(part, str | bytes | list | tuple)))
        self.stack.append(Record(made.name, arguments) if builder is None else builder(*arguments))

    def build(self, _: object) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        # An OrderedDict of PyTorch's has attributes (_metadata), which are not needed here.
        if isinstance(target, dict):
            return
        if not isinstance(target, Record):
            raise UnsafePickleError(f"it sets attributes of a {type(target).__name__}")
        for part in state if isinstance(state, tuple) and len(state) == 2 else (state,):
            if isinstance(part, dict):
                self.charge(len(part))
                target.state.update({key: value for key, value in part.items() if isinstance(key, str)})
            elif part is not None:
                target.state["__state__"] = part

    def refer(self, _: object) -> None:
        if self.persistent is None:
            raise UnsafePickleError("it refers to tensors outside itself, where there are none")
        self.stack.append(self.persistent(self.stack.pop()))


def _ordered_dict(pairs: object = ()) -> dict[Any, Any]:
    if not isinstance(pairs, list | tuple):
        raise UnsafePickleError("an OrderedDict of something that is no list of pairs")
    filled: dict[Any, Any] = {}
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not isinstance(pair[0], _PLAIN_KEYS):
            raise UnsafePickleError("an OrderedDict of something that is no list of pairs")
        filled[pair[0]] = pair[1]
    return filled


def _set(items: object = ()) -> set[Any]:
    if not isinstance(items, list | tuple) or not all(isinstance(item, _PLAIN_KEYS) for item in items):
        raise UnsafePickleError("a set of something that is no list of strings and numbers")
    return set(items)


def _encode(text: object, encoding: object = "latin1") -> bytes:
    """``bytes`` as protocol 2 has them."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise UnsafePickleError(f"bytes in an encoding {_short(repr(encoding))} that pickles do not use")
    return text.encode("latin1")


def _enum_member(owner: object, name: object) -> Record:
    """Keep the name of a member of an enumeration, which Python 3.11 pickles as ``getattr(class, name)``."""
    inert = isinstance(owner, Symbol) and owner.name.split(".")[0] in _INERT_MODULES
    if not inert or not isinstance(owner, Symbol) or not isinstance(name, str) or not name.isidentifier():
        raise UnsafePickleError("the file asks for builtins.getattr of something that is no enumeration")
    return Record(owner.name, (name,))


_CONTAINERS: dict[str, Builder] = {
    "collections.OrderedDict": _ordered_dict,
    "builtins.set": _set,
    "_codecs.encode": _encode,
    "builtins.getattr": _enum_member,
}
_PUSHED = (
    "BINUNICODE", "BININT1", "BININT", "BININT2", "SHORT_BINUNICODE", "INT", "LONG", "LONG1", "LONG4", "FLOAT",
    "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8",
)  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], object]] = {
    "EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set, "EMPTY_TUPLE": tuple,
}  # fmt: skip
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark, "POP": _Machine.drop, "MEMOIZE": _Machine.memoize, "TUPLE": _Machine.make_tuple,
    "LIST": _Machine.make_list, "DICT": _Machine.make_dict, "APPEND": _Machine.append, "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item, "SETITEMS": _Machine.set_items, "ADDITEMS": _Machine.add_items,
    "GLOBAL": _Machine.look_up, "STACK_GLOBAL": _Machine.look_up_on_stack, "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call, "BUILD": _Machine.build, "BINPERSID": _Machine.refer,
}  # fmt: skip
