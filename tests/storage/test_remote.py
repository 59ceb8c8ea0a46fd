"""Places in the cloud: in memory, and on servers of this machine that speak S3 and Google Cloud Storage."""

import uuid
from pathlib import Path

import pytest

from bigfoot.data.noise import NoiseFolder
from bigfoot.data.turns import read_turns
from bigfoot.errors import DataError, MissingExtraError, OutputError
from bigfoot.formats.huggingface import fetch_folder
from bigfoot.storage import remote
from bigfoot.storage.lock import locked
from bigfoot.storage.places import is_remote
from bigfoot.storage.remote import fetch, mirrored, written
from bigfoot.storage.replace import replace_folder, write_file
from bigfoot.text.lines import read_lines
from tests.refusals import refused
from tests.storage.servers import serve_gs, serve_s3

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of its own: ``cache("other")`` is that of another machine."""

    def use(name):
        monkeypatch.setenv("BIGFOOT_CACHE", str(tmp_path / name))
        return tmp_path / name

    use("cache")
    return use


@pytest.fixture(params=["memory", "s3", "gs"])
def place(request, cache, monkeypatch):
    """An empty place: ``memory://...``, or a bucket of a server."""
    if request.param == "memory":
        memory = fsspec.filesystem("memory")
        monkeypatch.setattr(memory, "store", {})
        monkeypatch.setattr(memory, "pseudo_dirs", [""])
        return memory, "memory://bucket/runs/a"
    bucket = f"bucket-{uuid.uuid4().hex}"  # servers of one process share what they hold
    files = (serve_s3 if request.param == "s3" else serve_gs)(request, monkeypatch)
    files.mkdir(bucket)
    return files, f"{request.param}://{bucket}/runs/a"


def put(folder, **contents):
    """Write a model folder as bigfoot does, below a run folder."""
    write_file(folder / "config.yaml", b"seed: 0\n")
    replace_folder(folder / "model", lambda beside: [(beside / f"{k}.bin").write_bytes(v) for k, v in contents.items()])


@pytest.mark.slow
def test_a_run_goes_on_on_another_machine(place, cache):
    files, url = place
    with mirrored(url) as folder:
        put(folder, weights=b"1" * 5000, other=b"x")
    with pytest.raises(KeyboardInterrupt), mirrored(url) as folder:
        (folder / "log.txt").write_text("line")
        raise KeyboardInterrupt
    cache("other")
    assert (fetch(f"{url}/model") / "weights.bin").read_bytes() == b"1" * 5000
    with mirrored(url) as folder:
        assert (folder / "log.txt").read_text() == "line"
        put(folder, weights=b"2" * 6000)
    assert not files.exists(f"{url}/model/other.bin") and files.cat(f"{url}/model/weights.bin") == b"2" * 6000
    cache("cache")
    with mirrored(url) as folder:
        assert (folder / "model/weights.bin").read_bytes() == b"2" * 6000 and not (folder / "model/other.bin").exists()


def test_only_what_changed_is_read_and_a_cut_download_goes_on(place, cache, monkeypatch):
    files, url = place
    files.pipe({f"{url}/a.bin": b"a" * 100, f"{url}/b/c.bin": b"c" * 50})
    assert [path.name for path in sorted(fetch(url).rglob("*.bin"))] == ["a.bin", "c.bin"]
    read, download = [], remote._download
    monkeypatch.setattr(remote, "_download", lambda *given: read.append(given[1]) or download(*given))
    copy = fetch(url)
    assert read == []
    (copy / "a.bin").write_bytes(b"damaged")
    files.pipe(f"{url}/b/c.bin", b"d" * 60)
    assert (fetch(url) / "a.bin").read_bytes() == b"a" * 100 and (copy / "b/c.bin").read_bytes() == b"d" * 60
    assert len(read) == 2
    files.rm_file(f"{url}/a.bin")
    assert not (fetch(url) / "a.bin").exists()
    # The connection breaks in the middle; the next call reads the rest alone.
    files.pipe(f"{url}/long.bin", bytes(range(256)) * 4)
    copied, starts = remote._copy, []

    def broken(source, file):
        file.write(source.read(400))
        raise TimeoutError("no answer")

    monkeypatch.setattr(remote, "_copy", broken)
    with refused(DataError, url):
        fetch(url)
    monkeypatch.setattr(remote, "_copy", lambda source, file: starts.append(source.tell()) or copied(source, file))
    assert (fetch(url) / "long.bin").read_bytes() == bytes(range(256)) * 4 and starts == [400]


