import shutil
from pathlib import Path

import pytest

from tests.pipeline.killing import SETTINGS


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """A corpus by table: 16 good strings, and what a folder of a user's also holds; its folder."""
    from bigfoot.audio.files import write_audio
    from bigfoot.data.synthetic import synthesize_split

    folder = tmp_path_factory.mktemp("table")
    for split, count in (("train", 10), ("dev", 3), ("test", 3)):
        lines = ["path\ttext"]
        for item in synthesize_split(1, split, count, 1, 2):
            write_audio(folder / f"{item.id}.flac", item.samples)
            lines.append(f"{item.id}.flac\t{item.text}")
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    first = sorted(folder.glob("synthetic-train*.flac"))[0]
    (folder / "zero.flac").write_bytes(b"")
    (folder / "truncated.flac").write_bytes(first.read_bytes()[: first.stat().st_size // 2])
    with (folder / "train.tsv").open("a") as file:
        file.write("zero.flac\tONE\ntruncated.flac\tTWO\nmissing.flac\tTHREE\n")
        shutil.copy(first, folder / "foreign.flac")
        file.write("foreign.flac\tÄÖ ONE\n")
    return folder


@pytest.fixture(scope="session")
def table_settings(table):
    """Overrides that read it."""
    splits = [f"data.{split}_splits=[{split}.tsv]" for split in ("train", "dev", "test")]
    return ["data.corpus=table", f"data.root={table}", *splits]


@pytest.fixture(scope="session")
def libri_tree(tmp_path_factory):
    """Make a tree of the true layout out of LibriSpeech's: ``libri_tree(source, {split: (name, count)})``."""

    def build(source, splits):
        root = tmp_path_factory.mktemp("libri") / "LibriSpeech"
        for name, (published, count) in splits.items():
            chapters = sorted(path for path in (Path(source) / published).glob("*/*") if path.is_dir())
            for chapter in chapters[-count:]:
                there = root / name / chapter.parent.name / chapter.name
                there.mkdir(parents=True)
                for file in chapter.iterdir():
                    (there / file.name).symlink_to(file.resolve())
        return root

    return build


@pytest.fixture(scope="session")
def command(small_run):
    def build(run_dir, *more):
        options = ("--config", "demo_config.yaml", "--until", "distill")
        return ["recipes/compress.py", *options, *small_run(run_dir, *SETTINGS, *more)]

    return build


@pytest.fixture(scope="session")
def uninterrupted(command, start, made_once):
    """The same run by a process of its own, whose sets have another order than those of ``launch``."""

    def make(folder):
        done = start(*command(folder / "run"))
        assert done.returncode == 0, done.stderr

    return made_once("uninterrupted", make) / "run"
