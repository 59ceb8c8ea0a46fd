import os

import pytest

from bigfoot.data.pairs import pair_by_name
from bigfoot.errors import DataError
from tests.refusals import names, refused


def lay(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"text  of\n{name}\n")
    return folder


def test_folders_are_paired_below_and_lone_ones_listed(tmp_path):
    audio = lay(tmp_path / "audio", "b/1.wav", "b/2.FLAC", "a/1.mp3", "a/1.m4a", "notes.pdf", "b/.hidden.wav")
    texts = lay(tmp_path / "texts", "b/1.txt", "a/1.TXT", "1.txt", "b/2.text")
    found = pair_by_name(audio, texts)
    assert [pair.name for pair in found.pairs] == ["a/1.m4a", "a/1.mp3", "b/1.wav", "b/2.FLAC"]
    assert [pair.read_text() for pair in found.pairs] == ["text of a/1.TXT"] * 2 + ["text of b/1.txt", None]
    assert found.lone_audio == ["b/2.FLAC"] and found.lone_transcripts == ["1.txt"]
    assert [pair.problem is None for pair in found.pairs] == [False, True, True, True]


def test_without_transcripts_nothing_is_missing(tmp_path):
    found = pair_by_name(lay(tmp_path, "a.wav", "a.txt"))
    assert found.pairs[0].transcript is None and found.lone_audio == found.lone_transcripts == []


def test_a_name_that_no_file_can_hold_is_a_problem(tmp_path):
    try:
        with open(os.path.join(os.fsencode(tmp_path), b"\xff.wav"), "wb"):
            pass
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    assert names(pair_by_name(tmp_path).pairs[0].problem, "UTF-8")


@pytest.mark.parametrize(("there", "named"), [((), ()), (None, ())])
def test_folders_that_are_no_use(there, named, tmp_path):
    folder = tmp_path / "nowhere" if there is None else tmp_path
    with refused(DataError, *named):
        pair_by_name(folder)
    lay(tmp_path / "audio", "a.wav")
    with pytest.raises(DataError):
        pair_by_name(tmp_path / "audio", tmp_path / "nothing")
