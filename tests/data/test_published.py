"""Published corpora, each as five utterances in its own layout, against lhotse's recipe where it has one."""

import gzip
import json
from dataclasses import dataclass, field

import numpy as np
import pytest
import soundfile
from lhotse.kaldi import load_kaldi_data_dir
from lhotse.recipes import prepare_librispeech, prepare_mls, prepare_voxpopuli
from lhotse.recipes.commonvoice import _parse_utterance as parse_common_voice
from lhotse.recipes.gigaspeech import parse_utterance as parse_gigaspeech
from lhotse.recipes.librilight import _parse_utterance as parse_librilight
from lhotse.recipes.tedlium import _parse_stm_file as parse_stm

from bigfoot.audio.files import read_audio
from bigfoot.data.batches import iterate_utterances
from bigfoot.data.corpora import prepare_data
from bigfoot.data.published.gigaspeech import list_gigaspeech
from bigfoot.data.published.kaldi import list_kaldi
from bigfoot.data.registry import CORPORA
from bigfoot.data.settings import DataConfig
from bigfoot.errors import DataError
from tests.refusals import refused

RATE = 16000
GENERATED = {"synthetic_digits", "fsdd"}
TESTED_ELSEWHERE = {"fsdd_recordings", "speechocean762", "folder", "table", "datasets", "shar", "webdataset",
                    "datasets_streaming"}  # fmt: skip


def tone(number, seconds=0.5):
    """A tone of its own for each utterance, so that a wrong file or stretch is noticed."""
    return (0.3 * np.sin(np.arange(round(seconds * RATE)) * (0.05 + 0.01 * number))).astype(np.float32)


def pitch(samples):
    """The number of the tone that is loudest in the middle, whatever a lossy type did to its ends."""
    spectrum = np.abs(np.fft.rfft(samples[1000:7000], 48000))
    return round((spectrum.argmax() * 2 * np.pi / 48000 - 0.05) / 0.01)


def write(path, *tones, **kind):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.concatenate(tones), RATE, **kind)


@dataclass
class Imitation:
    """A corpus on disk.

    Args:
        splits: settings that name its parts.
        expected: (text, speaker, tone) by utterance.
        lhotse: (text, speaker, start, duration) by utterance, as lhotse's recipe has them.
        labels: by utterance, of those that have one.
    """

    splits: dict
    expected: dict
    lhotse: dict | None = None
    labels: dict = field(default_factory=dict)


def facts(supervisions):
    return {each.id: (each.text, each.speaker, each.start, each.duration) for each in supervisions}


def make_librispeech(root):
    rows = {f"{speaker}-7-{n:04d}": (f"TEXT {n}", str(speaker), n) for n, speaker in enumerate((19, 19, 26, 26, 32))}
    parts = {"19": "train-clean-100", "26": "train-clean-360", "32": "train-other-500"}
    for name, (_, speaker, n) in rows.items():
        write(root / parts[speaker] / speaker / "7" / f"{name}.flac", tone(n))
    for speaker, part in parts.items():
        lines = [f"{name} {text}\n" for name, (text, who, _) in rows.items() if who == speaker]
        (root / part / speaker / "7" / f"{speaker}-7.trans.txt").write_text("".join(lines))
    found = prepare_librispeech(root, dataset_parts=list(parts.values()))
    lhotse = {name: fact for part in found.values() for name, fact in facts(part["supervisions"]).items()}
    switches = {"train_clean_100": True, "train_clean_360": True, "train_other_500": True}
    return Imitation(switches, rows, lhotse)


def make_librilight(root):
    activity = {"a": [[0.0, 0.5], [0.5, 1.0]], "b": [[0.0, 0.5], [0.5, 1.0], [1.0, 1.5]]}
    rows, number = {}, 0
    for name, stretches in activity.items():
        path = root / "small" / "100" / "a_book_64kb_mp3" / f"{name}.flac"
        write(path, *(tone(number + n) for n in range(len(stretches))))
        path.with_suffix(".json").write_text(json.dumps({"speaker": "100", "voice_activity": stretches}))
        for n in range(len(stretches)):
            rows[f"small/100/a_book_64kb_mp3/{name}_{n}"] = ("", "100", number)
            number += 1
    found = [parse_librilight(root, path) for path in sorted(root.rglob("*.flac"))]
    lhotse = {key: ("", *value[1:]) for _, segments in found for key, value in facts(segments).items()}
    return Imitation({"train_splits": ["small"], "transcripts": "none", "max_seconds": 0.6}, rows, lhotse)


