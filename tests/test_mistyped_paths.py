"""A path that leads nowhere is one sentence that names it, for every command and every option that takes one."""

import numpy as np
import pytest
import soundfile

NOWHERE = "no-such-place"
RUN = ("trackers=[]", "teacher.path=MODEL", "run_dir=OUT/run")
FOLDER = ("data.corpus=folder", "data.root=AUDIO", "data.test_splits=[.]")
COMMANDS = [
    ("transcribe", "NOWHERE", "AUDIO"),
    ("transcribe", "NOWHERE.onnx", "AUDIO"),
    ("transcribe", "MODEL", "NOWHERE.wav"),
    ("transcribe", "MODEL", "NOWHERE/*.wav"),
    ("transcribe", "MODEL", "AUDIO", "--hotwords", "NOWHERE"),
    ("classify", "NOWHERE.onnx", "AUDIO"),
    ("generate", "NOWHERE", "--audio", "AUDIO/a.wav"),
    ("embed", "NOWHERE", "--audio_dir", "AUDIO", "--output_file", "OUT/e.safetensors"),
    ("embed", "MODEL", "--audio_dir", "NOWHERE", "--output_file", "OUT/e.safetensors"),
    ("embed", "MODEL", "--audio_dir", "AUDIO", "--transcripts_dir", "NOWHERE", "--output_file", "OUT/e.safetensors"),
    ("evaluate", "NOWHERE", *FOLDER),
    ("evaluate", "MODEL", "--config", "NOWHERE.yaml"),
    ("evaluate", "MODEL", "--run-dir", "OUT", *FOLDER, "data.root=NOWHERE"),
    ("evaluate", "MODEL", "--run-dir", "OUT", *FOLDER, "data.corpus=table", "data.test_splits=[NOWHERE.tsv]"),
    ("evaluate", "MODEL", "--run-dir", "OUT", *FOLDER, "evaluate.decoder=lm", "evaluate.lm_path=NOWHERE"),
    ("evaluate", "MODEL", "--run-dir", "OUT", *FOLDER, "evaluate.decoder=beam", "evaluate.lexicon=NOWHERE"),
    ("evaluate", "MODEL", "--run-dir", "OUT", *FOLDER, "evaluate.decoder=beam", "evaluate.hot_words_file=NOWHERE"),
    ("export", "NOWHERE.pt", "OUT/m.onnx"),
    ("export", "MODEL", "OUT/m.onnx", "--check", "NOWHERE"),
    ("export", "MODEL", "OUT/m.onnx", "--int8", "static", "--calibrate", "NOWHERE.jsonl.gz"),
    ("quantize", "NOWHERE", "OUT/q", "--precision", "int8"),
    ("quantize", "MODEL", "OUT/q", "--precision", "int8", "--check", "NOWHERE"),
    ("quantize", "MODEL", "OUT/q", "--precision", "int8_static", "--calibrate", "NOWHERE.wav"),
    ("convert", "NOWHERE.pt", "OUT/c"),
    ("convert", "NOWHERE.pt", "OUT/c", "--config", "MODEL"),
    ("convert", "STATE.pt", "OUT/c", "--config", "NOWHERE"),
    ("convert", "STATE.pt", "OUT/c", "--config", "NOWHERE.json"),
    ("summary", "NOWHERE"),
    ("summary", "NOWHERE.yaml"),
    ("benchmark", "MODEL", "NOWHERE"),
    ("benchmark", "MODEL", "NOWHERE.onnx"),
    ("compare", "NOWHERE"),
    ("push", "NOWHERE", "me/model", "--dry-run", "OUT/p"),
    ("configs", "NOWHERE.yaml"),
    ("compress", "--config", "NOWHERE.yaml"),
    ("compress", *RUN, "teacher.path=NOWHERE"),
    ("compress", *RUN, "student.path=NOWHERE"),
    ("compress", *RUN, "plugins=[NOWHERE.py]"),
    ("compress", *RUN, "data.augment.noise_folder=NOWHERE", "data.augment.noise_probability=0.5"),
    ("compress", *RUN, "data.corpus=librispeech", "data.root=NOWHERE"),
    ("train-task", "--config", "NOWHERE.yaml"),
    ("train-text", "--csv", "NOWHERE.csv", "--model", "MODEL", "run_dir=OUT/run"),
    ("train-text", "--config", "NOWHERE.yaml"),
    ("ask", "NOWHERE", "--audio", "AUDIO/a.wav"),
    ("describe", "--out", "OUT/d", "--prepared", "NOWHERE"),
    ("describe", "--out", "OUT/d", "--config", "demo_config.yaml", *FOLDER, "data.root=NOWHERE"),
]  # fmt: skip


@pytest.fixture(scope="module")
def places(narrow_teacher, tmp_path_factory):
    import torch

    folder = tmp_path_factory.mktemp("places")
    (folder / "audio").mkdir()
    soundfile.write(folder / "audio" / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(16_000), 16_000)
    torch.save({"a": torch.zeros(2)}, folder / "state.pt")
    return {"MODEL": narrow_teacher, "AUDIO": folder / "audio", "STATE": folder / "state", "NOWHERE": folder / NOWHERE}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_one_sentence_names_the_path(command, places, bigfoot, tmp_path):
    given = list(command)
    for name, place in (places | {"OUT": tmp_path}).items():
        given = [word.replace(name, str(place)) for word in given]
    code, _, errors = bigfoot(*given)
    assert code in (1, 2)
    lines = [line for line in errors.splitlines() if not line.startswith(("note: ", "warning: "))]
    # Problems of settings stand below a line that counts them.
    assert len(lines) == code and NOWHERE in lines[-1], errors
    assert {path.name for path in tmp_path.iterdir()} <= {"run", "data", "d", ".bigfoot-lock"}
