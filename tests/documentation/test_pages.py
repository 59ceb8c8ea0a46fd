"""Every code block of every page runs, in order, in a folder of the page's own; what it promises is checked."""

import contextlib
import io
import json
import shutil
import sys

import pytest

import bigfoot
from bigfoot.audio.files import write_audio
from bigfoot.compress.registry import _SETTINGS
from bigfoot.data.synthetic import synthesize_split
from bigfoot.distill.registry import REGISTERED
from bigfoot.pipeline.registry import STEPS
from bigfoot.pipeline.settings import load_config
from tests.documentation.outcomes import CHECKS, Ran
from tests.documentation.running import LEARNS, TINY, Terminal, run_command
from tests.documentation.standins import STAND_INS
from tests.pages import PAGES, ROOT, commands_of, read_blocks, write_files_of

pytestmark = pytest.mark.slow


def runs(block):
    return block.reason is None and block.file is None and block.language in ("bash", "python")


DRAWN = {"README.md", "docs/tutorials/compress.md"}
"""Pages whose reports are drawn; on the others the table and the JSON alone are checked."""
RUNNABLE = {str(page.relative_to(ROOT)): page for page in PAGES if any(map(runs, read_blocks(page)))}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with what the examples name: speech, tables, text, and two finished runs."""
    folder = tmp_path_factory.mktemp("documentation")
    for split, count in (("train", 6), ("dev", 2), ("test", 3)):
        rows = ["path\ttext"]
        for utterance in synthesize_split(3, split, count, 1, 2):
            write_audio(folder / f"{utterance.id}.wav", utterance.samples)
            rows.append(f"{utterance.id}.wav\t{utterance.text.lower()}")
        (folder / f"{split}.tsv").write_text("\n".join(rows), encoding="utf-8")
    name, text = rows[1].split("\t")
    (folder / name).rename(folder / "speech.wav")
    (folder / name).symlink_to("speech.wav")
    for place in ("recordings", "texts"):
        (folder / place).mkdir()
        (folder / place / "speech.txt").write_text(text, encoding="utf-8")
    shutil.copy(folder / "speech.wav", folder / "recordings")
    (folder / "text.txt").write_text("ONE TWO\nTHREE FOUR\nONE SIX\n" * 20, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_command("bigfoot compress --config demo_config.yaml")
    shutil.copytree(folder / "runs/demo", folder / "runs/fsdd")
    return folder


@pytest.fixture
def place(workplace, tmp_path, monkeypatch):
    """A copy of it for one page; what the page registers is forgotten afterwards."""
    for registry in (REGISTERED, _SETTINGS, STEPS):
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
        monkeypatch.setattr(registry, "_origins", dict(registry._origins))
    folder = tmp_path / "page"
    shutil.copytree(workplace, folder, symlinks=True)
    models = (folder / "runs/demo").rglob("*.safetensors")
    made = {str(path.relative_to(folder / "runs/demo")): path.stat().st_mtime_ns for path in models}
    (folder / "before.json").write_text(json.dumps(made), encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.setattr(
        bigfoot, "load_config", lambda path, given=(): load_config(path, [*given, *TINY, *LEARNS]), raising=False
    )
    # Each takes a process that imports torch; tests/measure/test_memory.py has one.
    monkeypatch.setattr("bigfoot.measure.benchmark.measure_peak_memory", lambda *_, **__: 123_456_789)
    monkeypatch.chdir(folder)
    yield folder
    for file in folder.glob("my_*.py"):
        sys.modules.pop(file.stem, None)


def test_every_page_that_runs_is_checked():
    assert sorted(CHECKS) == sorted(RUNNABLE)


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_block_does_what_it_says(name, place, monkeypatch, request):
    if name not in DRAWN:
        request.getfixturevalue("quick_report")
    page, ran = RUNNABLE[name], Ran(place)
    write_files_of(page, place)
    STAND_INS.get(name, lambda _: None)(place)
    with Terminal(monkeypatch) as terminal:
        for block in filter(runs, read_blocks(page)):
            if block.language == "bash":
                for command in commands_of(block):
                    ran.printed[command] = terminal.run(command)
                continue
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(terminal.fill(block.content), f"{page}:{block.line}", "exec"), ran.names)
            ran.printed[block.content] = printed.getvalue()
    CHECKS[name](ran)
