"""Folders that open where bigfoot is not installed: with the family's class, or with the code that they carry."""

import ast
import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCTC, Wav2Vec2CTCTokenizer

import bigfoot
from bigfoot.formats import code
from bigfoot.formats.conversion import convert_model
from bigfoot.formats.folder import LoadedModel, load_model, save_model
from bigfoot.models import BigfootForCTC

PACKAGE = Path(bigfoot.__file__).parent
SHAPES = {
    "grouped": {"conv_groups": [1, 2, 2, 4, 4, 2, 2]},
    "shared": {"conv_sharing": [[1, 2]]},
    "pruned": {"layer_num_attention_heads": [1, 3, 2], "layer_intermediate_sizes": [40, 8, 24]},
    "headless": {"conv_groups": [1, 1, 2, 1, 1, 1, 4], "ctc_head": False},
    "grouped wavlm": {"structure": "wavlm", "conv_groups": [1, 2, 2, 2, 2, 2, 2]},
    "grouped data2vec": {"structure": "data2vec", "conv_groups": [1, 2, 2, 2, 2, 2, 2]},
}
PLAIN = {"plain": ("base", "Wav2Vec2ForCTC"), "plain hubert": ("hubert-large", "HubertForCTC"),
         "plain wavlm": ("wavlm", "WavLMForCTC"), "plain data2vec": ("data2vec", "Data2VecAudioForCTC")}  # fmt: skip


@pytest.fixture(scope="module")
def models(build_model):
    plain = {name: build_model(structure) for name, (structure, _) in PLAIN.items()}
    return {name: build_model(**{"structure": "base"} | changes) for name, changes in SHAPES.items()} | plain


@pytest.fixture(scope="module")
def folders(models, processor, tmp_path_factory):
    root = tmp_path_factory.mktemp("shared code")
    for name, model in models.items():
        to = "huggingface" if name in PLAIN else "bigfoot"
        convert_model(LoadedModel(model, processor), root / name, to=to, with_code=name not in PLAIN)
    return {name: root / name for name in models}


@pytest.fixture(scope="module")
def opened(folders, plain_answers, speech):
    """One process for all, as it takes seconds to start."""
    tasks = {name: ("AutoModelForCTC+code", folders[name]) for name in SHAPES}
    tasks |= {name: ("AutoModelForCTC", folders[name]) for name in PLAIN}
    tasks |= {
        "headless": ("AutoModel+code", folders["headless"]),
        "processor": ("AutoProcessor+code", folders["grouped"]),
        "plain processor": ("AutoProcessor", folders["plain"]),
        "pipeline": ("pipeline+code", folders["grouped"]),
        "plain pipeline": ("pipeline", folders["plain"]),
    }
    return plain_answers(tasks, speech[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", [*SHAPES, *PLAIN])
def test_the_folder_opens_without_bigfoot(opened, models, speech, name):
    answer = opened[name]
    own = "SpeechEncoder" if name == "headless" else "BigfootForCTC"
    assert answer["kind"] == (PLAIN[name][1] if name in PLAIN else own)
    assert not any(answer["info"].values()), answer["info"]
    with torch.no_grad():
        ours = models[name](speech[0], output_hidden_states=True)
    tolerance = 1e-4 if name in PLAIN else 0
    for here, there in zip(ours.hidden_states, answer["hidden_states"], strict=True):
        assert (here - there).abs().max() <= tolerance
    if name != "headless":
        assert (ours.logits - answer["logits"]).abs().max() <= tolerance


@pytest.mark.slow
@pytest.mark.parametrize(("name", "model"), [("pipeline", "grouped"), ("plain pipeline", "plain")])
def test_the_pipeline_gives_the_same_text(opened, models, folders, speech, name, model):
    normalized = (speech[0] - speech[0].mean()) / speech[0].std()
    with torch.no_grad():
        ids = models[model](normalized).logits.argmax(-1)[0]
    text = Wav2Vec2CTCTokenizer.from_pretrained(folders[model]).decode(ids)
    assert opened[name]["text"] == text != ""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["processor", "plain processor"])
def test_the_processor_opens_too(opened, name):
    assert opened[name]["kind"] == "Wav2Vec2Processor" and opened[name]["text"] == "EE T"


@pytest.mark.slow
def test_the_code_is_the_packages_own(folders):
    """Every file is a module of ours with its imports made relative: nothing else differs."""
    files = sorted(path.name for path in folders["grouped"].glob("*.py"))
    assert {"bigfoot_errors.py", "bigfoot_models_ctc.py", "bigfoot_models_configuration.py"} <= set(files)
    for name in files:
        source = (folders["grouped"] / name).read_text(encoding="utf-8")
        imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
        own = [node for node in imports if isinstance(node, ast.ImportFrom) and node.level == 1]
        assert all(f"{node.module}.py" in files for node in own)
        assert all("bigfoot" not in ast.unparse(node) for node in imports if node not in own)
        (original,) = (p for p in PACKAGE.rglob("*.py") if "_".join(p.relative_to(PACKAGE.parent).parts) == name)
        lines = zip(source.splitlines(), original.read_text(encoding="utf-8").splitlines(), strict=True)
        assert all(" import " in a and " import " in b for a, b in lines if a != b)


@pytest.mark.slow
def test_our_own_classes_open_it_and_do_not_pass_the_code_on(folders, models, tmp_path):
    assert "auto_map" in json.loads((folders["grouped"] / "config.json").read_text())
    assert type(AutoModelForCTC.from_pretrained(folders["grouped"])) is BigfootForCTC
    loaded = load_model(folders["grouped"])
    save_model(loaded.model, loaded.processor, tmp_path / "next")
    assert "auto_map" not in json.loads((tmp_path / "next" / "config.json").read_text())
    assert not list((tmp_path / "next").glob("*.py"))


@pytest.mark.parametrize(
    "line", ["import bigfoot.errors", "from bigfoot import errors", "from bigfoot.models import SpeechEncoder"]
)
def test_an_import_that_cannot_travel_is_a_fault(line):
    with pytest.raises(RuntimeError):
        code._own_imports("bigfoot.models.new", line)
