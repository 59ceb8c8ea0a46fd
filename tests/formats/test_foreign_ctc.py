"""CTC models of transformers that are none of our families: their numbers, alone and in a batch; hostile folders."""

import json
import shutil

import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from bigfoot.errors import ModelError
from bigfoot.formats.folder import load_model, outline_model, save_model
from bigfoot.models.frames.timing import frame_timing
from tests.refusals import names, refused

LETTERS = ["<unk>", "\u2581", "a", "b", "n", "o", "e"]
ENCODER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
           "subsampling_conv_channels": 8}  # fmt: skip
KINDS = {
    "parakeet": (
        transformers.ParakeetForCTC, transformers.ParakeetCTCConfig, transformers.ParakeetEncoderConfig,
        transformers.ParakeetFeatureExtractor, {"subsampling_factor": 4, "num_mel_bins": 80},
    ),
    "lasr": (
        transformers.LasrForCTC, transformers.LasrCTCConfig, transformers.LasrEncoderConfig,
        transformers.LasrFeatureExtractor, {"num_mel_bins": 128},
    ),
}  # fmt: skip


def save_foreign(folder, kind, letters=LETTERS, seed=0, confidence=1.0):
    """Write a narrow random model with a vocabulary of letters, the blank last, its logits so many times larger."""
    model_class, config_class, encoder_class, extractor_class, more = KINDS[kind]
    torch.manual_seed(seed)
    encoder = encoder_class(**ENCODER, **more).to_dict()
    config = config_class(vocab_size=len(letters) + 1, pad_token_id=len(letters), encoder_config=encoder)
    model = model_class(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
        model.ctc_head.weight *= confidence
    model.save_pretrained(folder)
    extractor_class(feature_size=more["num_mel_bins"]).save_pretrained(folder)
    library = Tokenizer(models.BPE({letter: index for index, letter in enumerate(letters)}, [], unk_token="<unk>"))
    library.pre_tokenizer, library.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=library, unk_token="<unk>", pad_token="<pad>"
    ).save_pretrained(folder)
    return model


@pytest.fixture(scope="module", params=[pytest.param(kind, marks=pytest.mark.grid) for kind in KINDS])
def foreign(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return save_foreign(folder, request.param), folder


def in_one_batch(waves):
    values = torch.full((len(waves), max(map(len, waves)) + 100), 7.0)
    mask = torch.zeros(values.shape, dtype=torch.bool)
    for row, wave in enumerate(waves):
        values[row, : len(wave)], mask[row, : len(wave)] = wave, True
    return values, mask


def test_numbers_are_those_of_transformers_alone_and_in_a_batch(foreign, speech):
    theirs, folder = foreign
    model = load_model(folder).model
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    waves = [speech[0][0, :20_000], speech[1][0, :7001], speech[0][0, 3000:12_345], speech[1][0, :400]]
    with torch.no_grad():
        together = model(*in_one_batch(waves), output_hidden_states=True)
        for row, wave in enumerate(waves[:3]):
            given = extractor([wave.numpy()], sampling_rate=16_000, return_tensors="pt", return_attention_mask=True)
            expected = theirs(**given, output_hidden_states=True)
            real = int(together.frame_mask[row].sum())
            assert abs(expected.logits.shape[1] - real) <= 1
            torch.testing.assert_close(together.logits[row, :real], expected.logits[0, :real], atol=1e-4, rtol=0)
            assert len(together.hidden_states) == len(expected.hidden_states) == 3
            for ours, other in zip(together.hidden_states[:2], expected.hidden_states[:2], strict=True):
                torch.testing.assert_close(ours[row, :real], other[0, :real], atol=1e-4, rtol=0)
            alone = model(wave[None]).logits
            torch.testing.assert_close(together.logits[row, :real], alone[0, :real], atol=1e-5, rtol=0)
    assert not together.frame_mask[3].any()


def test_the_outline_says_when_frames_are(foreign):
    _, folder = foreign
    outline = outline_model(folder)
    timing = frame_timing(outline.config)
    assert timing.period == 640.0 and timing.first in (0.0, 1159.5)
    assert outline.processor.do_normalize is False
    assert outline.processor.tokenizer.decode_ctc([2, 2, 7, 2, 1, 3]) == "aa b"


@pytest.mark.slow
def test_an_impulse_is_in_the_frames_that_the_timing_says(foreign):
    # What moves when a click moves: the frame of most change stands where its centre should be.
    _, folder = foreign
    model = load_model(folder).model
    timing = frame_timing(model.config)
    noise = 0.01 * torch.randn(1, 32_000, generator=torch.Generator().manual_seed(1))
    for sample in (12_000, 18_000):
        clicked = noise.clone()
        clicked[0, sample : sample + 160] += 0.5
        with torch.no_grad():
            states = [model(wave, output_hidden_states=True).hidden_states[0][0] for wave in (noise, clicked)]
        # The normalization over all frames moves them all a little, which the power leaves out.
        change = (states[1] - states[0]).norm(dim=-1)
        weight = (change / change.max()) ** 8
        frame = float((weight * torch.arange(len(weight))).sum() / weight.sum())
        assert abs(timing.first + timing.period * frame - (sample + 80)) < timing.period


def test_hostile_folders_are_refused(foreign, tmp_path):
    _, folder = foreign
    for name, change in (
        ("wide", {"encoder_config": {"hidden_size": 2**20}}),
        ("odd", {"encoder_config": {"hidden_size": "wide"}}),
        ("blank", {"pad_token_id": 99}),
    ):
        copy = tmp_path / name
        shutil.copytree(folder, copy)
        config = json.loads((copy / "config.json").read_text())
        for key, value in change.items():
            config[key] = config[key] | value if isinstance(value, dict) else value
        (copy / "config.json").write_text(json.dumps(config))
        with pytest.raises(ModelError):
            load_model(copy)
    lame = tmp_path / "lame"
    shutil.copytree(folder, lame)
    (lame / "preprocessor_config.json").unlink(missing_ok=True)
    (lame / "processor_config.json").unlink(missing_ok=True)
    with refused(ModelError, "preprocessor_config.json"):
        load_model(lame)


def test_a_vocabulary_that_is_not_there_is_asked_for(foreign, tmp_path, caplog):
    shutil.copytree(foreign[1], tmp_path / "mute", ignore=shutil.ignore_patterns("tokenizer.json"))
    with caplog.at_level("WARNING", "bigfoot"):
        assert load_model(tmp_path / "mute").processor.tokenizer is None
    assert names(caplog.text, "tokenizer.json")


def test_code_of_a_folder_is_not_run(foreign, tmp_path):
    _, folder = foreign
    copy = tmp_path / "code"
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCTC": "evil.Model", "AutoConfig": "evil.Config"}
    config["attn_implementation"] = config["_attn_implementation"] = "someone/kernel"
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    load_model(copy)
    assert not (tmp_path / "ran").exists()


def test_a_loaded_one_is_kept_as_ours_and_is_not_written_as_theirs(foreign, tmp_path):
    _, folder = foreign
    loaded = load_model(folder)
    with pytest.raises(ModelError):
        save_model(loaded.model, loaded.processor, tmp_path / "theirs", to="huggingface")
