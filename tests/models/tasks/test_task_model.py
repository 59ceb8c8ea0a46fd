"""A model with a task head: an answer never depends on the batch, and a folder gives the same answers back."""

import numpy as np
import pytest
import torch

from bigfoot.errors import ModelError
from bigfoot.formats.folder import load_model, save_model
from bigfoot.models import BigfootConfig, BigfootForCTC
from bigfoot.models.reshape import with_new_head, with_task_head, without_head
from bigfoot.models.tasks.pooling.registry import POOLINGS
from bigfoot.models.tasks.shape import KINDS, POOLING_NAMES
from bigfoot.runtime.task_answers import compute_scores
from bigfoot.tasks.answers import Answers, task_facts
from bigfoot.tasks.metrics import score_answers

KIND_CHANGES = {
    "single_label": {"kind": "single_label", "labels": ["a", "b", "c"]},
    "multi_label": {"kind": "multi_label", "labels": ["a", "b"]},
    "ordinal": {"kind": "ordinal", "labels": ["low", "middle", "high"], "link": "coral"},
    "regression": {"kind": "regression", "labels": ["age"], "center": [30.0], "scale": [12.0]},
}
FAMILIES = ("base", "large-lv60", "hubert", "hubert-large", "wavlm", "wavlm-large", "data2vec")


@pytest.fixture(scope="module")
def utterances(speech):
    longest = max(speech, key=lambda wave: wave.shape[1])[0][:30_000]
    return [longest[:4001], longest, speech[0][0, 3000:3401], speech[1][0, :9999], longest[:17_000], longest[5:211],
            longest[100:12_345], longest[:800]]  # fmt: skip


def collate(utterances):
    size = max(len(wave) for wave in utterances) + 500
    mask = torch.stack([torch.arange(size) < len(wave) for wave in utterances])
    values = torch.full(mask.shape, 7.0)
    for row, wave in enumerate(utterances):
        values[row, : len(wave)] = wave
    return values, mask


def build_task_model(build_model, structure, pooling, layers="last", **shape):
    fields = {"labels": ["a", "b", "c"], "pooling": pooling, "layers": layers, "hidden_sizes": [10]} | shape
    model = with_task_head(build_model(structure), fields, seed=3)
    with torch.no_grad():
        for parameter in model.task_head.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    return model


def measure(model, logits):
    """Metrics of logits against labels that are right, wrong and right again; confidences to four digits."""
    facts, scale = task_facts(model.task_head.shape), 1 / logits.std()
    truth = np.arange(len(logits))[:, None] % 3
    scores = compute_scores((scale * logits).double().numpy(), facts)
    names = [str(row) for row in range(len(logits))]
    found = score_answers(Answers(names, names, truth.astype(float), scores, facts), "macro_f1", samples=0, seed=0)
    return {**found.metrics, "ece": round(found.metrics["ece"], 4)}, found.per_class, found.confusion


@pytest.mark.slow
@pytest.mark.parametrize("structure", FAMILIES)
def test_pooled_logits_and_metrics_are_the_same_alone_and_in_every_shuffled_batch(structure, build_model, utterances):
    """One pass of the encoder serves the heads of all poolings; the first is the model's own, with energies."""
    models = [
        build_task_model(build_model, structure, pooling, "weighted" if pooling != "last" else "last",
                         pooling_heads=3 if POOLINGS[pooling].uses_heads else 1,
                         fbank=8 if pooling == POOLING_NAMES[0] else 0, pitch=6 if pooling == POOLING_NAMES[0] else 0)
        for pooling in POOLING_NAMES
    ]  # fmt: skip

    def answer(values, mask):
        found = models[0](values, mask, output_hidden_states=True)
        states = found.last_hidden_state, found.hidden_states, found.frame_mask
        return [(found.task_logits, found.pooled), *(model.task_head(*states)[:2] for model in models[1:])]

    with torch.no_grad():
        alone = [answer(*collate([wave])) for wave in utterances]
        expected = [torch.cat([one[head][0] for one in alone]) for head in range(len(models))]
        for size in (1, 2, 4, 8):
            order = torch.randperm(len(utterances), generator=torch.Generator().manual_seed(size))
            batches = [answer(*collate([utterances[row] for row in rows])) for rows in order.split(size)]
            for head, model in enumerate(models):
                logits, pooled = (torch.cat([b[head][part] for b in batches])[order.argsort()] for part in (0, 1))
                assert (logits - expected[head]).abs().max() < 1e-5
                assert (pooled - torch.cat([one[head][1] for one in alone])).abs().max() < 1e-5
                assert measure(model, logits) == measure(model, expected[head])
        whole = models[0](utterances[1][None])
    assert torch.allclose(whole.task_logits, alone[1][0][0], atol=1e-5)
    assert alone[1][0][1].shape[1] == models[0].config.hidden_size + 16 + 12
    assert alone[1][0][1][0, -28:].abs().min() > 0 and not alone[5][0][1][0, -28:].any()  # 206 samples have no frame
    for head in range(len(models)):
        assert len({tuple(one[head][0][0].tolist()) for one in alone}) == len(utterances)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_gives_the_same_logits_back(kind, build_model, utterances, processor, tmp_path):
    model = build_task_model(build_model, "base", "attention", "weighted", **KIND_CHANGES[kind])
    save_model(model, processor, tmp_path / "model")
    loaded = load_model(tmp_path / "model").model
    again = BigfootForCTC.from_pretrained(tmp_path / "model").eval()
    with torch.no_grad():
        expected = model(*collate(utterances)).task_logits
        for found in (loaded, again):
            assert torch.equal(found(*collate(utterances)).task_logits, expected)
    assert loaded.head is None
    assert loaded.config.task["kind"] == kind
    assert model(*collate(utterances)).task_logits.shape[1] == (2 if kind in ("ordinal", "multi_label") else
                                                               {"single_label": 3, "regression": 1}[kind])  # fmt: skip