def make_common_voice(root):
    columns = ["client_id", "path", "sentence", "gender", "age", "accents", "variant"]
    rows, lhotse, lines = {}, {}, []
    for n in range(5):
        name = f"common_voice_pl_{n}"
        write(root / "pl" / "clips" / f"{name}.mp3", tone(n, 0.6), format="MP3")
        cells = [f"c{n % 2}", f"{name}.mp3", f"Zdanie {n}", "female", "", "", ""]
        lines.append(cells)
        rows[f"pl/{name}"] = (cells[2], cells[0], n)
        _, found = parse_common_voice(root / "pl", "pl", dict(zip(columns, cells, strict=True)))
        lhotse[f"pl/{name}"] = (found.text, found.speaker, found.start, found.duration)
    (root / "pl" / "train.tsv").write_text("\n".join("\t".join(row) for row in (columns, *lines)) + "\n")
    return Imitation({"train_splits": ["pl/train"]}, rows, lhotse)


def make_tedlium(root):
    rows, number = {}, 0
    for part in ("train", "dev", "test"):
        folder = root / "legacy" / part
        write(folder / "sph" / f"{part}_2009.sph", tone(number), tone(number + 1), format="NIST")
        lines = [
            f"{part}_2009 1 {part}_2009 0.0 0.5 <o,f0,male> it 's {{NOISE}} a talk",
            f"{part}_2009 1 inter_segment_gap 0.5 0.6 <o,f0,> ignore_time_segment_in_scoring",
            *([f"{part}_2009 1 {part}_2009 0.5 1.0 <o,f0,male> the end"] if part != "test" else []),
        ]
        (folder / "stm").mkdir()
        (folder / "stm" / f"{part}_2009.stm").write_text("\n".join(lines) + "\n")
        rows[f"{part}_2009-0"] = ("it's a talk", f"{part}_2009", number)
        if part != "test":
            rows[f"{part}_2009-2"] = ("the end", f"{part}_2009", number + 1)
        number += 2
    segments = [each for stm in root.rglob("*.stm") for each in parse_stm(stm, "kaldi")]
    lhotse = facts(segments)
    lhotse = {name: (" ".join(text.split()), *rest) for name, (text, *rest) in lhotse.items()}
    labels = {name: {"gender": "male"} for name in rows}
    return Imitation({"train_splits": ["train", "dev", "test"]}, rows, lhotse, labels)


def make_gigaspeech(root):
    audios, rows, number = [], {}, 0
    for aid, count in (("POD1", 3), ("YOU1", 2)):
        path = f"audio/podcast/P0001/{aid}.opus"
        write(root / path, *(tone(number + n) for n in range(count)), format="OGG", subtype="OPUS")
        segments = [
            {"sid": f"{aid}_S{n}", "speaker": "N/A" if n else "ann", "begin_time": 0.5 * n, "end_time": 0.5 * n + 0.5,
             "text_tn": f"WORD <COMMA> {n} <PERIOD>", "subsets": ["{XL}", "{XS}"]} for n in range(count)
        ]  # fmt: skip
        for n in range(count):
            rows[f"{aid}_S{n}"] = (f"WORD {n}", "unknown" if n else "ann", number + n)
        noise = {**segments[0], "sid": f"{aid}_N", "text_tn": "<NOISE>"}
        other = {**segments[0], "sid": f"{aid}_L", "subsets": ["{XL}"]}
        audios.append({"aid": aid, "path": path, "sample_rate": RATE, "channels": 1, "duration": 0.5 * count,
                       "subsets": ["{XL}"], "segments": [*segments, noise, other]})  # fmt: skip
        number += count
    (root / "GigaSpeech.json").write_text(json.dumps({"dataset": "GigaSpeech", "audios": audios}, indent=1))
    found = [parse_gigaspeech(audio, root)[1] for audio in audios]
    lhotse = {key: value for segments in found for key, value in facts(segments).items() if key in rows}
    strip = lambda text: " ".join(text.replace("<COMMA>", "").replace("<PERIOD>", "").split())  # noqa: E731
    lhotse = {key: (strip(text), who.replace("N/A", "unknown"), *rest) for key, (text, who, *rest) in lhotse.items()}
    return Imitation({"train_splits": ["XS"]}, rows, lhotse)


def make_voxpopuli(root):
    lines = ["session_id|id_|original_text|normed_text|speaker_id|split|gender|start_time|end_time"]
    rows, number = {}, 0
    for session, count in (("20180313-PLENARY-12", 3), ("20190101-PLENARY-1", 2)):
        path = root / "raw_audios" / "en" / session[:4] / f"{session}_en.ogg"
        write(path, *(tone(number + n) for n in range(count)), format="OGG", subtype="VORBIS")
        for n in range(count):
            part = "train" if count == 3 else ("dev", "test")[n]
            lines.append(f"{session}|x{n}|Text {n}!|text {n}|77|{part}|female|{0.5 * n}|{0.5 * n + 0.5}")
            rows[f"{session}-{n + 1}"] = (f"text {n}", "77", number + n)
        number += count
    with gzip.open(root / "asr_en.tsv.gz", "wt") as file:
        file.write("\n".join(lines) + "\n")
    found = prepare_voxpopuli(root, root, lang="en")
    lhotse = {name: fact for part in found.values() for name, fact in facts(part["supervisions"]).items()}
    labels = {name: {"gender": "female"} for name in rows}
    return Imitation({"train_splits": ["en/train", "en/dev", "en/test"]}, rows, lhotse, labels)


