"""Folders and files are replaced whole or not at all, and only where bigfoot wrote them."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.errors import OutputError
from bigfoot.storage import replace as replacing_module
from bigfoot.storage.inventory import MARKER, Inventory
from bigfoot.storage.ownership import Earlier, MayReplace, check_file, check_folder, find_foreign
from bigfoot.storage.places import leftovers, locate, refuse_overwriting, temporary
from bigfoot.storage.replace import recover_folder, replace_folder, replacing, swapped_in, write_file, write_files
from tests.refusals import refused

FORCE = MayReplace(force=True)


def fill(text="1", name="a.txt"):
    def write(folder):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)

    return write


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def place(tmp_path):
    return tmp_path / "home" / "model"


def test_absent_empty_and_own_folders_are_replaced(place):
    replace_folder(place, fill("1"))
    replace_folder(place, fill("2", "sub/b.txt"))
    assert set(contents(place)) == {MARKER, "sub/b.txt"}
    shutil.rmtree(place)
    place.mkdir()
    replace_folder(place, fill("3"))
    assert (place / "a.txt").read_text() == "3" and os.listdir(place.parent) == ["model"]


def add_file(folder):
    (folder / "thesis.txt").write_text("years")


def add_repository(folder):
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("x")


def add_empty_folder(folder):
    (folder / "sub").mkdir()


def add_link(folder):
    (folder / "link").symlink_to("/etc/hostname")


def change(folder):
    (folder / "a.txt").write_text("corrected by hand")


def change_within_the_size(folder):
    (folder / "a.txt").write_text("X")


def replace_by_a_link(folder):
    (folder / "a.txt").unlink()
    (folder / "a.txt").symlink_to("/etc/hostname")


@pytest.mark.parametrize(
    "add", [add_file, add_repository, add_empty_folder, add_link, change, change_within_the_size, replace_by_a_link]
)
def test_what_is_not_bigfoots_is_refused_and_named_when_it_goes(place, add):
    replace_folder(place, fill())
    add(place)
    before, (foreign,) = contents(place), find_foreign(place)
    with refused(OutputError, foreign.strip("/")):
        replace_folder(place, fill("2"), may=MayReplace(force=False))
    assert contents(place) == before and os.listdir(place.parent) == ["model"]
    reported = []
    replace_folder(place, fill("2"), may=MayReplace(force=True, report=reported.append))
    assert len(reported) == 1 and foreign in reported[0] and set(contents(place)) == {MARKER, "a.txt"}


def test_a_folder_without_marker_or_with_a_foreign_one_is_not_ours(place):
    place.mkdir(parents=True)
    add_file(place)
    with refused(OutputError, "thesis.txt"):
        replace_folder(place, fill())
    for marker in ("mine", '{"bigfoot": 2}', "[" * 100_000, "\udcff"):
        (place / MARKER).write_bytes(marker.encode(errors="surrogateescape"))
        assert set(find_foreign(place)) == {MARKER, "thesis.txt"}


def test_edits_may_go_where_the_writer_says_so(place):
    replace_folder(place, fill())
    change(place)
    replace_folder(place, fill("2"), may=MayReplace(edited=True))
    add_file(place)
    with pytest.raises(OutputError):
        replace_folder(place, fill("3"), may=MayReplace(edited=True))


def test_a_file_that_comes_while_writing_is_not_taken_away(place):
    replace_folder(place, fill())

    def write(beside):
        fill("2")(beside)
        add_file(place)

    with pytest.raises(OutputError):
        replace_folder(place, write)
    assert (place / "thesis.txt").exists() and (place / "a.txt").read_text() == "1"
    assert os.listdir(place.parent) == ["model"]


def test_earlier_versions_are_recognized_by_sign_and_names(place):
    earlier = Earlier(("history.json",), ("history.json", "*.safetensors", "decoder/*.json"))
    (place / "decoder").mkdir(parents=True)
    for name in ("model.safetensors", "decoder/tokenizer.json"):
        (place / name).write_text("x")
    assert set(find_foreign(place, earlier=earlier)) == {"decoder/", "model.safetensors"}
    (place / "history.json").write_text("x")
    assert not list(find_foreign(place, earlier=earlier))
    add_file(place)
    assert list(find_foreign(place, earlier=earlier)) == ["thesis.txt"]


@pytest.mark.parametrize("given", [".", "..", "/", "", "a/.."])
def test_no_entry_of_a_folder(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for may in (MayReplace(), FORCE):
        with pytest.raises(OutputError):
            replace_folder(given, fill(), may=may)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("target", ["folder", "file", "nothing"])
def test_links_are_neither_followed_nor_replaced(tmp_path, target):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / target)
    for written in (str(link), f"{link}/"):
        with pytest.raises(OutputError):
            replace_folder(written, fill(), may=FORCE)
    with pytest.raises(OutputError):
        write_file(link, b"x", may=FORCE)
    assert link.is_symlink() and not os.listdir(tmp_path / "folder") and (tmp_path / "file").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "link"]
    inside = tmp_path / "way"
    inside.symlink_to(tmp_path / "folder", target_is_directory=True)
    replace_folder(inside / "model", fill())  # a link on the way is the user's way
    assert (tmp_path / "folder" / "model" / "a.txt").exists()


def test_where_people_stand_is_never_replaced(place, monkeypatch):
    (place / "deep").mkdir(parents=True)
    monkeypatch.chdir(place / "deep")
    for folder in (place, place / "deep", "../deep"):
        with pytest.raises(OutputError):
            replace_folder(folder, fill(), may=FORCE)
    monkeypatch.chdir("/")
    monkeypatch.setenv("HOME", str(place / "deep"))
    with pytest.raises(OutputError):
        replace_folder(place, fill(), may=FORCE)
    assert (place / "deep").is_dir()


@pytest.mark.parametrize("below", ["", "deep", "with blank"])
def test_mount_points_are_never_replaced(place, below, monkeypatch):
    (place / below).mkdir(parents=True)
    from bigfoot.storage import places

    monkeypatch.setattr(places, "_mount_points", lambda: [Path("/"), place / below])
    with pytest.raises(OutputError):
        replace_folder(place, fill(), may=FORCE)
    assert (place / below).is_dir()


def test_mount_points_are_read():
    from bigfoot.storage.places import _mount_points

    assert Path("/proc") in _mount_points()


def test_inputs_are_never_replaced_nor_what_holds_them(tmp_path):
    source = tmp_path / "m" / "source"
    replace_folder(source, fill())
    audio = tmp_path / "a.flac"
    audio.write_bytes(b"sound")
    os.link(audio, tmp_path / "hard.txt")
    may = MayReplace(force=True, inputs=[source, audio, "no/such", "torchaudio:BUNDLE"], models=[source, None])
    for folder in (source, tmp_path / "m", tmp_path / "m" / ".." / "m", f"{source}/", source / "inside"):
        with pytest.raises(OutputError):
            replace_folder(folder, fill(), may=may)
    for file in (audio, tmp_path / "m" / ".." / "a.flac", tmp_path / "hard.txt"):
        with pytest.raises(OutputError):
            write_file(file, b"x", may=may)
    assert audio.read_bytes() == b"sound" and (source / "a.txt").read_text() == "1"
    assert sorted(os.listdir(tmp_path)) == ["a.flac", "hard.txt", "m"] and os.listdir(tmp_path / "m") == ["source"]
    refuse_overwriting([audio], tmp_path / "b.flac")


def test_of_a_folder_that_is_read_only_what_bigfoot_wrote_is_replaced(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"sound")
    may = MayReplace(force=True, inputs=[tmp_path])
    for content in (b"1", b"2"):  # an export in the folder of its calibration audio
        write_file(tmp_path / "m.onnx", content, may=may)
    with refused(OutputError, tmp_path / "a.wav"):
        write_file(tmp_path / "a.wav", b"x", may=may)
    assert (tmp_path / "a.wav").read_bytes() == b"sound" and (tmp_path / "m.onnx").read_bytes() == b"2"


def test_files_and_folders_are_not_mistaken_for_each_other(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError):
        replace_folder(tmp_path / "file", fill(), may=FORCE)
    with pytest.raises(OutputError):
        write_file(tmp_path / "folder", b"x", may=FORCE)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OutputError):
        write_file(tmp_path / "pipe", b"x", may=FORCE)
    with refused(OutputError, tmp_path / "folder"), swapped_in(tmp_path / "folder"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder", "pipe"]


@pytest.mark.parametrize("name", ["model", "модель ü.v2", "n" * 200, "日" * 80, "a\nb", "\udcff"])
def test_names_of_any_kind_and_foreign_neighbours(tmp_path, name):
    place = tmp_path / name
    neighbours = ["x.tmp", "x.old"] if len(os.fsencode(name)) > 190 else [f"{name}.tmp", f"{name}.old", f"{name}.part"]
    for neighbour in neighbours:
        (tmp_path / neighbour).mkdir()
        add_file(tmp_path / neighbour)
    for text in "12":
        replace_folder(place, fill(text))
    assert (place / "a.txt").read_text() == "2"
    assert set(os.listdir(tmp_path)) == {name, *neighbours}
    assert all((tmp_path / neighbour / "thesis.txt").exists() for neighbour in neighbours)


def test_only_names_that_bigfoot_gives_are_leftovers(tmp_path):
    place = tmp_path / "m"
    own = temporary(place, "new")
    foreign = [".m.bigfoot-new", ".m.bigfoot-new-x-12345678", ".mm.bigfoot-new-1-12345678", f"{own.name}0"]
    for name in (own.name, *foreign):
        (tmp_path / name).mkdir()
    assert leftovers(locate(place), "new") == [own]
    replace_folder(place, fill())
    assert set(os.listdir(tmp_path)) == {"m", *foreign}


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_what_is_written_follows_the_umask(place, mask):
    def write(folder):
        fill()(folder)
        (folder / "sub").mkdir()
        (folder / "sub" / "b").write_text("2")
        (folder / "a.txt").chmod(0o600)

    before = os.umask(mask)
    try:
        replace_folder(place, write)
        with replacing(place.parent / "single.bin") as beside:
            beside.unlink()
            os.close(os.open(beside, os.O_CREAT | os.O_WRONLY, 0o600))
    finally:
        os.umask(before)
    files = [place / "a.txt", place / "sub" / "b", place / MARKER, place.parent / "single.bin"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o666 & ~mask}
    assert stat.S_IMODE(place.stat().st_mode) == 0o777 & ~mask


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path):
    (tmp_path / "m").mkdir()
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(OSError):
            replace_folder(tmp_path / "m", fill())
    finally:
        tmp_path.chmod(0o755)
    assert os.listdir(tmp_path) == ["m"]


KILLED = """
import os, signal, sys
from pathlib import Path
from bigfoot.storage import replace
place, at = Path(sys.argv[1]), int(sys.argv[2])
rename, count = Path.rename, 0
def stop(self, target):
    global count
    count += 1
    if count == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
