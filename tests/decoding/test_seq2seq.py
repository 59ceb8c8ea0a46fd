"""A sequence-to-sequence teacher: its own library's texts, one by one, and hallucinations by their signs."""

import shutil

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from bigfoot.data.batches import LoadedUtterance, collate
from bigfoot.decoding.seq2seq import Seq2SeqTranscriber, transcribe_seq2seq, writes_text
from bigfoot.errors import ModelError
from bigfoot.formats.folder import load_model, save_model
from bigfoot.measure.size import count_params, measure_size
from bigfoot.text.hallucinations import RATE, REPETITION, SILENCE, find_hallucination
from bigfoot.text.tokenizers import Processor
from tests.refusals import refused

SPECIALS = ["<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"]
SHAPE = {"d_model": 16, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_layers": 1,
         "decoder_attention_heads": 2, "decoder_ffn_dim": 16, "num_mel_bins": 80}  # fmt: skip


def save_whisper(folder, seed=0):
    """Write a narrow random Whisper with its processor, whose texts are letters; return the model."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    vocabulary = {token: index for index, token in enumerate([*letters, "\u0120", *SPECIALS])}
    tokenizer = transformers.WhisperTokenizer(vocab=vocabulary, merges=[], language=None, task=None)
    ids = tokenizer.convert_tokens_to_ids(SPECIALS)
    torch.manual_seed(seed)
    config = transformers.WhisperConfig(
        **SHAPE, vocab_size=len(tokenizer), pad_token_id=ids[0], bos_token_id=ids[0], eos_token_id=ids[0],
        decoder_start_token_id=ids[1],
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
    model.generation_config = transformers.GenerationConfig(
        max_new_tokens=12, pad_token_id=ids[0], eos_token_id=ids[0], bos_token_id=ids[0], decoder_start_token_id=ids[1],
    )  # fmt: skip
    model.save_pretrained(folder)
    extractor = transformers.WhisperFeatureExtractor(feature_size=80)
    transformers.WhisperProcessor(extractor, tokenizer).save_pretrained(folder)
    return model


LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "\u2581", *"abcdefghij"]
TOKENS = {"vocab_size": len(LETTERS), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SMALL = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16,
         "encoder_attention_heads": 2, "decoder_attention_heads": 2, "decoder_start_token_id": 2}  # fmt: skip
OTHERS = {
    "moonshine": (
        transformers.MoonshineForConditionalGeneration,
        transformers.MoonshineConfig(
            **TOKENS, hidden_size=16, intermediate_size=16, encoder_num_hidden_layers=1, decoder_num_hidden_layers=1,
            encoder_num_attention_heads=2, decoder_num_attention_heads=2, decoder_start_token_id=1,
            encoder_num_key_value_heads=2, decoder_num_key_value_heads=2,
        ),
        transformers.Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True),
    ),
    "speech_to_text": (
        transformers.Speech2TextForConditionalGeneration,
        transformers.Speech2TextConfig(**TOKENS, **SMALL, d_model=16, conv_channels=16, num_beams=3),
        transformers.Speech2TextFeatureExtractor(),
    ),
    "speecht5": (
        transformers.SpeechT5ForSpeechToText,
        transformers.SpeechT5Config(
            **TOKENS, **SMALL, hidden_size=16, conv_dim=(8,) * 7, num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=2,
        ),
        transformers.SpeechT5FeatureExtractor(do_normalize=True),
    ),
}  # fmt: skip


def save_seq2seq(folder, kind, seed=0, most=None):
    """Write a narrow random model of a kind with its processor's files; return it with its extractor."""
    model_class, config, extractor = OTHERS[kind]
    torch.manual_seed(seed)
    model = model_class(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape)
    model.generation_config.max_new_tokens = most
    if kind == "speech_to_text":
        model.generation_config.num_beams = 3
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    library = Tokenizer(models.BPE({token: place for place, token in enumerate(LETTERS)}, [], unk_token="<unk>"))
    library.pre_tokenizer, library.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=library, unk_token="<unk>", pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)
    return model, extractor


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHERS)
def test_texts_of_other_kinds_are_those_of_transformers(kind, speech, tmp_path):
    theirs, extractor = save_seq2seq(tmp_path, kind)
    assert writes_text(tmp_path)
    teacher = load_model(tmp_path)
    assert teacher.model.head is None and count_params(teacher.model) == theirs.num_parameters()
    assert measure_size(teacher.model, tmp_path).macs_by_part["transformer"] > 1000
    with pytest.raises(ModelError):
        save_model(teacher.model, teacher.processor, tmp_path / "copy")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    waves = [speech[0][0].numpy()[:20_000], speech[1][0].numpy()[:7001], speech[0][0].numpy()[:1500]]
    batch = collate([LoadedUtterance(f"u{place}", "s", "", wave) for place, wave in enumerate(waves)], Processor())
    written = transcribe_seq2seq(Seq2SeqTranscriber(tmp_path), [batch]).transcripts
    for row, (text, wave) in enumerate(zip(written.hypotheses, waves, strict=True)):
        if len(wave) < 1600:
            assert (text, written.confidences[row]) == ("", 0.0)
            continue
        given = extractor([wave], sampling_rate=16_000, return_tensors="pt", return_attention_mask=True)
        most = round(30 * len(wave) / 16_000) + 16
        with torch.no_grad():
            found = theirs.generate(
                **given, do_sample=False, max_new_tokens=most, return_dict_in_generate=True, output_scores=True
            )
        expected = " ".join(tokenizer.decode(found.sequences[0], skip_special_tokens=True).split())
        dropped = find_hallucination(expected, wave)
        assert text == ("" if dropped else expected)
        if not dropped and kind != "speech_to_text":
            own = theirs.compute_transition_scores(found.sequences, found.scores, normalize_logits=True)[0]
            assert written.confidences[row] == pytest.approx(float(own.mean().exp()), rel=1e-4)
        assert 0 <= written.confidences[row] <= 1