def make_mls(root):
    folder, rows = root / "mls_polish", {}
    for part, numbers in (("train", (0, 1, 2)), ("dev", (3,)), ("test", (4,))):
        names = {f"6892_8912_{n:06d}": n for n in numbers}
        for name, n in names.items():
            write(folder / part / "audio" / "6892" / "8912" / f"{name}.flac", tone(n))
            rows[name] = (f"zdanie {n}", "6892", n)
        lines = [f"{name}\tzdanie {n}\n" for name, n in names.items()]
        (folder / part / "transcripts.txt").write_text("".join(lines))
    (folder / "metainfo.txt").write_text(
        " SPEAKER | GENDER | PARTITION | MINUTES | BOOK ID | TITLE | CHAPTER\n 6892 | M | train | 23.4 | 8912 | T | 1\n"
    )
    found = prepare_mls(root, opus=False)["polish"]
    lhotse = {name: fact for part in found.values() for name, fact in facts(part["supervisions"]).items()}
    splits = {"train_splits": [f"polish/{part}" for part in ("train", "dev", "test")]}
    return Imitation(splits, rows, lhotse, {name: {"gender": "M"} for name in rows})


def make_kaldi(root):
    """Two sides of a call in one file, and a recording in another; lhotse reads durations from ``reco2dur``."""
    rows, folder = {}, root / "data" / "train"
    folder.mkdir(parents=True)
    sides = np.stack([np.concatenate([tone(0), tone(1)]), np.concatenate([tone(2), tone(3)])], axis=1)
    soundfile.write(root / "sw02001.sph", sides, RATE, format="NIST")
    write(root / "wav" / "x.wav", tone(4))
    command = f"/usr/bin/sph2pipe -f wav -p -c {{}} {root}/sw02001.sph |"
    scp = [f"sw02001-{side} {command.format(number)}\n" for number, side in ((1, "A"), (2, "B"))]
    (folder / "wav.scp").write_text("".join([*scp, f"x {root}/wav/x.wav\n"]))
    segments = {"sw-A-1": ("sw02001-A", "0 0.5"), "sw-A-2": ("sw02001-A", "0.5 1.0"), "sw-B-1": ("sw02001-B", "0 0.5"),
                "sw-B-2": ("sw02001-B", "0.5 -1"), "x-1": ("x", "0.0 0.5")}  # fmt: skip
    (folder / "segments").write_text("".join(f"{name} {rec} {times}\n" for name, (rec, times) in segments.items()))
    for n, (name, (rec, _)) in enumerate(segments.items()):
        rows[name] = (f"TEXT {n}", rec, n)
    (folder / "text").write_text("".join(f"{name} {text}\n" for name, (text, _, _) in rows.items()))
    (folder / "utt2spk").write_text("".join(f"{name} {speaker}\n" for name, (_, speaker, _) in rows.items()))
    (folder / "spk2gender").write_text("sw02001-A f\nsw02001-B m\nx m\n")
    (folder / "reco2dur").write_text("sw02001-A 1.0\nsw02001-B 1.0\nx 0.5\n")
    _, found, _ = load_kaldi_data_dir(folder, RATE)
    labels = {name: {"gender": "f" if name.startswith("sw-A") else "m"} for name in rows}
    return Imitation({"train_splits": ["data/train"]}, rows, facts(found), labels)


IMITATIONS = {
    "librispeech": make_librispeech, "librilight": make_librilight, "common_voice": make_common_voice,
    "tedlium": make_tedlium, "gigaspeech": make_gigaspeech, "voxpopuli": make_voxpopuli, "mls": make_mls,
    "kaldi": make_kaldi,
}  # fmt: skip


def test_every_corpus_that_is_read_in_place_has_an_imitation():
    assert CORPORA.keys() - GENERATED - TESTED_ELSEWHERE == IMITATIONS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("corpus", IMITATIONS)