def test_what_is_not_ours_and_what_is_not_there_is_refused(place, cache):
    files, url = place
    with refused(DataError, url):
        fetch(url)
    files.pipe(f"{url}/theirs.txt", b"mine")
    with refused(OutputError, url), mirrored(url):
        pass
    assert files.cat(f"{url}/theirs.txt") == b"mine"


def test_after_a_kill_the_copy_is_ahead_and_two_ends_that_both_changed_are_refused(cache, monkeypatch):
    memory, url = fsspec.filesystem("memory"), "memory://bucket/runs/b"
    monkeypatch.setattr(memory, "store", {})

    def work(weights):
        with mirrored(url) as folder:
            put(folder, weights=weights)

    def killed_after(weights):
        write_back = remote._Place.write_back
        monkeypatch.setattr(remote._Place, "write_back", lambda self: None)
        work(weights)
        monkeypatch.setattr(remote._Place, "write_back", write_back)

    work(b"1")
    killed_after(b"2")
    with mirrored(url) as folder:
        assert (folder / "model/weights.bin").read_bytes() == b"2"
    assert memory.cat(f"{url}/model/weights.bin") == b"2"
    killed_after(b"3")
    cache("other")
    work(b"4444")
    cache("cache")
    with refused(OutputError, url), mirrored(url):
        pass


def test_a_file_with_its_companion_is_written_at_the_end_and_not_over_another(cache, monkeypatch):
    memory, url = fsspec.filesystem("memory"), "memory://bucket/out/m.xml"
    monkeypatch.setattr(memory, "store", {})
    with pytest.raises(KeyboardInterrupt), written(url) as file:
        file.write_text("half")
        raise KeyboardInterrupt
    assert memory.store == {}
    for force, content in ((False, "1"), (True, "2")):
        with written(url, force) as file:
            file.write_text(content)
            file.with_suffix(".bin").write_text(content)
            file.with_name(".other").write_text("not this")
    assert {path: memory.cat(path) for path in memory.find("bucket")} == {
        "/bucket/out/m.bin": b"2", "/bucket/out/m.xml": b"2"
    }  # fmt: skip
    with refused(OutputError, url), written(url):
        pass
    for content in (b"2", b"33"):
        memory.pipe("/bucket/out/m.bin", content)
        copy = fetch(url)
        assert (copy.read_bytes(), copy.with_suffix(".bin").read_bytes()) == (b"2", content)


def test_addresses():
    assert all(map(is_remote, ("s3://a/b", "gs://a/b", "hf://me/x", "memory://x", "s3:/a/b")))
    assert not any(map(is_remote, ("runs/demo", "C:/x", "s3", "http:/x", "/s3://a")))


@pytest.mark.parametrize("output", ["memory://bucket/out", "s3:/bucket/out"])
def test_what_is_written_on_this_machine_alone_makes_no_folder_of_an_address(output, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for write in (lambda: write_file(output, b""), lambda: replace_folder(output, Path.mkdir),
                  lambda: locked(output, inside=True).__enter__()):  # fmt: skip
        with refused(OutputError, output):
            write()
    assert list(tmp_path.iterdir()) == []


def test_texts_noise_and_models_of_libraries_are_read_from_there(cache, monkeypatch):
    memory, url = fsspec.filesystem("memory"), "memory://bucket/read"
    monkeypatch.setattr(memory, "store", {})
    memory.pipe({f"{url}/lines.txt": b"ONE\nTWO\n", f"{url}/model/tokenizer.json": b"{}"})
    assert [*read_lines(f"{url}/lines.txt")] == ["ONE", "TWO"]
    assert (fetch_folder(f"{url}/model") / "tokenizer.json").is_file()
    for read, rest in ((read_turns, "turns.jsonl"), (NoiseFolder.find, "noise"), (read_lines, "no.txt")):
        with refused(DataError, f"{url}/{rest}"):
            [*read(f"{url}/{rest}")]


def test_a_library_that_is_missing_is_named(cache, monkeypatch):
    def absent(url):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", absent)
    with refused(MissingExtraError, "s3fs", "[cloud]"):
        fetch("s3://bucket/x")