def test_other_kinds_that_cannot_teach(tmp_path, edit_json):
    save_seq2seq(tmp_path, "moonshine")
    (tmp_path / "tokenizer.json").rename(tmp_path / "tokenizer.json.bak")
    assert not writes_text(tmp_path)
    (tmp_path / "tokenizer.json.bak").rename(tmp_path / "tokenizer.json")
    edit_json(tmp_path / "config.json", hidden_size=2**20)
    with pytest.raises(ModelError):
        load_model(tmp_path)
    edit_json(tmp_path / "config.json", hidden_size="wide")
    with pytest.raises(ModelError):
        load_model(tmp_path)
    for kind in ("pop2piano", "dia"):
        edit_json(tmp_path / "config.json", model_type=kind)
        with refused(ModelError, kind):
            load_model(tmp_path)


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whisper")
    return save_whisper(folder), folder


@pytest.mark.slow
def test_texts_are_those_of_transformers_in_any_batch(whisper, speech):
    theirs, folder = whisper
    assert writes_text(folder) and not writes_text(folder.parent)
    processor = transformers.AutoProcessor.from_pretrained(folder)
    transcriber = Seq2SeqTranscriber(folder)
    waves = [wave[0].numpy()[: 9000 + 1000 * place] for place, wave in enumerate(speech)] + [np.zeros(8000, np.float32)]
    items = [LoadedUtterance(f"u{place}", "s", "", wave) for place, wave in enumerate(waves)]
    for normalized in (False, True):
        written = transcribe_seq2seq(transcriber, [collate(items, Processor(do_normalize=normalized))])
        for text, wave in zip(written.transcripts.hypotheses, waves, strict=True):
            given = processor.feature_extractor([wave], sampling_rate=16_000, return_tensors="pt")
            with torch.no_grad():
                tokens = theirs.generate(given.input_features, do_sample=False)[0]
            expected = " ".join(processor.tokenizer.decode(tokens, skip_special_tokens=True).split())
            assert text == ("" if find_hallucination(expected, wave) else expected)
        assert written.hallucinations[SILENCE] == 1 and written.transcripts.confidences[-1] == 0.0
        assert all(0 < confidence <= 1 for confidence in written.transcripts.confidences[:1])


def test_a_folder_without_its_processor_is_refused(whisper, tmp_path):
    theirs, _ = whisper
    theirs.save_pretrained(tmp_path)
    assert not writes_text(tmp_path)
    with pytest.raises(ModelError):
        Seq2SeqTranscriber(tmp_path)


def quantize(tensors):
    name = next(name for name in tensors if name.endswith("encoder.layers.0.self_attn.q_proj.weight"))
    tensors[name] = (10 * tensors[name]).to(torch.int8)
    tensors[name.replace("weight", "SCB")] = torch.ones(16)


def forget(tensors):
    del tensors[next(name for name in tensors if name.endswith("decoder.layers.0.self_attn.q_proj.weight"))]


@pytest.mark.parametrize("change", [quantize, forget])
@pytest.mark.parametrize("kind", ["whisper", "moonshine"])
def test_weights_without_their_scales_or_their_decoder_teach_nothing(kind, change, whisper, tmp_path):
    folder = tmp_path / "teacher"
    if kind == "whisper":
        shutil.copytree(whisper[1], folder)
    else:
        save_seq2seq(folder, kind)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with refused(ModelError, "q_proj.weight"):
        Seq2SeqTranscriber(folder)
    if change is quantize:
        with refused(ModelError, "int8"):
            load_model(folder)


@pytest.mark.parametrize(
    ("text", "seconds", "sign"),
    [
        ("", 3.0, None),
        ("seven three", 1.5, None),
        ("nine nine nine nine", 2.0, None),
        ("one two three four five six", 0.4, RATE),
        ("thanks for watching " * 4, 4.0, REPETITION),
        ("ha " * 30, 20.0, REPETITION),
        ("x" * 200, 20.0, REPETITION),
    ],
)
def test_signs_of_a_hallucination(text, seconds, sign):
    noise = 0.1 * np.random.default_rng(0).standard_normal(round(16_000 * seconds)).astype(np.float32)
    assert find_hallucination(text, noise) == sign
    assert find_hallucination(text, noise * 1e-4) == (SILENCE if text else None)
