"""Hostile PyTorch files: each is refused in words, runs nothing, writes nothing, and stays small and quick."""

import encodings.cp437  # noqa: F401  (zipfile loads it at its first file)
import io
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections import OrderedDict
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.errors import ModelError
from bigfoot.formats import safe_pickle, torch_file
from bigfoot.formats.safe_pickle import Record, Symbol, UnsafePickleError, read_pickle
from bigfoot.formats.torch_file import open_torch_file, read_state_dict
from bigfoot.formats.torch_layout import StoredTensor
from tests.refusals import refused

MAGIC = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}]
# What Python itself reports (PEP 578) where code is run, a process started, a file or a socket opened.
TAIL = struct.pack("<q", 16) + b"\0" * 64
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess", "exec", "compile", "import",
             "socket", "pickle.find_class", "shutil", "os.remove", "os.rename", "os.mkdir")  # fmt: skip
events = []
watching = []


def listen(event, arguments):
    if watching and (event.startswith(FORBIDDEN) or (event == "open" and set(str(arguments[1])) & set("wax+"))):
        events.append((event, arguments))


sys.addaudithook(listen)


class Watch:
    """Nothing is run, written, started or imported inside, and at most so much memory taken."""

    def __init__(self, folder, megabytes=20):
        self.folder, self.bytes = folder, megabytes * 2**20

    def __enter__(self):
        self.before = sorted(self.folder.iterdir())
        events.clear()
        tracemalloc.start()
        watching.append(self)

    def __exit__(self, *_):
        watching.clear()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert events == []
        assert sorted(self.folder.iterdir()) == self.before
        assert peak < self.bytes


@pytest.fixture(scope="module", autouse=True)
def warm_up(tmp_path_factory):
    """What our own code imports when it first reads a file is no event; the process that reads it first is not seen.

    That process runs the same readers before these do (``test_first_look.py``).
    """
    file = tmp_path_factory.mktemp("warm") / "good.pt"
    for new in (True, False):
        torch.save({"a": torch.ones(2)}, file, _use_new_zipfile_serialization=new)
        read_state_dict(file)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_file, "look_first", lambda _: None)
        yield


