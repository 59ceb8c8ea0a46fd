"""Decoders on a trained model: the same in every batch, and what a language model is good for."""

import numpy as np
import pytest
import torch

from bigfoot.data.batches import LoadedUtterance, collate, read_transcripts, read_utterances
from bigfoot.decoding.choose import build_search
from bigfoot.decoding.greedy import decode_greedy, transcribe_batches
from bigfoot.errors import ModelError
from bigfoot.evaluation.evaluate import evaluate_accuracy, missing_wer_reason
from bigfoot.evaluation.settings import EvaluateConfig
from bigfoot.formats.folder import LoadedModel, load_model
from bigfoot.text.ngram import train_ngram, write_arpa
from bigfoot.text.phonemes import build_phoneme_tokenizer
from bigfoot.text.tokenizers import CharTokenizer, Processor
from tests.refusals import names


@pytest.fixture(scope="module")
def teacher():
    return load_model("tiny_teacher")


@pytest.fixture(scope="module")
def decoders(small_digits, tmp_path_factory, teacher):
    pytest.importorskip("flashlight.lib.text.decoder.kenlm")
    path = tmp_path_factory.mktemp("lm") / "digits.arpa"
    write_arpa(train_ngram(read_transcripts(small_digits.manifests["train"]), 2), path)
    configs = {
        "beam": EvaluateConfig(decoder="beam"),
        "lm": EvaluateConfig(decoder="lm", lm_path=str(path), hot_words=["SEVEN"]),
    }
    return configs, {name: build_search(config, teacher.processor.tokenizer) for name, config in configs.items()}


@torch.no_grad()
def decode_in_batches(loaded, utterances, size, searches):
    """For every utterance by name: greedy text, and texts and scores of each search."""
    found = {}
    for begin in range(0, len(utterances), size):
        batch = collate(utterances[begin : begin + size], loaded.processor)
        output = loaded.model(batch.input_values, batch.attention_mask)
        greedy = decode_greedy(output.logits, output.frame_mask, loaded.processor.tokenizer)
        for row, name in enumerate(batch.ids):
            log_probs = output.logits[row, output.frame_mask[row]].log_softmax(-1).numpy()
            best = {key: search.search(log_probs)[:3] for key, search in searches.items()}
            found[name] = (greedy.texts[row], best)
    return found


@pytest.mark.slow
def test_the_same_text_and_scores_in_every_batch(teacher, small_digits, decoders):
    utterances = read_utterances(small_digits.manifests["test"])
    # And one of 5 ms, in which there is no frame.
    utterances.append(LoadedUtterance("blink", "ann", "", 0.1 * np.ones(80, np.float32)))
    alone = decode_in_batches(teacher, utterances, 1, decoders[1])
    assert alone["blink"][0] == "" and all(found[0].text == "" for found in alone["blink"][1].values())
    for size in (2, 4, 8):
        order = np.random.default_rng(size).permutation(len(utterances))
        together = decode_in_batches(teacher, [utterances[index] for index in order], size, decoders[1])
        for name, (greedy, best) in alone.items():
            assert together[name][0] == greedy
            for key, hypotheses in best.items():
                # Second and third may change places where their scores are within rounding.
                others = {hypothesis.text: hypothesis.score for hypothesis in together[name][1][key]}
                assert together[name][1][key][0].text == hypotheses[0].text
                for hypothesis in hypotheses:
                    if hypothesis.text in others:
                        assert others[hypothesis.text] == pytest.approx(hypothesis.score, abs=1e-4)


@pytest.mark.slow
def test_evaluation_by_another_decoder_keeps_what_greedy_found(teacher, small_digits, decoders):
    manifest = small_digits.manifests["test"]
    greedy = evaluate_accuracy(teacher, manifest, EvaluateConfig(bootstrap_samples=5), 0)
    assert greedy.transcripts.greedy == greedy.transcripts.hypotheses
    modelled = evaluate_accuracy(teacher, manifest, decoders[0]["lm"], 0)
    assert modelled.transcripts.greedy == greedy.transcripts.hypotheses
    assert modelled.error_rate.wer <= greedy.error_rate.wer
    assert all(word.isalpha() for text in modelled.transcripts.hypotheses for word in text.split())


def test_empty_transcripts_are_not_judged_and_short_audio_is_transcribed(teacher):
    noise = 0.1 * np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    batch = collate([LoadedUtterance("a", "ann", "", noise), LoadedUtterance("b", "bob", "ONE", noise[:80])],
                    Processor(None))  # fmt: skip
    search = build_search(EvaluateConfig(decoder="beam"), teacher.processor.tokenizer)
    found = transcribe_batches(teacher.model, [batch], teacher.processor.tokenizer, search)
    assert found.references == ["", "ONE"] and found.hypotheses[1] == ""


def test_a_tokenizer_that_is_not_the_model_s_is_refused(teacher, small_digits):
    for tokenizer in (build_phoneme_tokenizer(["SIX"]), CharTokenizer(("<pad>", *map(chr, range(97, 130))))):
        wrong = LoadedModel(teacher.model, Processor(tokenizer), [], teacher.folder)
        assert names(missing_wer_reason(wrong), "32")
        with pytest.raises(ModelError):
            evaluate_accuracy(wrong, small_digits.manifests["test"], EvaluateConfig(), 0)


def test_phonemes_are_judged_against_phonemes(teacher, small_digits):
    tokenizer = build_phoneme_tokenizer(["ZERO ONE TWO THREE FOUR FIVE SIX SEVEN EIGHT NINE"])
    batch = collate(read_utterances(small_digits.manifests["test"], 2), Processor(None))
    found = transcribe_batches(teacher.model, [batch], tokenizer)
    assert found.references == [tokenizer.to_judged(text) for text in batch.texts]
    pairs = zip(found.references, batch.texts, strict=True)
    assert all(len(judged.split()) > len(text.split()) for judged, text in pairs)
