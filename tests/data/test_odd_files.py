"""One odd file in a corpus costs itself and a line, whatever lists the corpus."""

import os

import numpy as np
import pytest
import soundfile

from bigfoot.data.corpora import prepare_data
from bigfoot.data.noise import NoiseFolder
from bigfoot.data.pairs import pair_by_name
from bigfoot.data.settings import DataConfig
from bigfoot.data.synthetic import synthesize_string
from bigfoot.data.transcripts import read_text_file, split_lines
from bigfoot.errors import DataError
from bigfoot.export.audio import read_speech
from bigfoot.paths import is_utf8
from bigfoot.text.tokenizers import Processor


@pytest.fixture(scope="module")
def spoken():
    return synthesize_string(0, "dev", 1, 2, 3).samples


def put(folder, name, samples, text="ONE", **kind):
    path = folder / f"{name}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, 16000, **kind)
    if text is not None:
        path.with_suffix(".txt").write_text(text)
    return path


@pytest.fixture
def odd(tmp_path, spoken):
    """Two good files among odd audio and odd texts; names of the odd ones."""
    folder = tmp_path / "corpus" / "test"
    put(folder, "good1", spoken)
    put(folder, "good2", spoken)
    put(folder, "loud", np.full(16000, 3e38, np.float32), subtype="FLOAT")
    put(folder, "nan", np.full(16000, np.nan, np.float32), subtype="FLOAT")
    put(folder, "text_link", spoken, None).with_suffix(".txt").symlink_to("gone")
    os.mkfifo(put(folder, "text_pipe", spoken, None).with_suffix(".txt"))
    put(folder, "text_latin", spoken, None).with_suffix(".txt").write_bytes(b"caf\xe9")
    put(folder, "text_nul", spoken, None).with_suffix(".txt").write_bytes("ONE".encode("utf-16-le"))
    put(folder, "text_folder", spoken, None)
    (folder / "text_folder.txt").mkdir()
    (folder / "folder.wav").mkdir()
    (folder / "link.wav").symlink_to("gone")
    os.mkfifo(folder / "pipe.wav")
    for name in ("link", "pipe"):
        (folder / f"{name}.txt").write_text("ONE")
    names = {path.name for path in folder.iterdir() if path.suffix == ".wav"} - {"good1.wav", "good2.wav"}
    for name in (b"\xff\xfe", b"two\nlines"):
        bare = os.fsencode(folder) + b"/" + name
        for suffix, source in ((b".wav", "good1.wav"), (b".txt", "good1.txt")):
            with open(bare + suffix, "wb") as file:
                file.write((folder / source).read_bytes())
    return tmp_path / "corpus", names


@pytest.mark.parametrize("transcripts", ["given", "none"])
def test_a_folder(odd, tmp_path, transcripts):
    root, names = odd
    config = DataConfig(corpus="folder", root=str(root), test_splits=["test"], transcripts=transcripts)
    prepared = prepare_data(config, 0, tmp_path / "out", characters=set("ONE "))
    # A line end in a name is JSON's to write; half a character is not.
    # Audio without a text is left out where texts are asked for.
    assert prepared.num_utterances == {"test": 3 if transcripts == "given" else 4}
    names = names if transcripts == "given" else names - {"text_folder.wav"}
    left_out = {item.path.rpartition("/")[2]: item.reason for item in prepared.skipped}
    assert set(left_out) == names | {r"\xff\xfe.wav"}
    assert all(is_utf8(reason) and reason for reason in left_out.values())
    assert "3e+38" in left_out["loud.wav"]


def test_librispeech_with_a_listing_that_is_a_pipe_and_names_of_any_bytes(tmp_path, spoken):
    for chapter in ("1/1", "1/2", "2/1"):
        for name in ("a", "b"):
            path = tmp_path / "dev" / chapter / f"{name}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, spoken, 16000)
        listing = path.parent / f"{chapter.replace('/', '-')}.trans.txt"
        listing.write_bytes(b"a ONE\nb ONE\xe9\nb TWO\n" if chapter == "1/1" else b"")
    listing.unlink()
    os.mkfifo(listing)
    os.rename(path, os.fsencode(path.parent) + b"/\xff.flac")
    config = DataConfig(corpus="librispeech", root=str(tmp_path), test_splits=["dev"])
    prepared = prepare_data(config, 0, tmp_path / "out")
    # a of 1-1; b's first line is not UTF-8, its second a double; two chapters have no transcripts.
    assert prepared.num_utterances == {"test": 1} and len(prepared.skipped) == 6
    assert sum("U+FFFD" in item.reason for item in prepared.skipped) == 1


def test_pairs_for_embedding(odd):
    root, _ = odd
    pairs = pair_by_name(root / "test", root / "test").pairs
    assert all(is_utf8(pair.name) and "\n" not in pair.name for pair in pairs)
    assert len({pair.name for pair in pairs}) == len(pairs)
    unusable = {pair.name for pair in pairs if pair.problem}
    assert unusable == {r"\xff\xfe.wav", r"two\nlines.wav", str(root / "test" / "folder.wav")}
    for pair in pairs:
        if pair.name.startswith("text_") and pair.name != "text_folder.wav":
            with pytest.raises(DataError):
                pair.read_text()


def test_noise_and_audio_for_an_export(odd, caplog):
    root, names = odd
    noise = NoiseFolder.find(root)
    for seed in range(30):
        assert np.isfinite(noise.cut(1600, np.random.default_rng(seed))).all()
    found = read_speech(root, Processor())
    assert {os.path.basename(item.id) for item in found} >= {"good1.wav", "good2.wav"}
    assert len(found) == 2 + 5 + 2  # Those whose text is odd, and those whose name is, are audio.
    assert all(any(name in line for line in caplog.messages) for name in names if not name.startswith("text_"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_texts_by_their_byte_order_mark(tmp_path, encoding):
    (tmp_path / "a.txt").write_text("ein\u2028Wort é\n", encoding=encoding)
    assert read_text_file(tmp_path / "a.txt") == "ein\u2028Wort é\n"
    (tmp_path / "a.txt").write_bytes(b"")
    assert read_text_file(tmp_path / "a.txt") == ""


def test_lines_end_where_systems_end_them():
    assert split_lines("a\u2028\x85\x0b\x0c\x1cb\r\nc\rd\n\ne") == ["a\u2028\x85\x0b\x0c\x1cb", "c\rd", "", "e"]
    assert split_lines("a\u2028b\rc\r\rd") == ["a\u2028b", "c", "", "d"]


def test_hours_of_silence_in_a_few_bytes_are_verified_within_bounds(tmp_path, start):
    """An hour: 0.2 MB of FLAC, 460 MB read at once."""
    with soundfile.SoundFile(tmp_path / "long.flac", "w", 16000, 1, format="FLAC") as file:
        block = np.zeros(16000 * 600, np.float32)
        block[5] = 0.5
        for _ in range(6):
            file.write(block)
    (tmp_path / "t.tsv").write_text("path\ttext\nlong.flac\tONE\n")
    (tmp_path / "verify.py").write_text(
        "import resource, sys\n"
        "from bigfoot.config import DataConfig\n"
        "from bigfoot.data.corpora import prepare_data\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "data = DataConfig(corpus='table', root=sys.argv[1], test_splits=['t.tsv'])\n"
        "print(prepare_data(data, 0, sys.argv[1] + '/out').hours['test'])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = start(tmp_path / "verify.py", tmp_path)
    hours, kilobytes = map(float, done.stdout.split())
    assert hours == pytest.approx(1) and kilobytes < 200_000
