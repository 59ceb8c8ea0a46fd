"""The description of a corpus as it is shown and written, and the tool that makes it."""

import io
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bigfoot.data.describe import CorpusFacts, SplitFacts
from bigfoot.data.manifests import SkippedUtterance
from bigfoot.report.corpus import draw_description, render_description, render_tables, save_description, to_json
from tests.refusals import names

TOOL = Path(__file__).resolve().parents[2] / "tools" / "describe_corpus.py"


def make_split(split, texts, seconds, rates):
    return SplitFacts(
        split=split, num_utterances=len(seconds), num_speakers=2, num_without_text=len(seconds) - len(texts),
        hours=sum(seconds) / 3600, seconds=seconds, num_characters=[len(text) for text in texts],
        num_words=[len(text.split()) for text in texts],
        characters_per_second=[len(text) / length for text, length in zip(texts, seconds, strict=False)],
        characters={char: "".join(texts).count(char) for char in sorted(set("".join(texts)))},
        sample_rates=rates, channels={1: len(seconds)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def facts():
    train = make_split("train", ["AB A", "B", "AAA"], [1.0, 2.0, 3.0], {8000: 1, 16000: 2})
    test = make_split("test", ["AÄ|$"], [1.5, 2.5], {16000: 2})
    return CorpusFacts("a [b] corpus", [train, test], [SkippedUtterance("test", "x", "x.wav", "no such file")] * 3)


def test_markdown_says_what_there_is_and_what_was_left_out(facts):
    text = render_description(facts)
    assert "| train | 0.00 | 3 | 2 | 0 | 8000 (1), 16000 (2) | 1 |" in text
    assert "| test | 0.00 | 2 | 2 | 1 | 16000 | 1 |" in text
    assert "| train | 1.00 | 1.50 | 2.00 | 2.50 | 3.00 | 2.00 |" in text.split("## Audio, seconds")[1].split("##")[0]
    assert "- train, 3 different: `space` 1, `A` 5, `B` 2" in text
    assert any(names(line, "- test", "train", "`$` `|` `Ä`") for line in text.splitlines())
    assert any(names(line, facts.skipped[0].reason, "| 3 |") for line in text.splitlines())


def test_console_tables_hold_the_same(facts):
    console = Console(file=io.StringIO(), width=120)
    for table in render_tables(facts):
        console.print(table)
    shown = console.file.getvalue()
    assert "a [b] corpus" in shown and "8000 (1), 16000 (2)" in shown and facts.skipped[0].reason in shown
    assert max(map(len, shown.splitlines())) <= 120


def test_json_keeps_summaries_and_counts_alone(facts):
    content = json.loads(json.dumps(to_json(facts)))
    train = content["splits"][0]
    assert train["spreads"]["audio, seconds"]["median"] == 2.0 and "seconds" not in train
    assert train["characters"] == {" ": 1, "A": 5, "B": 2}
    assert content["skipped"][0]["reason"] == facts.skipped[0].reason


def test_plot_has_every_utterance_in_its_bins(facts):
    figure = draw_description(facts)
    assert len(figure.axes) == 5
    for axes in figure.axes[:4]:
        # Outlines of histograms: heights are percent, and those of a split sum up to all of it.
        for outline in axes.patches:
            heights = outline.get_xy()[1:-1:2, 1]
            assert sum(heights) == pytest.approx(100)
    bars = figure.axes[4].containers
    assert [container.get_label() for container in bars] == ["train", "test"]
    assert sum(bar.get_height() for bar in bars[0]) == pytest.approx(100)


@pytest.mark.parametrize("texts", [[], ["Ж語\u200b" * 40]])
def test_corpora_without_text_or_with_rare_characters_are_drawn(texts, tmp_path, recwarn):
    split = make_split("train", texts, [1.0], {16000: 1})
    save_description(CorpusFacts("odd", [split], []), tmp_path)
    assert (tmp_path / "describe.png").read_bytes().startswith(b"\x89PNG")
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
    if not texts:
        assert json.loads((tmp_path / "describe.json").read_text())["splits"][0]["spreads"]["text, words"] is None
        assert "no text" in (tmp_path / "describe.md").read_text()


@pytest.fixture(scope="module")
def tool():
    return runpy.run_path(str(TOOL))["main"]


def test_tool_describes_a_corpus_and_a_run_s_manifests(tool, tmp_path, capsys):
    numbers = ["data.num_train=6", "data.num_dev=2", "data.num_test=0", "data.max_digits=2"]
    assert tool(["--config", "demo_config.yaml", *numbers, "--out", str(tmp_path / "a")]) == 0
    assert "synthetic_digits" in capsys.readouterr().out
    assert tool(["--prepared", str(tmp_path / "a/data"), "--out", str(tmp_path / "b")]) == 0
    one, other = (json.loads((tmp_path / name / "describe.json").read_text()) for name in "ab")
    assert one["splits"] == other["splits"] and [split["num_utterances"] for split in one["splits"]] == [6, 2]
    assert np.isclose(one["splits"][0]["hours"] * 3600, one["splits"][0]["spreads"]["audio, seconds"]["mean"] * 6)
    assert {path.name for path in (tmp_path / "b").iterdir()} == {
        ".bigfoot", "describe.json", "describe.md", "describe.png"
    }  # fmt: skip


def test_tool_says_what_is_wrong(tool, tmp_path, capsys):
    assert tool(["--prepared", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert names(capsys.readouterr().err, tmp_path)
    assert tool(["--config", "fsdd.yaml", f"data.root={tmp_path / 'nowhere'}", "--out", str(tmp_path / "out")]) == 2
    assert names(capsys.readouterr().err, "data.root", tmp_path / "nowhere")
    assert not (tmp_path / "out" / "describe.md").exists()


def test_tool_by_its_command(start, tmp_path):
    done = start("tools/describe_corpus.py", "--help")
    assert done.returncode == 0 and "--prepared" in done.stdout
