"""Files of this machine and of the cloud alike: listed, opened to be read from the start, and written whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfileobj
from typing import IO, Any

from bigfoot.errors import BigfootError, DataError, MissingExtraError
from bigfoot.storage.places import CLOUD, is_remote
from bigfoot.storage.replace import swapped_in

PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub"}
"""Libraries of places."""
_IDENTITY = ("ETag", "md5Hash", "blob_id", "etag", "mtime", "LastModified", "created")
"""What file systems name of a file that another content would change: checksums, or else times."""
_BLOCK = 8 << 20


def join_place(folder: str | Path, name: str) -> str:
    """Return the path or address of a file in a folder; ``.`` is the folder itself.

    Examples:
        >>> join_place("s3://bucket/a", "b"), join_place("s3:/bucket/a/", "."), join_place("/data", "b/c")
        ('s3://bucket/a/b', 's3://bucket/a', '/data/b/c')
    """
    if not is_remote(folder):
        return str(Path(folder) / name)
    found = CLOUD.match(str(folder))
    assert found is not None
    whole = f"{found[1]}://{str(folder)[found.end() :].rstrip('/')}"
    return whole if name == "." else f"{whole}/{name}"


def list_files(folder: str | Path) -> dict[str, str]:
    """List the files in a folder, not below it.

    Args:
        folder: a path or an address of the cloud.

    Returns:
        By name, in order, what tells that a file was changed: its size, and in the cloud a checksum or time.

    Raises:
        DataError: it cannot be listed.
        MissingExtraError: without the library of the place.
    """
    if not is_remote(folder):
        files = (path for path in sorted(Path(folder).glob("*")) if path.is_file()) if Path(folder).is_dir() else ()
        return {path.name: str(path.stat().st_size) for path in files}
    with worded(folder, "listed"):
        fs, root = _find(folder)
        fs.invalidate_cache()
        try:
            found = fs.ls(root, detail=True)
        except FileNotFoundError:
            return {}
        files_there = {info["name"].rstrip("/").rpartition("/")[2]: info for info in found if info["type"] == "file"}
        return {name: identify(files_there[name]) for name in sorted(files_there)}


def identify(info: Mapping[str, Any]) -> str:
    """Return what tells that a file was changed.

    Args:
        info: of fsspec.

    Examples:
        >>> identify({"size": 3, "ETag": "a"})
        '3 a'
    """
    # The first alone: listings and questions for one file round times differently.
    return f"{info.get('size')} {next((info[key] for key in _IDENTITY if info.get(key) is not None), '')}"


@contextmanager
def opened(place: str | Path) -> Iterator[IO[bytes]]:
    """Open a file to be read forwards; in the cloud, large blocks are asked for ahead.

    Args:
        place: a path or an address of the cloud.

    Raises:
        DataError: it is missing or cannot be read.
        MissingExtraError: without the library of the place.
    """
    file = open_forwards(place)
    try:
        with worded(place, "read"):
            yield file
    finally:
        file.close()


def open_forwards(place: str | Path) -> IO[bytes]:
    """Open a file as ``opened`` does; to be closed by the caller.

    Args:
        place: a path or an address of the cloud.

    Raises:
        DataError: it is missing.
        MissingExtraError: without the library of the place.
    """
    with worded(place, "read"):
        if not is_remote(place):
            return Path(place).open("rb")
        fs, root = _find(place)
        file: IO[bytes] = fs.open(root, "rb", block_size=_BLOCK, cache_type="readahead")
        return file


def put_file(path: Path, place: str | Path) -> None:
    """Copy a file to a path or an address, where it is either whole or not there.

    Args:
        path: of this machine.
        place: where it goes.

    Raises:
        DataError: it cannot be written.
        MissingExtraError: without the library of the place.
    """
    with worded(place, "written"):
        if is_remote(place):
            fs, root = _find(place)
            fs.put_file(str(path), root)
            fs.invalidate_cache()
            return
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        with swapped_in(Path(place)) as part, path.open("rb") as source, part.open("wb") as target:
            copyfileobj(source, target, _BLOCK)


def _find(place: str | Path) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs

        fs, root = url_to_fs(join_place(place, "."))
    except ImportError as error:
        found = CLOUD.match(str(place))
        raise MissingExtraError("cloud", PACKAGES.get(found[1] if found else "", "fsspec")) from error
    return fs, root


@contextmanager
def worded(place: str | Path, verb: str) -> Iterator[None]:
    """Word whatever a file system raises; each has errors of its own.

    Args:
        place: file, folder or address.
        verb: what was done to it, a participle.

    Raises:
        DataError: in place of what was raised.
    """
    try:
        yield
    except BigfootError:
        raise
    except Exception as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise DataError(f"{place} cannot be {verb}: {reason}; check the address and the credentials") from error