@pytest.mark.slow
def test_the_encoder_of_a_task_model_opens_in_plain_transformers(build_model, processor, tmp_path, utterances):
    from transformers import Wav2Vec2Model

    model = build_task_model(build_model, "base", "mean")
    save_model(model, processor, tmp_path / "model")
    plain, info = Wav2Vec2Model.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not info["missing_keys"]
    with torch.no_grad():
        expected = model(utterances[1][None]).last_hidden_state
        assert torch.allclose(plain.eval()(utterances[1][None]).last_hidden_state, expected, atol=1e-5)


def test_weights_follow_the_seed(build_model):
    model, shape = build_model("base"), {"labels": ["a", "b"], "pooling": "attention", "hidden_sizes": [8]}
    before = torch.get_rng_state()
    one, same, other = (with_task_head(model, shape, seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    states = [each.task_head.state_dict() for each in (one, same, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])
    encoder = model.speech_encoder.state_dict()
    assert all(torch.equal(tensor, encoder[name]) for name, tensor in one.speech_encoder.state_dict().items())


def test_heads_come_and_go(build_model):
    task = with_task_head(build_model("base"), {"labels": ["a", "b"]}, 0)
    assert set(task.parts()) == {"feature_encoder", "feature_projection", "encoder", "task_head"}
    assert with_task_head(task, None, 0).task_head is None
    assert without_head(task).task_head is None
    renewed = with_new_head(task, 5, 0, seed=1)
    assert renewed.task_head is None and renewed.head.out_features == 5


def test_layer_weights_go_with_their_layers(build_model, processor):
    from bigfoot.compress import Depth, depth

    model = build_task_model(build_model, "base", "mean", "weighted")
    with torch.no_grad():
        model.task_head.layer_weights.copy_(torch.arange(4.0))
    student, _ = depth.apply(model, Depth(2, "last_k"))
    assert student.task_head.layer_weights.tolist() == [0.0, 2.0, 3.0]
    assert torch.equal(student.task_head.output.weight, model.task_head.output.weight)


@pytest.mark.parametrize(
    "task",
    [
        {"labels": []}, {"labels": ["a"]}, {"labels": ["a", "a"]}, {"labels": ["a", ""]}, {"labels": "ab"},
        {"labels": ["a", "b"], "kind": "sequence"}, {"labels": ["a", "b"], "pooling": "median"},
        {"labels": ["a", "b"], "pooling_heads": 7}, {"labels": ["a", "b"], "hidden_sizes": [0]},
        {"labels": ["a", "b"], "hidden_sizes": 3}, {"labels": ["a", "b"], "dropout": 2}, {"labels": ["a", "b"], "x": 1},
        {"labels": ["a", "b"], "center": [1.0]}, {"labels": ["a"], "kind": "regression", "scale": [0.0]},
        {"labels": ["a"], "kind": "regression", "center": [1.0, 2.0]}, {"labels": ["a"], "kind": "ordinal"}, 7,
        {"labels": ["a", "b"], "hidden_sizes": [10**9]}, {"labels": ["a", "b"], "pooling_heads": True},
    ],
)  # fmt: skip
def test_shapes_that_cannot_be_built(task, narrow_fields):
    with pytest.raises(ModelError):
        BigfootConfig(**narrow_fields, task=task)


def test_other_formats_have_no_place_for_it(build_model, processor, tmp_path):
    model = with_task_head(build_model("base"), {"labels": ["a", "b"]}, 0)
    with pytest.raises(ModelError):
        save_model(model, processor, tmp_path / "model", to="huggingface")
    assert not (tmp_path / "model").exists()
