import pytest
import torch

from bigfoot.data.batches import read_utterances
from bigfoot.data.cuts import write_relabelled
from bigfoot.errors import ModelError
from bigfoot.evaluation.evaluate import evaluate_accuracy, measure_batch_invariance, missing_wer_reason
from bigfoot.evaluation.settings import EvaluateConfig
from bigfoot.formats.folder import LoadedModel, load_model
from bigfoot.models import feature_encoder
from bigfoot.text.tokenizers import CharTokenizer, Processor
from tests.refusals import names


@pytest.fixture(params=["base", "large-lv60"])
def loaded(request, build_model, processor):
    model = build_model(request.param, seed=4)
    with torch.no_grad():
        model.head.weight *= 100
    return LoadedModel(model, processor)


@pytest.mark.slow
def test_texts_and_wer_are_those_of_any_batch_size(loaded, small_digits):
    settings = [EvaluateConfig(batch_size=size, bootstrap_samples=50) for size in (1, 2, 4, 8)]
    found = [evaluate_accuracy(loaded, small_digits.manifests["test"], config, 1) for config in settings]
    texts = [dict(zip(a.transcripts.ids, a.transcripts.hypotheses, strict=True)) for a in found]
    assert len(set(texts[0].values())) > 2, "the model says the same of all; that shows nothing"
    assert texts[1:] == texts[:1] * 3
    rates = [(a.error_rate.words, a.error_rate.wer, a.error_rate.cer) for a in found]
    assert rates[1:] == rates[:1] * 3
    assert found[0].error_rate.num_utterances == 9


@pytest.mark.grid
def test_padding_changes_nothing_and_the_field_says_so(loaded, small_digits):
    invariance = measure_batch_invariance(loaded, small_digits.manifests["test"])
    assert invariance.invariant and invariance.num_utterances == 9
    # The head is a hundred times as loud as it should be, and rounding with it.
    assert invariance.max_difference < 1e-4


@pytest.mark.slow
def test_a_group_norm_that_depends_on_padding_is_found_out(build_model, processor, small_digits, monkeypatch):
    loaded = LoadedModel(build_model("base", seed=4), processor)
    assert measure_batch_invariance(loaded, small_digits.manifests["test"]).invariant
    plain = feature_encoder.norm_and_gelu
    monkeypatch.setattr(feature_encoder, "norm_and_gelu", lambda x, _lengths, *norm: plain(x, None, *norm))
    found = measure_batch_invariance(loaded, small_digits.manifests["test"])
    assert not found.invariant and found.max_difference > 1e-3


def test_a_model_of_no_numbers_is_not_called_invariant(build_model, processor, small_digits):
    broken = LoadedModel(build_model("base"), processor)
    with torch.no_grad():
        broken.model.head.weight.fill_(torch.nan)
    found = measure_batch_invariance(broken, small_digits.manifests["test"])
    assert not found.invariant and found.max_difference > 1e30


def test_a_transcript_beyond_the_vocabulary_still_counts(build_model, small_digits):
    abc = Processor(CharTokenizer(("<pad>", "|", "A", "B", "C")))
    found = evaluate_accuracy(
        LoadedModel(build_model("base", vocab_size=5), abc), small_digits.manifests["test"], EvaluateConfig(), 1
    )
    assert found.error_rate.num_words > 9 and found.error_rate.words.hits == 0


def test_utterances_without_a_transcript_are_not_judged(loaded, small_digits, tmp_path):
    manifest, spoken = small_digits.manifests["test"], read_utterances(small_digits.manifests["test"])
    kept = {item.id: item.text for item in spoken[:4]}
    for name, texts in (("some", kept), ("none", {})):
        write_relabelled(manifest, texts, tmp_path / f"{name}.jsonl.gz")
    whole = evaluate_accuracy(loaded, manifest, EvaluateConfig(), 1).transcripts
    some = evaluate_accuracy(loaded, tmp_path / "some.jsonl.gz", EvaluateConfig(), 1)
    assert dict(zip(some.transcripts.ids, some.transcripts.references, strict=True)) == kept
    hypotheses = dict(zip(whole.ids, whole.hypotheses, strict=True))
    assert some.transcripts.hypotheses == [hypotheses[name] for name in some.transcripts.ids]
    assert some.error_rate.num_utterances == 4
    none = evaluate_accuracy(loaded, tmp_path / "none.jsonl.gz", EvaluateConfig(), 1).error_rate
    assert (none.wer, none.wer_low, none.cer, none.num_utterances) == (None, None, None, 0)


def test_why_there_is_no_wer(other_teachers, small_digits):
    headless, mute = load_model(other_teachers["headless"]), load_model(other_teachers["mute"])
    assert missing_wer_reason(headless) == "no CTC head"
    assert names(missing_wer_reason(mute), "vocab.json")
    for loaded in (headless, mute):
        with pytest.raises(ModelError):
            evaluate_accuracy(loaded, small_digits.manifests["test"], EvaluateConfig(), 1)
