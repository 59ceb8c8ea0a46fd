import pytest
import torch

from bigfoot.audio.files import write_audio
from bigfoot.decoding.settings import DecodingConfig
from bigfoot.errors import DataError, ModelError
from bigfoot.evaluation.generate import generate_text
from bigfoot.formats.folder import LoadedModel, load_model, save_model
from bigfoot.models.reshape import with_decoder
from bigfoot.text.tokenizers import CharTokenizer, Processor
from tests.refusals import refused


@pytest.fixture
def loaded(build_model, processor):
    model = with_decoder(build_model("base"), {"hidden_size": 16, "num_layers": 1, "num_heads": 2}, seed=1)
    return LoadedModel(model, processor)


@pytest.fixture
def recording(speech, tmp_path):
    write_audio(tmp_path / "speech.wav", speech[0][0].numpy() / 20)
    return tmp_path / "speech.wav"


@pytest.mark.slow
@torch.no_grad()
def test_text_goes_on_from_the_prompt(loaded, recording, bigfoot, tmp_path):
    config = DecodingConfig(beam_size=2, max_tokens=5)
    found = generate_text(loaded, recording, "ONE", config)
    assert len(found.text) <= 5 and found.score != generate_text(loaded, recording, "TEA", config).score
    save_model(loaded.model, loaded.processor, tmp_path / "model")
    options = ("--audio", recording, "--prompt", "ONE", "--beam-size", 2, "--max-tokens", 5)
    code, output, errors = bigfoot("generate", tmp_path / "model", *options)
    assert (code, output.rstrip("\n")) == (0, found.text), errors


def test_what_cannot_be_generated(loaded, recording, build_model, processor):
    with refused(DataError, "1"):
        generate_text(loaded, recording, "1", DecodingConfig())
    with pytest.raises(ModelError):
        generate_text(LoadedModel(build_model("base"), processor), recording, "", DecodingConfig())
    with pytest.raises(ModelError):
        generate_text(LoadedModel(loaded.model, Processor()), recording, "", DecodingConfig())
    with refused(ModelError, "40", "32"):
        wrong = CharTokenizer(tuple(map(chr, range(97, 97 + 40))), blank_token="a")
        generate_text(LoadedModel(loaded.model, Processor(wrong)), recording, "", DecodingConfig())
    assert load_model("tiny_teacher").model.decoder is None