def as_zip(data, path, entries=None, root="archive"):
    """A file of torch.save's with this pickle in it."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{root}/data.pkl", data)
        for name, content in (entries if entries is not None else {f"{root}/data/0": b"\0" * 64}).items():
            archive.writestr(name, content)
    return path


def as_legacy(data, path, keys=("0",), tail=TAIL):
    """The same as PyTorch wrote it before 1.6."""
    head = b"".join(pickle.dumps(part, protocol=2) for part in MAGIC)
    path.write_bytes(head + data + pickle.dumps(list(keys), protocol=2) + tail)
    return path


def refuse(path, *values, **limits):
    with Watch(path.parent, **limits), refused(ModelError, path, *values) as caught:
        read_state_dict(path)
    assert len(str(caught.value)) < 1000
    return caught


class Calls:
    def __init__(self, function, *arguments):
        self.made = function, arguments

    def __reduce__(self):
        return self.made


def short(text):
    return b"X" + struct.pack("<I", len(text)) + text.encode()


def name(module, function):
    return f"c{module}\n{function}\n".encode()


ATTACKS = {
    "os.system": lambda marker: pickle.dumps(Calls(os.system, f"touch {marker}"), protocol=2),
    "builtins.eval": lambda marker: pickle.dumps(Calls(eval, f"open({str(marker)!r}, 'w')"), protocol=2),
    "builtins.exec": lambda marker: pickle.dumps(Calls(exec, f"open({str(marker)!r}, 'w')"), protocol=4),
    "builtins.open": lambda marker: pickle.dumps(Calls(open, str(marker), "w"), protocol=2),
    "builtins.__import__": lambda marker: pickle.dumps(Calls(__import__, "antigravity"), protocol=2),
    "subprocess.Popen": lambda marker: pickle.dumps(Calls(subprocess.Popen, ["touch", str(marker)]), protocol=2),
    "subprocess.run": lambda marker: pickle.dumps(Calls(subprocess.run, ["touch", str(marker)]), protocol=4),
    "torch.load": lambda marker: pickle.dumps(Calls(torch.load, str(marker)), protocol=2),
    "torch.save": lambda marker: pickle.dumps(Calls(torch.save, {}, str(marker)), protocol=2),
    "torch.hub.load": lambda marker: name("torch.hub", "load") + b"(" + short("a/b") + b"tR.",
    "pickle.loads": lambda marker: pickle.dumps(Calls(pickle.loads, b"."), protocol=2),
    "numpy.load": lambda marker: pickle.dumps(Calls(np.load, str(marker)), protocol=2),
    "runpy.run_path": lambda marker: name("runpy", "run_path") + b"(" + short(str(marker)) + b"tR.",
    "functools.partial": lambda marker: name("functools", "partial") + b"." ,
    "types.FunctionType": lambda marker: name("types", "FunctionType") + b".",
    "operator.attrgetter": lambda marker: name("operator", "attrgetter") + b".",
    "copyreg._reconstructor": lambda marker: name("copyreg", "_reconstructor") + b".",
    "__main__.Model": lambda marker: name("__main__", "Model") + b")R.",
}
GETATTR = name("builtins", "getattr")
ENUM = name("fairseq.dataclass", "Choice")
TRICKS = {
    "getattr of a module": (GETATTR + b"(" + name("os", "path") + short("system") + b"tR.", ("os.path",)),
    "getattr of a record": (GETATTR + b"(" + ENUM + b")R" + short("system") + b"tR.", ()),
    "getattr of getattr": (
        GETATTR + b"(" + GETATTR + b"(" + ENUM + short("a") + b"tR" + short("b") + b"tR.", (),
    ),
    "getattr with a path": (GETATTR + b"(" + ENUM + short("a.b") + b"tR.", ()),
    "getattr of a builtin": (GETATTR + b"(" + name("builtins", "dict") + short("x") + b"tR.", ()),
    "a call of a record": (ENUM + b")R(" + short("ls") + b"tR.", ()),
    "a call of a number": (b"K\x01)R.", ()),
    "a class from the stack": (b"\x80\x04" + short("os") + short("system") + b"\x93.", ("os.system",)),
    "a dotted class from the stack": (b"\x80\x04" + short("torch") + short("hub.load") + b"\x93.", ("torch.hub.load",)),
    "a class that is no name": (b"\x80\x04K\x01K\x02\x93.", ()),
    "attributes of a class": (ENUM + b"}" + short("__init__") + b"Nsb.", ()),
    "attributes of a builder": (name("torch._utils", "_rebuild_tensor_v2") + b"}" + short("a") + b"Nsb.", ()),
    "a type that is called": (name("torch", "FloatStorage") + b"K\x01\x85R.", ()),
    "INST": (b"(" + short("ls") + b"ios\nsystem\n.", ("INST",)),
    "OBJ": (b"(" + ENUM + b"o.", ("OBJ",)),
    "EXT1": (b"\x82\x01.", ("EXT1",)),
    "PERSID": (b"Pls\n.", ("PERSID",)),
    "NEWOBJ_EX": (b"\x80\x04" + ENUM + b")}\x92.", ("NEWOBJ_EX",)),
    "BYTEARRAY8": (b"\x80\x05\x96" + struct.pack("<Q", 2**60) + b".", ()),
    "NEXT_BUFFER": (b"\x80\x05\x97.", ("NEXT_BUFFER",)),
    "keys that take for ever": (b"})q\x000" + b"h\x00h\x00\x86q\x000" * 40 + b"h\x00Ns.", ()),
    "a list as a key": (b"}]Ns.", ()),
    "bytes that are not there": (b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"abc.", ()),
    "text that is not there": (b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"abc.", ()),
    "a number that is not there": (b"\x8b" + struct.pack("<i", 2**31 - 1) + b"abc.", ()),
    "a number of digits": (b"L" + b"9" * 100_000 + b"L\n.", ()),
    "nothing on the stack": (b"R.", ()),
    "a memo that is empty": (b"h\x05.", ()),
    "marks without end": (b"(" * 1000 + b".", ()),
    "no end": (b"]" * 1000, ()),
    "nothing": (b"", ()),
    "an opcode that there is not": (b"\xff.", ()),
}


@pytest.mark.parametrize("wrap", [as_zip, as_legacy])
@pytest.mark.parametrize("attack", ATTACKS)
def test_what_would_run_code_is_refused(attack, wrap, tmp_path):
    marker = tmp_path / "marker"
    data = ATTACKS[attack](marker)
    module = attack.rpartition(".")[0]
    # As pickles name them; in protocol 2 as Python 2 did.
    written = {"os": "posix", "builtins": "builtins|io", "subprocess": "subprocess|commands"}.get(module, module)
    caught = refuse(wrap(data, tmp_path / "model.pt"))
    assert any(module in str(caught.value) for module in written.split("|"))
    assert not marker.exists()


@pytest.mark.parametrize("wrap", [as_zip, as_legacy])
@pytest.mark.parametrize("trick", TRICKS)
def test_tricks_with_opcodes_are_refused(trick, wrap, tmp_path):
    data, named = TRICKS[trick]
    refuse(wrap(data, tmp_path / "model.pt"), *named)


def test_the_attacks_are_real(tmp_path):
    """What the tests above refuse does run in a plain unpickler, or they would show nothing."""
    marker = tmp_path / "marker"
    events.clear()
    watching.append(True)
    try:
        pickle.loads(ATTACKS["os.system"](marker))
    finally:
        watching.clear()
    assert marker.exists()
    assert "os.system" in {event for event, _ in events}


def nested(depth, width=10):
    """A list of lists of lists, each the same: small in a file, 10 ** depth of them when written in full."""
    made = b"]q\x00"
    for level in range(1, depth):
        made += b"]" + b"q" + bytes([level]) + b"(" + (b"h" + bytes([level - 1])) * width + b"e"
    return b"(" + made + b"l"


def test_containers_nested_exponentially_are_never_expanded(tmp_path):
    data = b"}" + short("a") + nested(100) + b"s."
    with Watch(tmp_path):
        held = read_pickle(io.BytesIO(data), 0, len(data))
    assert isinstance(held["a"], list)
    refuse(as_zip(data, tmp_path / "model.pt"))


@pytest.mark.slow
def test_what_would_be_copied_again_and_again_is_counted(tmp_path):
    pairs = b"(" + b"".join(b"K\x01K\x02\x86" for _ in range(3000)) + b"l"
    for maker in (name("collections", "OrderedDict"), name("builtins", "set")):
        items = pairs if b"Ordered" in maker else b"(" + b"K\x01" * 3000 + b"l"
        data = items + b"q\x000](" + (maker + b"h\x00\x85R") * 3000 + b"e."
        refuse(as_zip(data, tmp_path / "model.pt"), "1000000", megabytes=150)


def test_opcodes_and_time_are_counted(tmp_path, monkeypatch):
    data = b"N0" * 600 + b"N."
    with Watch(tmp_path), pytest.raises(UnsafePickleError):
        read_pickle(io.BytesIO(data), 0, len(data), max_seconds=-1)
    monkeypatch.setattr(safe_pickle, "MAX_OPCODES", 1000)
    refuse(as_zip(data, tmp_path / "model.pt"), "1000")
    monkeypatch.setattr(safe_pickle, "MAX_BYTES", 100)
    refuse(as_zip(data, tmp_path / "model.pt"), "100")


def test_a_memo_far_away_takes_no_memory(tmp_path):
    data = b"Nr" + struct.pack("<I", 2**32 - 1) + b"0j" + struct.pack("<I", 2**32 - 1) + b"."
    with Watch(tmp_path):
        assert read_pickle(io.BytesIO(data), 0, len(data)) is None


def tensor(reference=None, offset=0, shape=(4, 4), stride=(4, 1), storage="FloatStorage", key="0", numel=16):
    """The pickle of one tensor, as torch.save writes it, or as it would never."""
    out = io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return value.made[1] if isinstance(value, Reference) else None

    class Reference(Calls):
        pass

    kind = getattr(torch, storage) if isinstance(storage, str) else storage
    refers = Reference(None, *(reference or ("storage", kind, key, "cpu", numel)))
    rebuild = torch._utils._rebuild_tensor_v2
    Pickler(out, protocol=2).dump({"a": Calls(rebuild, refers, offset, shape, stride, False, OrderedDict())})
    return out.getvalue()


@pytest.mark.parametrize("wrap", [as_zip, as_legacy])
def test_a_tensor_made_by_hand_is_one(wrap, tmp_path):
    with Watch(tmp_path):
        pass
    assert torch.equal(read_state_dict(wrap(tensor(), tmp_path / "model.pt"))["a"], torch.zeros(4, 4))


LIES = {
    "storage larger than its bytes": ({"numel": 17}, ()),
    "storage larger than the file": ({"numel": 2**40}, ("1099511627776",)),
    "storage of absurd size": ({"numel": 2**62}, ("4611686018427387904",)),
    "storage of absurd size, negative": ({"numel": -(2**62)}, ("-4611686018427387904",)),
    "storage of another type": ({"storage": "DoubleStorage"}, ()),
    "tensor beyond its storage": ({"shape": (5, 4)}, ()),
    "tensor beyond by its offset": ({"offset": 1}, ()),
    "tensor before its storage": ({"offset": -1}, ()),
    "tensor of absurd size": ({"shape": (2**47, 2**47)}, ()),
    "tensor of nothing, absurdly often": ({"shape": (0, 2**47, 2**47), "stride": (1, 1, 1)}, ()),
    "tensor of negative size": ({"shape": (-4, -4)}, ("8",)),
    "tensor of negative stride": ({"stride": (-4, 1)}, ("8",)),
    "tensor that grows": ({"shape": (2**20, 2**20), "stride": (0, 0)}, ()),
    "tensor that overlaps": ({"shape": (9, 8), "stride": (1, 1)}, ()),
    "tensor of many dimensions": ({"shape": (1,) * 9, "stride": (1,) * 9}, ("8",)),
    "tensor of half a number": ({"shape": (1.5, 2)}, ("8",)),
    "more sizes than strides": ({"shape": (2, 2, 2)}, ()),
    "storage that is not there": ({"key": "7"}, ()),
    "storage outside": ({"key": "../../data.pkl"}, ()),
    "reference of another kind": ({"reference": ("module", "a", "b", "c")}, ("torch.save",)),
    "reference without a size": ({"reference": ("storage", torch.FloatStorage, "0", "cpu", "16")}, ()),
}


@pytest.mark.parametrize("wrap", [as_zip, as_legacy])
@pytest.mark.parametrize("lie", LIES)
def test_tensors_whose_sizes_lie_are_refused(lie, wrap, tmp_path):
    changes, named = LIES[lie]
    refuse(wrap(tensor(**changes), tmp_path / "model.pt"), *named)


def test_many_tensors_on_the_same_bytes_are_refused(tmp_path):
    path = tmp_path / "model.pt"
    one = tensor()[2:-1]  # Without PROTO and STOP; a dictionary each.
    data = b"\x80\x02](" + one * 50 + b"e."
    opened = open_torch_file(as_zip(data, path))
    with Watch(tmp_path), pytest.raises(ModelError):
        opened.read({str(index): held["a"] for index, held in enumerate(opened.content * 50)})


BAD_ZIPS = {
    "an entry that climbs": {"archive/../../evil": b"x"},
    "an entry of the root": {"/etc/evil": b"x"},
    "an entry beside": {"evil/data/0": b"x"},
    "an entry of Windows": {"archive\\..\\evil": b"x"},
    "an entry that climbs inside": {"archive/data/../0": b"x"},
    "a program": {"archive/constants.pkl": b"x"},
    "big-endian numbers": {"archive/byteorder": b"big"},
}


@pytest.mark.parametrize("fault", BAD_ZIPS)
def test_archives_with_entries_of_another_kind_are_refused(fault, tmp_path):
    refuse(as_zip(tensor(), tmp_path / "model.pt", BAD_ZIPS[fault]))


def test_compressed_archives_are_refused(tmp_path):
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", tensor(numel=2**22, shape=(2**22,), stride=(1,)))
        archive.writestr("archive/data/0", b"\0" * 2**24)
    refuse(path)


def test_directories_without_end_are_not_read(tmp_path):
    path = as_zip(tensor(), tmp_path / "model.pt")
    content = path.read_bytes()
    directory = content.rindex(b"PK\x01\x02")
    entry, end = content[directory:-22], bytearray(content[-22:])
    many = entry * (9 * 2**20 // len(entry))
    end[12:16] = struct.pack("<I", len(many))
    path.write_bytes(content[:directory] + many + end)
    refuse(path, "8388608", megabytes=2)


def test_archives_that_lie_about_themselves_are_refused(tmp_path):
    path = as_zip(tensor(), tmp_path / "model.pt")
    content = path.read_bytes()
    directory = content.rindex(b"PK\x01\x02")
    for position in (directory + 24, directory + 42):
        spoiled = bytearray(content)
        spoiled[position : position + 4] = struct.pack("<I", 2**31 - 1)
        if position == directory + 24:
            spoiled[directory + 20 : directory + 24] = struct.pack("<I", 2**31 - 1)
        path.write_bytes(spoiled)
        refuse(path)
    path.write_bytes(content[:-30])
    refuse(path)


def test_a_program_of_pytorch_is_refused(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "model.pt")
    refuse(tmp_path / "model.pt")


def test_old_files_that_end_too_soon_are_refused(tmp_path):
    path = as_legacy(tensor(), tmp_path / "model.pt", tail=struct.pack("<q", 16) + b"\0" * 63)
    refuse(path)
    refuse(as_legacy(tensor(), tmp_path / "model.pt", keys=()))
    refuse(as_legacy(tensor(), tmp_path / "model.pt", tail=struct.pack("<q", -(2**62))))


STATE = {
    **{str(kind): torch.arange(6).to(kind).reshape(2, 3) for kind in (
        torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
        torch.uint8, torch.bool)},
    "turned": torch.arange(12.0).reshape(3, 4).T,
    "part": torch.arange(12.0)[3:9:2],
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 3),
    "parameter": torch.nn.Parameter(torch.randn(3)),
}  # fmt: skip


@pytest.mark.parametrize("new", [True, False])
def test_good_files_are_read_as_pytorch_reads_them(new, tmp_path):
    path = tmp_path / "model.bin"
    state = OrderedDict(STATE | {"shared": STATE["turned"]})
    state._metadata = {"": {"version": 1}}
    torch.save(state, path, _use_new_zipfile_serialization=new)
    with Watch(tmp_path):
        found = read_state_dict(path)
    expected = torch.load(path, weights_only=True)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_pickles_of_every_protocol(protocol):
    value = {"a": [1, -2, 2**70, 0.5, True, None], "b": ("x", b"y", "ä€"), "c": {1: {2: ()}}, "d": {1}, "e": (1,) * 4}
    if protocol < 2:
        value.pop("b")  # Bytes take a call of a codec there that no checkpoint has seen for ten years.
        value.pop("d")
    data = pickle.dumps(value, protocol=protocol)
    assert read_pickle(io.BytesIO(data), 0, len(data)) == value


def test_records_are_inert():
    import argparse

    data = pickle.dumps({"args": argparse.Namespace(arch="wav2vec2", layers=[1])}, protocol=2)
    record = read_pickle(io.BytesIO(data), 0, len(data))["args"]
    assert isinstance(record, Record)
    assert (record.name, record.state) == ("argparse.Namespace", {"arch": "wav2vec2", "layers": [1]})
    data = b"(" + name("fairseq.data", "Dictionary") + GETATTR + b"(" + ENUM + short("c10d") + b"tRl."
    symbol, member = read_pickle(io.BytesIO(data), 0, len(data))
    assert symbol == Symbol("fairseq.data.Dictionary")
    assert (member.name, member.arguments) == ("fairseq.dataclass.Choice", ("c10d",))
    assert "fairseq" not in sys.modules



@pytest.fixture(scope="module")
def good_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("good")
    content = {"a": torch.randn(3), "b": {"c": ["d", 1]}}
    for new in (True, False):
        torch.save(content, folder / f"{new}.pt", _use_new_zipfile_serialization=new)
    return {new: (folder / f"{new}.pt").read_bytes() for new in (True, False)}, folder


@pytest.mark.slow
@settings(max_examples=150)
@given(st.booleans(), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_damage_anywhere_is_read_or_refused(good_files, new, damage):
    contents, folder = good_files
    content = bytearray(contents[new])
    for place, value in damage:
        content[min(len(content) - 1, int(place * len(content)))] = value
    path = folder / "damaged.pt"
    path.write_bytes(content)
    with Watch(folder), suppress(ModelError):
        opened = open_torch_file(path)
        if isinstance(opened.content, dict) and isinstance(opened.content.get("a"), StoredTensor):
            opened.read({"a": opened.content["a"]})


@pytest.mark.slow
@settings(max_examples=150)
@given(st.lists(st.sampled_from([opcode.code.encode("latin1") for opcode in pickletools.opcodes]), max_size=30))
def test_any_row_of_opcodes_is_read_or_refused(good_files, opcodes):
    data = b"".join(code + (b"\x01" if code in b"K\x8ah" else b"") for code in opcodes) + b"."
    with Watch(good_files[1]), suppress(UnsafePickleError):
        read_pickle(io.BytesIO(data), 0, len(data))
