"""Common Voice as a miniature in its true layout; plain tables are tested in test_corpora."""

import lhotse
import pytest
import soundfile

from bigfoot.data.batches import read_transcripts
from bigfoot.data.corpora import prepare_data
from bigfoot.data.settings import DataConfig
from bigfoot.data.synthetic import synthesize_string
from bigfoot.data.tables import list_common_voice
from bigfoot.errors import DataError
from tests.refusals import refused

LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")

OLD = ("client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accent", "locale", "segment")
NEW = (
    "client_id", "path", "sentence_id", "sentence", "sentence_domain", "up_votes", "down_votes", "age", "gender",
    "accents", "variant", "locale", "segment",
)  # fmt: skip


def make_common_voice(root, columns, rows):
    (root / "clips").mkdir(parents=True, exist_ok=True)
    for split, clips in rows.items():
        lines = ["\t".join(columns)]
        for client, path, sentence in clips:
            row = {"client_id": client, "path": path, "sentence": sentence, "up_votes": "2", "locale": "en"}
            lines.append("\t".join(row.get(column, "") for column in columns))
        (root / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("columns", [OLD, NEW])
def test_common_voice(tmp_path, columns):
    root, rows = tmp_path / "cv" / "en", {}
    for split, voices in (("train", 3), ("dev", 1), ("test", 2)):
        made = [synthesize_string(2, split, index, 1, 2) for index in range(voices)]
        rows[split] = [(u.speaker * 9, f"common_voice_en_{u.id}.mp3", f"“{u.text.capitalize()}”.") for u in made]
        for utterance, (_, name, _) in zip(made, rows[split], strict=True):
            write = root / "clips" / name
            write.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(write, utterance.samples, 16000)
    rows["train"] += [("m", "common_voice_en_gone.mp3", "Three"), ("m", "common_voice_en_gone.mp3", 'He read "3"')]
    make_common_voice(root, columns, rows)
    config = DataConfig(
        corpus="common_voice", root=str(root), train_splits=["train"], dev_splits=["dev"], test_splits=["test"]
    )
    prepared = prepare_data(config, 0, tmp_path / "out", characters=LETTERS)
    assert prepared.num_utterances == {"train": 3, "dev": 1, "test": 2}
    assert sum("twice" not in item.reason for item in prepared.skipped) == 1
    for split, voices in prepared.num_utterances.items():
        cuts = sorted(lhotse.CutSet.from_jsonl_lazy(prepared.manifests[split]), key=lambda cut: cut.id)
        made = [synthesize_string(2, split, index, 1, 2) for index in range(voices)]
        assert [cut.supervisions[0].text for cut in cuts] == [item.text for item in made]
        assert [cut.supervisions[0].speaker for cut in cuts] == [item.speaker * 9 for item in made]
        assert all(cut.recording.sources[0].source.endswith(".mp3") for cut in cuts)
        assert [cut.duration for cut in cuts] == pytest.approx([item.seconds for item in made], abs=0.05)


def test_common_voice_keeps_lone_quotation_marks_and_marks_that_a_vocabulary_has(tmp_path):
    make_common_voice(tmp_path, OLD, {"validated": [("c", "a.mp3", 'Say "hi, all.'), ("c", "b.mp3", "Well-known!")]})
    for name in ("a", "b"):
        soundfile.write(tmp_path / "clips" / f"{name}.mp3", synthesize_string(0, "dev", 1).samples, 16000)
    assert [item.text for item in list_common_voice(tmp_path, "validated")] == ['Say "hi, all.', "Well-known!"]
    config = DataConfig(corpus="common_voice", root=str(tmp_path), test_splits=["validated"])
    for characters, texts in ((LETTERS, ["SAY HI ALL"]), (LETTERS | set(",-"), ["SAY HI, ALL", "WELL-KNOWN"])):
        prepared = prepare_data(config, 0, tmp_path / "out", characters=characters)
        assert read_transcripts(prepared.manifests["test"]) == texts
        assert len(prepared.skipped) == 2 - len(texts)


def test_common_voice_says_which_tables_there_are(tmp_path):
    make_common_voice(tmp_path, OLD, {"train": [], "other": []})
    with refused(DataError, "dev.tsv"):
        list_common_voice(tmp_path, "dev")