def test_five_utterances_in_the_layout_of_a_corpus(corpus, tmp_path):
    root = tmp_path / "corpus"
    root.mkdir()
    made = IMITATIONS[corpus](root)
    config = DataConfig(corpus=corpus, root=str(root), on_bad_audio="raise", labels=[], **made.splits)
    if made.labels:
        config.labels = ["gender"]
    prepared = prepare_data(config, 0, tmp_path / "out")
    assert prepared.num_utterances == {"train": 5} and prepared.skipped == []
    found = {item.id: item for item in iterate_utterances(prepared.manifests["train"])}
    assert {name: (item.text, item.speaker) for name, item in found.items()} == {
        name: (text, speaker) for name, (text, speaker, _) in made.expected.items()
    }
    for name, (_, _, number) in made.expected.items():
        assert len(found[name].samples) >= RATE // 2 and pitch(found[name].samples) == number
        assert dict(found[name].attributes) == made.labels.get(name, {})
    listed = CORPORA[corpus].list_split
    items = [
        item for split in _own_splits(config) for item in listed(root, split, config, tmp_path) if item.problem is None
    ]
    ours = {item.id: (item.text, item.speaker, *_times(item.stretch)) for item in items}
    for name, (text, speaker, start, duration) in made.lhotse.items():
        assert ours[name][:3] == (text, speaker, start)
        assert ours[name][3] is None or ours[name][3] == pytest.approx(duration)


def _times(stretch):
    return (0.0, None) if stretch is None else (stretch.start, stretch.duration)


def _own_splits(config):
    switched = {"train-clean-100": config.train_clean_100, "train-clean-360": config.train_clean_360,
                "train-other-500": config.train_other_500}  # fmt: skip
    return [*(name for name, on in switched.items() if on), *config.train_splits]


COMMANDS = {
    "sph2pipe -f wav -p -c 2 {file} |": (1, False), "cat {file} |": (None, False),
    "flac -c -d -s {file} |": (None, False),
    "sox {file} -r 16000 -t wav - |": (None, False), "ffmpeg -i {file} -ar 16000 -f wav - |": (None, False),
    "sph2pipe -f wav -t 1:2 {file} |": (None, True), "sox {file} -t wav - speed 1.1 |": (None, True),
    "cat {file} | sox - -t wav - tempo 2 |": (None, True), "curl http://a/b.wav |": (None, True),
    "rm -rf {file} |": (None, True), "cat 'a |": (None, True), "ffmpeg -ss 3 -i {file} -f wav - |": (None, True),
    "raw_wav.ark:1234": (None, True),
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_kaldi_are_read_or_refused_and_never_run(command, tmp_path):
    channel, is_refused = COMMANDS[command]
    write(tmp_path / "a.wav", tone(0))
    (tmp_path / "wav.scp").write_text(f"x {command.format(file=tmp_path / 'a.wav')}\n")
    (item,) = list_kaldi(tmp_path, ".", untranscribed=True)
    assert (item.problem is not None) == is_refused
    assert is_refused or (item.path, item.channel) == (tmp_path / "a.wav", channel)
    assert (tmp_path / "a.wav").is_file()


def test_bad_lines_of_a_data_folder_are_named(tmp_path):
    write(tmp_path / "a.wav", tone(0))
    (tmp_path / "wav.scp").write_text("x a.wav\n")
    (tmp_path / "segments").write_text("u1 x 0 0.5\nu2 y 0 0.5\nu3 x 0.5 0.2\nu4 x zero 1\nu5\n")
    (tmp_path / "text").write_text("u1 YES\nu2 YES\nu3 YES\nu4 YES\nu5 YES\n")
    listed = list_kaldi(tmp_path, ".")
    assert [item.id for item in listed if item.problem is None] == ["u1"] and len(listed) == 5
    with refused(DataError, tmp_path / "nothing"):
        list_kaldi(tmp_path, "nothing")


def test_a_json_of_many_blocks_is_read_by_objects(tmp_path, monkeypatch):
    made = make_gigaspeech(tmp_path)
    whole = list_gigaspeech(tmp_path, "XS")
    for size in (1, 7, 100):
        monkeypatch.setattr("bigfoot.data.published.gigaspeech._BLOCK", size)
        assert list_gigaspeech(tmp_path, "XS") == whole and len(whole) == len(made.expected)
    file = tmp_path / "GigaSpeech.json"
    file.write_text(file.read_text()[:-200])
    with refused(DataError, file):
        list_gigaspeech(tmp_path, "XS")


def test_a_channel_is_read_alone(tmp_path):
    sides = np.stack([tone(0), tone(5)], axis=1)
    soundfile.write(tmp_path / "a.wav", sides, RATE)
    for channel in (0, 1):
        np.testing.assert_allclose(read_audio(tmp_path / "a.wav", channel=channel), sides[:, channel], atol=1e-3)
    with refused(DataError, 3):
        read_audio(tmp_path / "a.wav", channel=2)
