"""Places in the cloud (``s3://``, ``gs://``, ``hf://``), by fsspec: read into a cache, and written from it.

A file is taken for unchanged while the place names the same size, checksum and time for it. What is read lies below
``$BIGFOOT_CACHE`` (``~/.cache/bigfoot`` by default), in a folder for each place; ``sync.json`` beside the content
lists both ends as they were when they were last alike.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import IO, Any

from bigfoot.errors import DataError, MissingExtraError, OutputError
from bigfoot.storage.caches import is_in_cache
from bigfoot.storage.digests import digest_file
from bigfoot.storage.files import PACKAGES, identify, worded
from bigfoot.storage.inventory import MARKER
from bigfoot.storage.lock import locked
from bigfoot.storage.places import CLOUD, is_remote
from bigfoot.storage.state import read_state, write_state

_BLOCK = 8 << 20


@dataclass
class _Sync:
    """Content of ``sync.json``.

    Args:
        remote: identity of each file at the place, by its name below it.
        local: digest of each file here.
    """

    remote: dict[str, str] = field(default_factory=dict)
    local: dict[str, str] = field(default_factory=dict)


def fetch(place: str | Path) -> Path:
    """Copy a file or folder into the cache; what is there unchanged is not read again.

    Args:
        place: such as ``s3://bucket/model``; a path of this machine comes back as it is. Beside a model of OpenVINO
            (``.xml``) its weights (``.bin``) are copied too.

    Returns:
        The copy. A download that was cut short goes on where it ended.

    Raises:
        DataError: there is nothing, or it cannot be read.
        MissingExtraError: without the library of the place.
    """
    if not is_remote(place):
        return Path(place)
    copy = _Place(str(place)).fetch()
    if copy.suffix == ".xml":
        weights, beside = fetch(str(place).removesuffix(".xml") + ".bin"), copy.with_suffix(".bin")
        if digest_file(weights) != digest_file(beside):
            part = beside.with_name(f".{beside.name}.part")
            copyfile(weights, part)
            os.replace(part, beside)
    return copy


@contextmanager
def mirrored(place: str | Path) -> Iterator[Path]:
    """Work on a folder in the cloud: what is there is copied first, and what is here is written back at the end.

    Written back too where the block ends with an error, so that the work resumes on any machine. Markers of whole
    folders are written last: a folder that was cut short is recognized as damaged. After a kill, the copy on this
    machine is ahead of the place, and stays so.

    Args:
        place: a folder; of this machine, nothing is copied.

    Yields:
        The folder to work in.

    Raises:
        OutputError: what is there is not bigfoot's, or has changed while the copy here has too.
        DataError: it cannot be read or written.
        MissingExtraError: without the library of the place.
    """
    if not is_remote(place):
        yield Path(place)
        return
    remote = _Place(str(place))
    folder = remote.fetch(as_mirror=True)
    try:
        yield folder
    finally:
        remote.write_back()


@contextmanager
def written(place: str | Path, force: bool = False) -> Iterator[Path]:
    """Write a file in the cloud, with files of the same stem beside it, once the block has ended well.

    Args:
        place: of the file; of this machine, it is the file itself.
        force: whether files that are there are replaced.

    Yields:
        The file to write.

    Raises:
        OutputError: there is such a file already.
        DataError: it cannot be written.
        MissingExtraError: without the library of the place.
    """
    if not is_remote(place):
        yield Path(place)
        return
    remote = _Place(str(place))
    remote.refuse_existing(force)
    with TemporaryDirectory() as folder:
        file = Path(folder) / PurePosixPath(remote.url).name
        yield file
        remote.put_beside(sorted(path for path in file.parent.iterdir() if path.stem == file.stem))


class _Place:
    """A place and its copy."""

    def __init__(self, place: str) -> None:
        found = CLOUD.match(place)
        assert found is not None
        self.url = f"{found[1]}://{place[found.end() :].rstrip('/')}"
        self._scheme = found[1]
        root = Path(os.environ.get("BIGFOOT_CACHE") or Path.home() / ".cache" / "bigfoot").expanduser()
        self._home = root / "places" / hashlib.sha256(self.url.encode()).hexdigest()[:32]
        self._state = self._home / "sync.json"

    def fetch(self, as_mirror: bool = False) -> Path:
        """See ``fetch`` and ``mirrored``."""
        with worded(self.url, "read"):
            fs, root, files = self._list()
            if not as_mirror and not files:
                raise DataError(f"{self.url}: there is no such file or folder")
            content = self._home / "content" / PurePosixPath(root).name
            single = list(files) == [""]
            self._home.mkdir(parents=True, exist_ok=True)
            with locked(self._home, inside=True):
                sync = read_state(self._state, _Sync)[0] or _Sync()
                if as_mirror:
                    content.mkdir(parents=True, exist_ok=True)
                    self._refuse_foreign(files, single)
                self._refuse_both_changed(sync, files, content, as_mirror)
                for name, info in files.items():
                    target = content / name if name else content
                    if self._is_known(sync, name, info, target, as_mirror):
                        continue
                    _download(fs, f"{root}/{name}".rstrip("/"), info, target)
                    sync.remote[name], sync.local[name] = identify(info), digest_file(target)
                    write_state(self._state, sync)
                for name in sync.remote.keys() - files.keys():
                    (content / name if name else content).unlink(missing_ok=True)
                    del sync.remote[name], sync.local[name]
                write_state(self._state, sync)
        self._root, self._content = root, content
        return content

    def refuse_existing(self, force: bool) -> None:
        """Raise an error where there is anything already."""
        with worded(self.url, "written"):
            if self._list()[2] and not force:
                raise OutputError(f"{self.url} is there already; name another place, or give --force to replace it")

    def put_beside(self, files: Sequence[Path]) -> None:
        """Write files into the folder of the place; the place's own is the last."""
        with worded(self.url, "written"):
            fs, root, _ = self._list()
            for path in sorted(files, key=lambda path: path.name == PurePosixPath(root).name):
                fs.put_file(str(path), str(PurePosixPath(root).with_name(path.name)))

    def write_back(self) -> None:
        """Write what has changed here since the last copy; markers last."""
        with worded(self.url, "written"), locked(self._home, inside=True):
            fs, root, files = self._list()
            sync = read_state(self._state, _Sync)[0] or _Sync()
            here = {path.relative_to(self._content).as_posix(): path for path in _walk(self._content)}
            for name in sorted(here, key=lambda name: (PurePosixPath(name).name == MARKER, -name.count("/"), name)):
                digest = digest_file(here[name])
                unchanged = name in files and sync.remote.get(name) == identify(files[name])
                if unchanged and sync.local.get(name) == digest:
                    continue
                fs.put_file(str(here[name]), f"{root}/{name}")
                fs.invalidate_cache()
                sync.remote[name], sync.local[name] = identify(fs.info(f"{root}/{name}")), digest
                write_state(self._state, sync)
            for name in sync.remote.keys() - here.keys():
                if name in files:
                    fs.rm_file(f"{root}/{name}")
                del sync.remote[name], sync.local[name]
            write_state(self._state, sync)

    def _list(self) -> tuple[Any, str, dict[str, dict[str, Any]]]:
        """File system, root, and all files below it by name; a single file has an empty one."""
        try:
            from fsspec.core import url_to_fs

            fs, root = url_to_fs(self.url)
        except ImportError as error:
            raise MissingExtraError("cloud", PACKAGES.get(self._scheme, "fsspec")) from error
        root = root.rstrip("/")
        fs.invalidate_cache()
        with suppress(FileNotFoundError):
            if fs.isfile(root):
                return fs, root, {"": fs.info(root)}
            found = fs.find(root, detail=True)
            names = {path[len(root) :].lstrip("/"): info for path, info in found.items() if path.startswith(f"{root}/")}
            if unsafe := [name for name in names if ".." in PurePosixPath(name).parts]:
                raise DataError(f"{self.url}: {unsafe[0]!r} leads out of its folder; name it otherwise")
            return fs, root, {name: info for name, info in names.items() if name and not name.endswith("/")}
        return fs, root, {}

    def _is_known(
        self, sync: _Sync, name: str, info: Mapping[str, Any], target: Path, as_mirror: bool
    ) -> bool:
        if sync.remote.get(name) != identify(info):
            return False
        # A mirror may be ahead of its place; a copy that is only read must be what was read.
        return as_mirror or (target.is_file() and digest_file(target) == sync.local.get(name))

    def _refuse_foreign(self, files: Mapping[str, Any], single: bool) -> None:
        if single or (files and MARKER not in files):
            raise OutputError(f"{self.url} holds what bigfoot did not write; name another place")

    def _refuse_both_changed(
        self, sync: _Sync, files: Mapping[str, Mapping[str, Any]], content: Path, as_mirror: bool
    ) -> None:
        for name, info in files.items() if as_mirror else ():
            changed_there = sync.remote.get(name) not in (None, identify(info))
            if changed_there and digest_file(content / name) not in ("", sync.local.get(name)):
                raise OutputError(f"{self.url}/{name} and its copy {content / name} have both changed; remove one")


def _download(fs: Any, path: str, info: Mapping[str, Any], target: Path) -> None:  # noqa: ANN401
    """Write beside the place, then rename; what an earlier download of the same file left is gone on with."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{hashlib.sha256(f'{path}|{identify(info)}'.encode()).hexdigest()[:32]}.part")
    size = info.get("size")
    with fs.open(path, "rb") as source, part.open("ab") as file:
        source.seek(file.tell())
        _copy(source, file)
    if size is not None and part.stat().st_size != size:
        found = part.stat().st_size
        part.unlink()
        raise DataError(f"{path}: {found} bytes came of {size}; try again")
    os.replace(part, target)


def _copy(source: IO[bytes], file: IO[bytes]) -> None:
    while block := source.read(_BLOCK):
        file.write(block)


def _walk(folder: Path) -> Iterator[Path]:
    """Files to write back: without locks, temporary files, parts of downloads and what can be computed again."""
    for path in sorted(folder.rglob("*")):
        own = path.name.startswith(".") and (".bigfoot-" in path.name or path.name.endswith(".part"))
        own = own or path.name.endswith("-lock") or is_in_cache(path, folder)
        if path.is_file() and not path.is_symlink() and not own:
            yield path
