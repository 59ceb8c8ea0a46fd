"""Alignments against espeak-ng's events, of texts with gaps and unknown words, and what the command makes of files."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile

from bigfoot.alignment.aligner import AlignedWord, Aligner, Alignment
from bigfoot.alignment.formats import KINDS, render_ctm, with_unit
from bigfoot.alignment.items import find_items
from bigfoot.alignment.lag import Lag, lag_to_json, read_lag
from bigfoot.alignment.plan import ANY, TextPlanner
from bigfoot.alignment.times import FramedWord, time_words
from bigfoot.errors import DataError, ModelError
from bigfoot.runtime.engine import EngineOutput, ModelFacts
from bigfoot.runtime.timing import Clock
from bigfoot.runtime.transcriber import open_engine
from bigfoot.storage.replace import write_file
from bigfoot.text.pieces import PieceTokenizer
from bigfoot.text.tokenizers import CharTokenizer
from tests.refusals import names, refused

TOKENIZER = CharTokenizer(("<pad>", "|", "A", "B", "C"))
STRIDE = 320
LAG = Lag(0.04, -0.02)


class Tape:
    """An engine whose input is its output: a frame of samples of 0.1 is token 1, of 0.2 token 2."""

    lanes = 2
    facts = ModelFacts(name="tape", tokenizer=TOKENIZER, stride=STRIDE, receptive_field=STRIDE, normalizes=False)

    def run(self, input_values, lengths, alone=True):
        frames = lengths // STRIDE
        ids = np.rint(10 * input_values[:, STRIDE // 2 :: STRIDE]).astype(int)[:, : frames.max()]
        return EngineOutput(np.log(0.02 + 0.9 * np.eye(5))[ids].astype(np.float32), frames)


def tape(ids):
    return np.repeat(np.float32(ids) / 10, STRIDE)


SPOKEN = [0, 2, 0, 1, 3, 3, 0, 1, 0, 4, 0, 0]  # A BB C


def spans(alignment):
    return [(word.text, round(word.start, 2), round(word.end, 2)) for word in alignment.words]


@pytest.fixture
def aligner():
    return Aligner(Tape())


def test_words_and_characters_keep_their_order_and_spelling(aligner):
    found = aligner.align(tape(SPOKEN), "a, - b C!")
    assert [word.text for word in found.words] == ["a,", "b", "C!"]
    assert [[part.text for part in word.parts] for word in found.words] == [["A"], ["B"], ["C"]]
    assert all(word.confidence == pytest.approx(0.92, abs=0.01) for word in found.words) and not [*found.warnings()]
    edges = [0.0, *(edge for word in found.words for edge in (word.start, word.end)), found.seconds]
    assert edges == sorted(edges) and all(word.start < word.end for word in found.words)


def test_a_lag_is_taken_off_by_token():
    late = Aligner(Tape(), lag=Lag(0.02, 0.0, {"C": 0.06}))
    starts = [word.start for word in late.align(tape(SPOKEN), "A B C").words]
    assert starts == pytest.approx([0.0, 0.06, 0.12], abs=0.006)


@pytest.mark.parametrize("noise", [-35, -60, -75])
def test_the_end_of_a_word_where_the_noise_steps_behind_it(noise):
    """Speech to 1 s, its own noise to 1.3 s, another noise up to the next word at 2.2 s, which is as loud."""
    loudness = np.float32([-20] * 30 + [-40] * 20 + [-20] * 50 + [-40] * 30 + [noise] * 90 + [-20] * 60)
    clock = Clock(0.02, len(loudness) / 100, loudness)
    words = [FramedWord(28, 46, "A", "B"), FramedWord(113, 138, "A", "B")]
    (start, end), (following, _) = time_words(words, clock, Lag(0.06, -0.08))
    assert start == pytest.approx(0.5, abs=0.03) and following == pytest.approx(2.2, abs=0.03)
    assert end == pytest.approx(1.0, abs=0.03)


def test_an_unknown_word_takes_the_time_between_its_neighbours(aligner):
    found = aligner.align(tape(SPOKEN), "A 1984 C")
    assert [word.confidence is None for word in found.words] == [False, True, False]
    assert found.unknown == ("1984",) and [*found.warnings()]
    assert found.words[0].end <= found.words[1].start < 0.09 < found.words[1].end <= found.words[2].start


@pytest.mark.parametrize("everywhere", [False, True])
def test_untranscribed_speech_has_a_place(everywhere):
    aligner = Aligner(Tape(), open_everywhere=everywhere)
    found = aligner.align(tape([0, 2, 0, 1, 3, 3, 0, 3, 0, 3, 0, 1, 0, 4, 0]), "A C" if everywhere else "A * C")
    whole = Aligner(Tape()).align(tape([0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 4, 0]), "A C")
    expected = [word.confidence for word in whole.words]
    assert [word.confidence for word in found.words] == pytest.approx(expected, abs=0.01)
    assert len(found.untranscribed) == 1
    start, end = found.untranscribed[0]
    assert start < 0.12 and end > 0.18 and found.words[0].end <= start < end <= found.words[1].start


def test_what_cannot_be_aligned_is_refused(aligner):
    for text, named in (("", ()), ("1984 2001", ("'1984 2001'",)), ("A " * 99, (197, 12))):
        with refused(DataError, *named):
            aligner.align(tape(SPOKEN), text)


@pytest.mark.slow
def test_an_hour_is_aligned_as_its_minutes_are():
    """Chunks overlap, the band moves, and steps are kept for a part of the frames: nothing of it shows."""
    rng = np.random.default_rng(0)
    words, ids, begins = [], [], []
    for _ in range(1500):
        word = rng.integers(2, 5, rng.integers(1, 6)).tolist()
        ids += [0] * rng.integers(1, 60)
        begins.append(len(ids))
        ids += [token for letter in word for token in (letter, 0)] + [1]
        words.append("".join(TOKENIZER.pieces[token] for token in word))
    seconds = []
    found = Aligner(Tape(), lag=Lag(0.0, 0.0)).align(tape(ids), " ".join(words), seconds.append)
    starts = np.array([word.start for word in found.words])
    assert len(ids) > 40_000 and np.abs(starts - 0.02 * np.array(begins)).max() < 0.02
    assert sum(seconds) == pytest.approx(found.seconds) == pytest.approx(0.02 * len(ids))


def test_pieces_of_an_exported_file_are_as_few_as_can_be():
    pieces = PieceTokenizer(("<pad>", "_ON", "E", "_O", "N"), ("", " ON", "E", " O", "N"), 0)
    assert TextPlanner(pieces).plan("One 7").labels == [1, 2, ANY]
    phonemes = TextPlanner(PieceTokenizer(("<pad>", "s", "i"), ("", " s", " i"), 0))
    assert phonemes.unit == "phonemes" and phonemes.plan("s i s").labels == [1, 2, 1]


def test_scripts_without_spaces_have_a_word_a_character():
    plan = TextPlanner(CharTokenizer(("<pad>", "\u6211", "\u6709"))).plan("\u6211\u6709\u3002")
    assert [(word.text, word.first, word.last) for word in plan.words] == [("\u6211", 0, 1), ("\u6709\u3002", 1, 2)]


def test_formats_hold_every_word(aligner):
    found = aligner.align(tape(SPOKEN), 'A "B" C')
    lines = [line.split() for line in render_ctm(found).splitlines()]
    assert [(line[0], line[4], len(line)) for line in lines] == [("array_0", w, 6) for w in ("A", '"B"', "C")]
    assert with_unit("characters").render["ctm"](found).count("\n") == 3
    assert [word["text"] for word in json.loads(KINDS.render["json"](found))["words"]] == ["A", '"B"', "C"]
    grid = [line.strip() for line in KINDS.render["textgrid"](found).splitlines()]
    edges = [(grid[n + 1][7:], grid[n + 2][7:]) for n, line in enumerate(grid) if line.startswith("intervals [")]
    assert 'text = """B"""' in grid and len(edges) >= 6
    assert all(float(start) < float(end) for start, end in edges)
    assert all(later[0] in (earlier[1], "0") for earlier, later in pairwise(edges))
    assert "A" in KINDS.render["srt"](found)
    assert KINDS.to_dict(Alignment("x", error="gone")) == {"source": "x", "error": "gone"}


def test_names_and_words_stay_fields_of_ctm_and_textgrid():
    words = ("a\0b", "c d\u2028e", 'f"g', ";;h", "\x85")
    parts = tuple(AlignedWord(word, float(start), start + 0.5, 0.9) for start, word in enumerate(words))
    for source in (";;talk\n.wav", "x\0 y.wav"):
        lines = render_ctm(Alignment(source, 9.0, "", parts)).split("\n")
        assert [len(line.split(" ")) for line in lines] == [6] * len(words) + [1]
        assert len({line.split(" ")[0] for line in lines[:-1]}) == 1 and not lines[0].startswith(";;")
        assert [line.split(" ")[4] for line in lines[:-1]] == ["a_b", "c_d_e", 'f"g', "__h", "_"]
    grid = KINDS.render["textgrid"](Alignment("x", 9.0, "", parts))
    assert not set(grid) & {"\0", "\x85", "\u2028"} and 'text = "f""g"' in grid and 'text = "c d e"' in grid


def test_nothing_is_written_into_the_model(tmp_path, bigfoot, tape_file):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").touch()
    for output in (tmp_path / "model", tmp_path / "model/new.ctm", f"{tmp_path}/model/new/"):
        code, _, error = bigfoot("align", tmp_path / "model", tape_file, "x", "--output", output, "--force")
        assert code == 1 and names(error, output)
    code, _, error = bigfoot("align", tmp_path / "model", "--calibrate", "--output", tmp_path / "model/lag.json")
    assert code == 1 and names(error, tmp_path / "model/lag.json")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["config.json"]


def test_a_lag_belongs_to_its_model(tmp_path):
    place, facts = tmp_path / "tape.lag.json", Tape.facts
    place.write_bytes(lag_to_json(Lag(0.1, -0.1, {"A": 0.2}), facts, 30))
    assert read_lag(place, facts) == Lag(0.1, -0.1, {"A": 0.2})
    other = ModelFacts(name="other", tokenizer=TOKENIZER, stride=640, receptive_field=640)
    beyond = json.dumps(json.loads(place.read_text()) | {"start": 10**400})
    for content, of in ((place.read_text(), other), ('{"model": 1}', facts), ("{", facts), (beyond, facts)):
        place.write_text(content)
        with refused(ModelError, place):
            read_lag(place, of)


@pytest.mark.parametrize("wanted", ["model.onnx", "sentences.txt"])
def test_calibrating_overwrites_nothing_that_it_reads(wanted, tape_file, tmp_path, bigfoot):
    (tmp_path / "model.onnx").write_bytes(Path(tape_file).read_bytes())
    (tmp_path / "sentences.txt").write_text("one two\n")
    before = (tmp_path / wanted).read_bytes()
    read = ["--sentences", tmp_path / "sentences.txt", "--output", tmp_path / wanted, "--force"]
    code, _, errors = bigfoot("align", tmp_path / "model.onnx", "--calibrate", *read)
    assert code == 1 and names(errors, tmp_path / wanted) and (tmp_path / wanted).read_bytes() == before


@pytest.mark.slow
def test_times_are_espeak_s_own(tmp_path, bigfoot, monkeypatch):
    """Calibrated on voices of training, measured on others: a median of 20 ms, 50 ms at 90 %."""
    from bigfoot.data.utterance import digits_to_text
    from bigfoot.espeak import Voice, speak_with_times

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("bigfoot.alignment.calibrate.STRINGS", 60)
    code, output, _ = bigfoot("align", "tiny_teacher", "--calibrate", "--json", "--threads", 1)
    measured = json.loads(output)
    assert code == 0 and measured["words"] > 150 and measured["start"] == pytest.approx(0.09, abs=0.02)
    (tmp_path / "corpus").mkdir()
    rng, expected = np.random.default_rng(3), {}
    for index, voice in enumerate(("en-us+f3", "en+Mike", "en-us+linda", "en-gb-scotland+edward", "en-us+m6") * 2):
        text = digits_to_text(rng.integers(0, 10, 6).tolist())
        samples, rate, words = speak_with_times(text.lower(), Voice(voice, word_gap=index % 2 * 5))
        soundfile.write(tmp_path / "corpus" / f"{index}.wav", samples, rate)
        (tmp_path / "corpus" / f"{index}.txt").write_text(text.lower())
        expected[f"{index}.wav"] = [(word.start, word.end) for word in words]
    code, output, _ = bigfoot("align", "tiny_teacher", "corpus", "--json", "--threads", 1)
    found = {item["source"]: [(word["start"], word["end"]) for word in item["words"]] for item in json.loads(output)}
    assert code == 0 and found.keys() == expected.keys()
    late = np.abs(np.concatenate([np.subtract(found[name], expected[name]) for name in expected]))
    assert np.median(late) < 0.02 and np.quantile(late, 0.9) < 0.05


@pytest.mark.slow
def test_the_command_accounts_for_all_files(tmp_path, bigfoot, tape_file, tapes):
    zero, _, _ = tapes
    (tmp_path / "0.txt").write_text("ab c")
    (tmp_path / "lone.txt").write_text("a")
    (tmp_path / "bad.wav").write_text("no audio")
    (tmp_path / "bad.txt").write_text("a")
    code, output, errors = bigfoot("align", tape_file, tmp_path, "--json")
    found = json.loads(output)
    assert code == 1 and len(found) == 5 and [w["text"] for w in found[0]["words"]] == ["ab", "c"]
    assert sum("error" in item for item in found) == 4
    assert all(names(errors, name) for name in ("1.wav", "2.wav", "bad.wav", "lone.txt"))
    table = tmp_path / "t.tsv"
    table.write_text(f"path\ttext\toffset\n{zero.name}\tab c\t0\n{zero.name}\tc\t9\nshort\n")
    code, output, _ = bigfoot("align", tape_file, table, "--format", "ctm", "--output", f"{tmp_path}/out/", "--json")
    account = json.loads(output)
    assert code == 1 and (account["rows"], account["rows_used"]) == (3, 1)
    assert [path.name for path in (tmp_path / "out").glob("*.ctm")] == ["0-0000000.ctm"]
    content = zero.read_bytes()
    for arguments in ((zero, "ab c", "--output", zero), (zero, tmp_path / "0.txt", "--output", tmp_path / "0.txt")):
        assert bigfoot("align", tape_file, *arguments)[0] == 1
    assert zero.read_bytes() == content and (tmp_path / "0.txt").read_text() == "ab c"
    for arguments in ((zero,), (table, "ab"), (zero, "c", "--format", "doc"), (zero, "c", "--unit", "phonemes"), ()):
        assert bigfoot("align", tape_file, *arguments)[0] == 2


def test_a_text_of_bytes_that_are_no_utf8_costs_its_recording():
    (item,) = find_items("a.wav", "ab \udcff")
    assert item.text == "" and names(item.problem, "ab \\xff")


def test_options_that_do_not_apply_are_named(bigfoot, tape_file, tapes):
    unused = ("--voice", "de", "--sentences", "none.txt")
    code, _, errors = bigfoot("align", tape_file, next(iter(tapes)), "ab c", *unused)
    assert code == 0 and names(errors, "--voice") and names(errors, "--sentences")


def test_a_lag_that_is_read_is_never_written_over(tmp_path, bigfoot, tape_file, tapes):
    zero, tape = next(iter(tapes)), tmp_path / "tape.onnx"
    shutil.copy(tape_file, tape)
    for place, options in ((tmp_path / "tape.lag.json", ()), (tmp_path / "b.json", ("--lag", tmp_path / "b.json"))):
        write_file(place, lag_to_json(Lag(0.1, -0.1), open_engine(tape, 1).facts, 30))  # bigfoot's own, and still read
        before = place.read_bytes()
        assert bigfoot("align", tape, zero, "ab c", *options, "--output", place, "--force")[0] == 1
        assert place.read_bytes() == before


@pytest.mark.slow
def test_aligning_loads_no_torch(tape_file, tapes):
    from tests.runtime.test_without_torch import TRAINING
    from tests.test_imports import modules_after

    code = (
        f"sys.argv = ['bigfoot', 'align', {str(tape_file)!r}, {str(next(iter(tapes)))!r}, 'ab c', '--threads', '1']; "
        "runpy.run_module('bigfoot', run_name='__main__')"
    )
    modules, output = modules_after(code)
    assert len(output.splitlines()) == 2 and "onnxruntime" in modules and not modules & TRAINING