Path.rename = stop
def write(folder):
    (folder / "a.txt").write_text("new")
    if not at:
        os.kill(os.getpid(), signal.SIGKILL)
replace.replace_folder(place, write)
"""


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_kill_at_any_rename_loses_nothing(place, at):
    replace_folder(place, fill("old"))
    done = subprocess.run([sys.executable, "-c", KILLED, place, str(at)], check=False)
    assert done.returncode == -signal.SIGKILL and len(os.listdir(place.parent)) > 1
    assert place.exists() == (at != 2)
    recover_folder(place)
    assert (place / "a.txt").read_text() == "old"
    replace_folder(place, fill("newer"))
    assert (place / "a.txt").read_text() == "newer" and os.listdir(place.parent) == ["model"]


def test_a_rename_that_fails_puts_the_old_folder_back(place, monkeypatch):
    replace_folder(place, fill("1"))
    rename = Path.rename

    def refuse(self, target):
        if ".bigfoot-new" in self.name:
            raise OSError("no")
        return rename(self, target)

    with monkeypatch.context() as patch, pytest.raises(OSError):
        patch.setattr(Path, "rename", refuse)
        replace_folder(place, fill("2"))
    assert (place / "a.txt").read_text() == "1" and os.listdir(place.parent) == ["model"]


def test_a_backup_that_a_user_made_is_not_taken_for_a_leftover(place):
    replace_folder(place, fill("1"))
    place.rename(place.with_name("model.old"))
    recover_folder(place)
    assert not place.exists()
    replace_folder(place, fill("2"))
    assert (place.with_name("model.old") / "a.txt").read_text() == "1"


def test_files_are_replaced_only_where_the_inventory_knows_them_unchanged(tmp_path):
    file = tmp_path / "new" / "u.txt"
    write_file(file, b"1")
    write_file(file, b"2")
    assert file.read_bytes() == b"2" and sorted(os.listdir(file.parent)) == [MARKER, "u.txt"]
    file.write_bytes(b"3")
    with refused(OutputError, "u.txt"):
        write_file(file, b"4")
    reported = []
    write_file(file, b"4", may=MayReplace(force=True, report=reported.append))
    assert file.read_bytes() == b"4" and len(reported) == 1
    other = file.with_name("hand.txt")
    other.write_bytes(b"by hand")
    with pytest.raises(OutputError):
        write_file(other, b"x")
    write_file(other, b"x", is_own=lambda path: path.read_bytes() == b"by hand", listed=False)
    assert other.read_bytes() == b"x" and "hand.txt" not in Inventory(file.parent).entries
    with refused(OutputError, "u.txt"):
        replace_folder(file.parent, fill())  # files that were put there are not a folder of bigfoot's
    (tmp_path / "empty").touch()
    write_file(tmp_path / "empty", b"x")


def test_a_block_that_fails_leaves_the_old_file_or_keeps_what_is_written(tmp_path):
    file = tmp_path / "u.txt"
    write_file(file, b"old")
    for keep, left in ((False, b"old"), (True, b"half")):
        with pytest.raises(ZeroDivisionError), replacing(file, keep_part=keep) as beside:
            beside.write_bytes(b"half")
            raise ZeroDivisionError
        assert file.read_bytes() == left and sorted(os.listdir(tmp_path)) == [MARKER, "u.txt"]
    write_file(file, b"again")


def test_files_that_belong_together(tmp_path):
    write_files({tmp_path / "m.xml": b"x", tmp_path / "m.bin": b"b"})
    (tmp_path / "m.bin").write_bytes(b"foreign")
    with refused(OutputError, "m.bin"):
        write_files({tmp_path / "m.xml": b"x2", tmp_path / "m.bin": b"b2"})
    assert (tmp_path / "m.xml").read_bytes() == b"x" and (tmp_path / "m.bin").read_bytes() == b"foreign"


def test_a_marker_that_is_not_ours_is_not_written_over(tmp_path):
    (tmp_path / MARKER).write_text("mine")
    with pytest.raises(OutputError):
        write_file(tmp_path / "u.txt", b"1")
    assert os.listdir(tmp_path) == [MARKER] and (tmp_path / MARKER).read_text() == "mine"


def test_an_inventory_takes_in_what_others_add(tmp_path):
    ours, theirs = Inventory(tmp_path), Inventory(tmp_path)
    for name, inventory in (("a", ours), ("b", theirs), ("c", ours)):
        (tmp_path / name).write_text(name)
        inventory.add(name)
    assert set(Inventory(tmp_path).entries) == set(ours.entries) == {"a", "b", "c"}
    (tmp_path / MARKER).write_text('{"bigfoot": 1}\n{"name": "d", "size": 1, "crc')
    assert not Inventory(tmp_path).entries
    (tmp_path / MARKER).unlink()
    assert not Inventory(tmp_path).is_there


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_an_entry_is_of_one_content_alone(tmp_path_factory, one, other):
    folder = tmp_path_factory.mktemp("entry")
    (folder / "a").write_bytes(one)
    inventory = Inventory(folder)
    inventory.add("a")
    (folder / "a").write_bytes(other)
    entry = Inventory(folder).entries["a"]
    assert entry.is_of(folder / "a") == (one == other) and entry.crc32 == zlib.crc32(one)


def test_the_same_content_has_the_same_marker(tmp_path):
    for name in ("one", "two"):
        replace_folder(tmp_path / name, fill())
        time.sleep(0.01)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_check_does_not_write(tmp_path):
    assert check_folder(tmp_path / "deep" / "m") == tmp_path / "deep" / "m"
    assert check_file(tmp_path / "deep" / "m.txt") == tmp_path / "deep" / "m.txt"
    assert not os.listdir(tmp_path) and replacing_module is not None
