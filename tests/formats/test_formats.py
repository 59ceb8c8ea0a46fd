"""How a model is found, whatever format it lies in."""

import shutil

import pytest
import torch

from bigfoot.errors import ModelError
from bigfoot.formats.checkpoint import find_checkpoint
from bigfoot.formats.folder import load_config, load_model, outline_model, save_model
from bigfoot.formats.registry import FORMATS, find_format, find_weight_files
from tests.refusals import refused


@pytest.fixture(scope="module")
def places(build_model, processor, tmp_path_factory):
    """The same model in every format that can say it."""
    root, model = tmp_path_factory.mktemp("formats"), build_model("base")
    for name in FORMATS:
        save_model(model, processor, root / name, [{"step": "made"}], to=name)
    return {name: root / name for name in FORMATS}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_recognized_and_gives_the_same(name, places, build_model, processor, speech):
    assert find_format(places[name]).name == name
    loaded, given = load_model(places[name]), build_model("base")
    assert loaded.processor.tokenizer == processor.tokenizer and loaded.processor.do_normalize
    assert loaded.history == [{"step": "made"}] and loaded.folder == places[name]
    with torch.no_grad():
        assert torch.equal(loaded.model(speech[0]).logits, given(speech[0]).logits)
    outline = outline_model(places[name])
    assert outline.config.conv_dim == given.config.conv_dim and outline.processor == loaded.processor
    assert load_config(places[name]).num_hidden_layers == 3
    assert sum(file.stat().st_size for file in find_weight_files(places[name])) > 4 * given.num_parameters()


def test_a_file_is_as_good_as_its_folder(places):
    file = find_checkpoint(places["torchaudio"])
    assert file == places["torchaudio"] / "model.pt"
    by_file, by_folder = load_model(file), load_model(places["torchaudio"])
    assert by_file.folder == file and by_file.processor == by_folder.processor
    assert by_file.model.state_dict().keys() == by_folder.model.state_dict().keys()
    assert find_weight_files(file) == [file]


def test_several_checkpoints_in_a_folder_ask_for_a_name(places, tmp_path):
    for name in ("a.pt", "b.pth"):
        shutil.copy(places["torchaudio"] / "model.pt", tmp_path / name)
    with refused(ModelError, "2", "a.pt", "b.pth"):
        load_model(tmp_path)


def test_what_is_no_model_is_refused(tmp_path, places):
    (tmp_path / "notes.txt").write_text("no model")
    with pytest.raises(ModelError):
        load_model(tmp_path)
    with pytest.raises(ModelError):
        load_model(tmp_path / "notes.txt")
    (tmp_path / "broken.pt").write_bytes(b"PK\x03\x04 and no more")
    with refused(ModelError, "broken.pt"):
        load_model(tmp_path / "broken.pt")
    with pytest.raises(ModelError):
        load_model(places["bigfoot"], dictionary=tmp_path / "notes.txt")
