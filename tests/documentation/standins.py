"""What the reader of a page has: small corpora, tables and models in their place."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

STAND_INS: dict[str, Callable[[Path], None]] = {}
"""By the page's path below the project; written into the folder in which its blocks run."""


def stands_in(name: str) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """Name the page that needs what a function writes."""

    def register(write: Callable[[Path], None]) -> Callable[[Path], None]:
        STAND_INS[name] = write
        return write

    return register


@stands_in("docs/how-to/text.md")
def write_texts(folder: Path) -> None:
    """A BERT that nobody has trained, and a table whose recordings and first words go with its labels."""
    from tests.tasks.text.conftest import write_bert

    write_bert(folder / "bert")
    recordings = sorted(folder.glob("synthetic*.wav"))
    rows = [f"{word} film,{word},{recordings[row % 3].name}" for row, word in enumerate(["good", "bad"] * 10)]
    (folder / "train.csv").write_text("\n".join(["text,label,path", *rows]), encoding="utf-8")


@stands_in("docs/how-to/large-corpora.md")
def write_kaldi_folder(folder: Path) -> None:
    """A data folder of Kaldi with one recording."""
    (folder / "calls").mkdir()
    (folder / "calls/wav.scp").write_text("a speech.wav\n", encoding="utf-8")
    (folder / "calls/text").write_text("a ONE TWO\n", encoding="utf-8")


@stands_in("docs/how-to/any-teacher.md")
def write_teachers(folder: Path) -> None:
    """A conformer and a Whisper that nobody has trained, sure enough of what they write."""
    from tests.decoding.test_seq2seq import save_whisper
    from tests.formats.test_foreign_ctc import save_foreign

    save_foreign(folder / "parakeet", "parakeet", confidence=4.0)
    save_whisper(folder / "whisper")


@stands_in("docs/how-to/tasks.md")
def write_corpora(folder: Path) -> None:
    """FSDD of six speakers and three digits, and a Whisper that nobody has trained."""
    from tests.models.frames.test_whisper import write_whisper

    write_whisper(folder / "whisper")
    (folder / "corpora/fsdd/recordings").mkdir(parents=True)
    recordings = sorted(folder.glob("synthetic*.wav"))
    for number in range(18):
        digit, speaker = divmod(number, 6)
        name = f"{digit}_speaker{speaker}_0.wav"
        shutil.copy(recordings[digit], folder / "corpora/fsdd/recordings" / name)


@stands_in("docs/how-to/speech-llm.md")
def write_dialogues(folder: Path) -> None:
    """Dialogues of two turns about one recording, a language model with a chat template, a compressed encoder."""
    from tests.formats.test_speech_llm import CHAT, write_language_model

    write_language_model(folder / "lm", chat_template=CHAT)
    shutil.copytree(folder / "runs/demo/distill", folder / "runs/small/distill")
    (folder / "calls").mkdir()
    shutil.copy(folder / "speech.wav", folder / "calls")
    shutil.copy(folder / "speech.wav", folder / "a.wav")
    for split, count in (("train", 4), ("dev", 2), ("test", 2)):
        turns = [
            {"dialogue": f"d{number}", "audio": "a.wav", "start": start, "end": start + 0.5, "speaker": role,
             "role": role, "text": "yes no maybe", "stance": ["change", "neutral"][number % 2]}
            for number in range(count) for start, role in ((0.0, "counsellor"), (0.5, "client"))
        ]  # fmt: skip
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, turns)), encoding="utf-8")


@stands_in("docs/how-to/serve.md")
def write_served(folder: Path) -> None:
    """An exported model."""
    from bigfoot.export.onnx import build_onnx
    from bigfoot.formats.folder import load_model

    build_onnx(load_model("tiny_teacher")).save(folder / "student.onnx")
