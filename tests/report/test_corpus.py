"""The description of a corpus as it is shown and written."""

import io
import json

import numpy as np
import pytest
import soundfile
from rich.console import Console

from bigfoot.data.describe import CorpusFacts, SplitFacts
from bigfoot.data.manifests import SkippedUtterance
from bigfoot.report.corpus import draw_description, render_description, render_tables, to_json
from bigfoot.report.corpus_page import save_description
from tests.refusals import names


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


@pytest.mark.parametrize("width", [40, 80])
def test_a_narrow_console_cuts_no_word(facts, width):
    shown = ["", ""]
    for number, columns in enumerate((width, 1000)):
        console = Console(file=io.StringIO(), width=columns)
        for table in render_tables(facts, columns):
            console.print(table)
        shown[number] = console.file.getvalue()
    assert set(shown[1].replace("─", "").split()) <= set(shown[0].split())
    assert max(map(len, shown[0].splitlines())) <= width


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


@pytest.mark.slow
@pytest.mark.parametrize("texts", [[], ["Ж語\u200b" * 40]])
def test_corpora_without_text_or_with_rare_characters_are_drawn(texts, tmp_path, recwarn):
    split = make_split("train", texts, [1.0], {16000: 1})
    save_description(CorpusFacts("odd", [split], []), tmp_path)
    assert (tmp_path / "describe.png").read_bytes().startswith(b"\x89PNG")
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]
    if not texts:
        assert json.loads((tmp_path / "describe.json").read_text())["splits"][0]["spreads"]["text, words"] is None
        assert "no text" in (tmp_path / "describe.md").read_text()


@pytest.mark.slow
def test_a_table_is_described_with_its_columns_and_bad_files(bigfoot, tmp_path):
    """Labels, missing values and correlations of a table in full; a bad file and a broken row cost a line each."""
    rng = np.random.default_rng(0)
    rows = ["path,text,speaker,mood,age"]
    for number in range(8):
        mood = "" if number == 7 else ["calm", "angry"][number % 2]
        soundfile.write(tmp_path / f"{number}.wav", rng.standard_normal(16000 + 1600 * number) / 9, 16000)
        rows.append(f"{number}.wav,{'A' * (number + 1)},{'ab'[number % 2]},{mood},{20 + number}")
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    (tmp_path / "t.csv").write_text("\n".join([*rows, "bad.wav,A,a,calm,30", "0.wav,A"]) + "\n")
    settings = ["data.corpus=table", f"data.root={tmp_path}", "data.train_splits=[t.csv]"]
    code, _, errors = bigfoot("describe", "--out", str(tmp_path / "out"), *settings)
    assert code == 0, errors
    found = json.loads((tmp_path / "out/describe.json").read_text())
    (train,) = found["splits"]
    assert train["num_utterances"] == 8 and train["num_without_speaker"] == 0 and len(found["skipped"]) == 2
    assert train["labels"]["mood"] == {
        "counts": {"calm": 4, "angry": 3}, "num_missing": 1, "spread": None, "words": {}
    }  # fmt: skip
    assert (train["labels"]["age"]["spread"]["median"], train["labels"]["age"]["num_missing"]) == (23.5, 0)
    values = {(item["first"], item["second"]): (item["measure"], item["value"]) for item in found["correlations"]}
    assert values["audio, seconds", "label, age"] == ("spearman", pytest.approx(1.0))
    assert values["speaker", "label, mood"] == ("cramers_v", pytest.approx(1.0))
    page = (tmp_path / "out/describe.html").read_text()
    assert all(names(page, word) for word in ("angry", "bad.wav", "eta")) and page.count("<svg") == 1
    code, _, errors = bigfoot("describe", "--out", str(tmp_path / "again"), "--prepared", str(tmp_path / "out/data"))
    assert code == 0 and json.loads((tmp_path / "again/describe.json").read_text())["splits"] == [train]
    files = {path.name for path in (tmp_path / "again").iterdir()}
    assert files == {".bigfoot", "describe.html", "describe.json", "describe.md", "describe.png"}


@pytest.mark.slow
def test_what_cannot_be_described_is_refused(bigfoot, tmp_path):
    out = str(tmp_path / "out")
    assert bigfoot("describe", "--out", out, "--prepared", str(tmp_path))[0] == 1
    assert bigfoot("describe", "--out", out, "--prepared", str(tmp_path), "seed=1")[0] == 2
    assert bigfoot("describe", "--config", "fsdd.yaml", f"data.root={tmp_path / 'nowhere'}", "--out", out)[0] == 1
    assert not (tmp_path / "out" / "describe.md").exists()
