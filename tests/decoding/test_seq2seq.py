"""A sequence-to-sequence teacher: its own library's texts, one by one, and hallucinations by their signs."""

import numpy as np
import pytest
import torch
import transformers

from bigfoot.data.batches import LoadedUtterance, collate
from bigfoot.decoding.seq2seq import Seq2SeqTranscriber, transcribe_seq2seq, writes_text
from bigfoot.errors import ModelError
from bigfoot.text.hallucinations import RATE, REPETITION, SILENCE, find_hallucination
from bigfoot.text.tokenizers import Processor

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
