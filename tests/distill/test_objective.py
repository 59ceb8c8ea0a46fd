import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import data, floats, lists, sampled_from

from bigfoot.data.batches import Batch
from bigfoot.distill import (
    AlignmentLoss,
    AttentionLoss,
    ConvFeaturesLoss,
    CTCLoss,
    FeaturePenalty,
    GramLoss,
    HeadsLoss,
    HiddenLoss,
    IntermediateCTCLoss,
    LogitCosineLoss,
    LogitKLLoss,
    LogMelLoss,
    LossesConfig,
    LossInputs,
    MaskedHiddenLoss,
    Shapes,
    ValueRelationLoss,
)
from bigfoot.distill.losses import feature_penalty, frame_distance, logit_kl
from bigfoot.distill.objective import Objective, objective_problems
from bigfoot.distill.registry import losses_by_name
from bigfoot.distill.targets import compute_targets, freeze_teacher
from bigfoot.distill.terms.delayed_kl import DelayedKLLoss
from bigfoot.errors import TrainingError
from bigfoot.models.attention import SelfAttention
from bigfoot.models.ctc import compute_ctc_losses
from tests.refusals import refused


def weigh(
    kl=0.0, hidden=0.0, ctc=0.0, temperature=1.0, distance="mse", matches="proportional",
    attention=None, conv_features=None, logit_cosine=0.0, feature_penalty=0.0, **others,
):  # fmt: skip
    return LossesConfig(
        logit_kl=LogitKLLoss(kl, temperature),
        hidden=HiddenLoss(hidden, distance, matches),
        ctc=CTCLoss(ctc),
        attention=attention or AttentionLoss(),
        conv_features=conv_features or ConvFeaturesLoss(),
        logit_cosine=LogitCosineLoss(logit_cosine),
        feature_penalty=FeaturePenalty(feature_penalty),
        **others,
    )


EVERYTHING = weigh(
    0.7, 0.3, 0.2, attention=AttentionLoss(0.5), conv_features=ConvFeaturesLoss(0.4), logit_cosine=0.6,
    feature_penalty=0.1, masked_hidden=MaskedHiddenLoss(0.8), heads=HeadsLoss(0.9),
    gram=GramLoss(1.1), value_relation=ValueRelationLoss(1.2), intermediate_ctc=IntermediateCTCLoss(1.3),
    alignment=AlignmentLoss(1.4), log_mel=LogMelLoss(1.5), delayed_kl=DelayedKLLoss(1.6),
)  # fmt: skip

TASK_UNITS = ("targets", "utterances", "hypotheses")
WITHOUT_DECODER = [
    name
    for name, loss in losses_by_name(LossesConfig()).items()
    if not loss.needs_decoder and loss.unit not in TASK_UNITS
]
WEIGHTS = (0.7, 0.3, 0.5, 0.4, 0.6, 0.1, 0.8, 0.9, 1.1, 1.2, 0.2, 1.3, 1.4, 1.5, 1.6)


@pytest.fixture
def narrow_student(build_model):
    return build_model("base", seed=3, num_hidden_layers=2, hidden_size=16, num_attention_heads=2)


@pytest.fixture(scope="module")
def batch(speech):
    waves = [speech[0][0, :9000], speech[1][0, :16_000], speech[0][0, :399]]
    mask = torch.stack([torch.arange(16_000) < len(wave) for wave in waves])
    values = torch.stack([torch.nn.functional.pad(wave, (0, 16_000 - len(wave))) for wave in waves])
    labels = torch.tensor([[5, 6, -100], [7, 8, 9], [-100, -100, -100]])
    times = torch.full((3, 3, 2), torch.nan)
    times[1] = torch.tensor([[0.0, 4000.0], [4000.0, 9000.0], [9000.0, 12_000.0]])
    return Batch(values, mask, labels, ["a", "b", "c"], ["", "", ""], ["s", "s", "s"], label_times=times)


def real_rows(batch):
    """Each utterance alone, unpadded, where it has a frame."""
    for values, mask, labels in zip(batch.input_values, batch.attention_mask, batch.labels, strict=True):
        if int(mask.sum()) >= 400:
            yield values[mask][None], labels[labels >= 0][None]


@pytest.mark.parametrize("distance", ["mse", "l1", "cosine"])
def test_terms_are_loops_over_utterances_alone(student, teacher, batch, distance):
    objective = Objective(weigh(1.0, 0.5, 0.1, 2.0, distance), student, teacher)
    terms = objective(batch, {})
    expected = dict.fromkeys(("logit_kl", "hidden", "ctc"), 0.0)
    with torch.no_grad():
        for wave, labels in real_rows(batch):
            here, there = (model(wave, output_hidden_states=True) for model in (student, teacher))
            mask = torch.ones(here.logits.shape[:2], dtype=torch.bool)
            expected["logit_kl"] += float(logit_kl(here.logits, there.logits, mask, 2.0).total)
            for i, j in ((0, 0), (1, 2), (2, 4)):
                pair = here.hidden_states[i], there.hidden_states[j]
                expected["hidden"] += float(frame_distance(*pair, mask, distance).total) / 3
            expected["ctc"] += float(compute_ctc_losses(here.logits, labels, None, 0).sum())
    for name, value in expected.items():
        assert float(terms[name].total.detach()) == pytest.approx(value, rel=1e-4), name
    assert {name: int(term.count) for name, term in terms.items()} == objective.count_units(batch)
    assert objective.count_units(batch) == {"logit_kl": 27 + 49, "hidden": 27 + 49, "ctc": 5}


@pytest.mark.parametrize(
    ("losses", "names"),
    [
        (weigh(kl=2.0), {"logit_kl": 2.0}),
        (weigh(hidden=0.5), {"hidden": 0.5}),
        (weigh(ctc=1.0), {"ctc": 1.0}),
        (weigh(1.0, 2.0, 3.0), {"logit_kl": 1.0, "hidden": 2.0, "ctc": 3.0}),
        (weigh(attention=AttentionLoss(0.3)), {"attention": 0.3}),
        (weigh(conv_features=ConvFeaturesLoss(2.0)), {"conv_features": 2.0}),
        (weigh(logit_cosine=1.5), {"logit_cosine": 1.5}),
        (weigh(feature_penalty=10.0), {"feature_penalty": 10.0}),
        (EVERYTHING, dict(zip(WITHOUT_DECODER, WEIGHTS, strict=True))),
    ],
)
def test_terms_of_weight_zero_are_not_computed(student, teacher, batch, losses, names):
    objective = Objective(losses, student, teacher)
    assert objective.weights == names
    assert objective(batch, {}).keys() == names.keys() == objective.count_units(batch).keys()


def test_a_model_that_is_its_teacher_has_nothing_to_learn(teacher, batch):
    terms = Objective(weigh(1.0, 1.0), copy.deepcopy(teacher), teacher)(batch, {})
    assert float(terms["logit_kl"].mean().detach()) == pytest.approx(0.0, abs=1e-6)
    assert float(terms["hidden"].mean().detach()) == 0.0


def test_the_teacher_is_no_part_of_it(student, teacher, batch):
    objective = Objective(weigh(1.0, 1.0), student, teacher)
    known = {parameter.data_ptr() for parameter in teacher.parameters()}
    assert not known & {parameter.data_ptr() for parameter in objective.parameters()}
    assert {name.split(".")[0] for name in objective.state_dict()} == {"student", "steps_done"}
    assert teacher not in list(objective.modules())


def test_the_teacher_stays_frozen_and_in_eval(student, teacher, batch):
    teacher.train()
    objective = Objective(weigh(1.0, 1.0, 1.0), student, teacher)
    objective.train()
    assert student.training
    assert not any(module.training for module in teacher.modules())
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    terms = objective(batch, {})
    sum(term.mean() for term in terms.values()).backward()
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    # In the post-norm encoder only the vector of masked frames has nothing to do without a mask.
    idle = {name for name, p in student.named_parameters() if p.grad is None}
    assert idle == {"wav2vec2.masked_spec_embed"}
    assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)


def test_a_teacher_in_training_mode_is_an_error(student, teacher, batch):
    objective = Objective(weigh(1.0), student, teacher)
    teacher.train()
    with refused(TrainingError, "freeze_teacher"):
        objective(batch, {})
    with pytest.raises(TrainingError):
        compute_targets(teacher, batch.input_values, batch.attention_mask)
    targets = compute_targets(freeze_teacher(teacher), batch.input_values, batch.attention_mask)
    assert targets.hidden_states is None
    assert not targets.logits.requires_grad


def test_masks_are_for_the_student_alone(student, teacher, batch):
    mask = torch.zeros(3, 49, dtype=torch.bool)
    mask[:2, 4:20] = True
    objective = Objective(weigh(1.0), student, teacher)
    seen = []
    for model in (student, teacher):
        model.speech_encoder.register_forward_pre_hook(
            lambda _, args, kwargs: seen.append(kwargs.get("mask_time_indices")), with_kwargs=True
        )
    with torch.no_grad():
        masked, plain = objective(batch, {"mask_time_indices": mask}), objective(batch, {})
    assert seen[0] is mask
    assert seen[1] is None
    assert masked["logit_kl"].total != plain["logit_kl"].total


def test_projections_learn_where_widths_differ(narrow_student, teacher, batch):
    objective = Objective(weigh(hidden=1.0, matches=[[2, 4], [1, 2]]), narrow_student, teacher)
    assert [tuple(p.shape) for p in objective.projections.parameters() if p.ndim > 1] == [(24, 16)] * 2
    assert {name.split(".")[0] for name in objective.state_dict()} == {"student", "steps_done", "terms"}
    objective(batch, {})["hidden"].mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in objective.projections.parameters())
    assert not any("terms" in name for name in narrow_student.state_dict())


def test_adding_a_match_does_not_drown_the_rest(student, teacher, batch):
    once = Objective(weigh(hidden=1.0, matches=[[2, 4]]), student, teacher)(batch, {})["hidden"]
    twice = Objective(weigh(hidden=1.0, matches=[[2, 4], [2, 4]]), student, teacher)(batch, {})["hidden"]
    assert float(once.mean().detach()) == pytest.approx(float(twice.mean().detach()), rel=1e-6)


@pytest.mark.parametrize("distance", ["kl", "mse"])
def test_attention_with_other_numbers_of_heads(build_model, teacher, batch, distance):
    """Layers of 2 and 3 heads against 3, each utterance alone."""
    student = build_model("base", seed=2, num_hidden_layers=2, layer_num_attention_heads=[2, 3])
    terms = Objective(weigh(attention=AttentionLoss(1.0, distance)), student, teacher)(batch, {})
    expected = 0.0
    with torch.no_grad():
        for wave, _ in real_rows(batch):
            here, there = (model(wave, output_attentions=True).attentions for model in (student, teacher))
            assert [a.shape[1] for a in here] == [2, 3]
            for i, j in ((0, 1), (1, 3)):
                a, b = here[i][0].mean(0).double(), there[j][0].mean(0).double()
                gap = (b * (b / a).log()).sum(-1) if distance == "kl" else (a - b).square().mean(-1)
                expected += float(gap.sum()) / 2
    # A divergence near nothing is a difference of numbers near one: it has their rounding.
    assert float(terms["attention"].total.detach()) == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert int(terms["attention"].count) == 27 + 49


@pytest.mark.parametrize(("losses", "eager"), [(EVERYTHING, True), (weigh(1.0, 1.0, 1.0, logit_cosine=1.0), False)])
def test_eager_attention_is_on_only_where_it_is_asked_for(student, teacher, batch, losses, eager, monkeypatch):
    asked, forward = [], SelfAttention.forward

    def watched(self, x, key_mask, output_attentions, position_bias=None):
        asked.append(output_attentions)
        return forward(self, x, key_mask, output_attentions, position_bias)

    monkeypatch.setattr(SelfAttention, "forward", watched)
    Objective(losses, student, teacher)(batch, {})
    assert asked == [eager] * (2 + 4)


@pytest.mark.parametrize("distance", ["mse", "l1", "cosine"])
def test_features_are_loops_over_utterances_alone(student, teacher, batch, distance):
    losses = weigh(feature_penalty=1.0, conv_features=ConvFeaturesLoss(1.0, distance), logit_cosine=1.0)
    terms = Objective(losses, student, teacher)(batch, {})
    expected = dict.fromkeys(("conv_features", "feature_penalty", "logit_cosine"), 0.0)
    with torch.no_grad():
        for wave, _ in real_rows(batch):
            here, there = student(wave), teacher(wave)
            mask = torch.ones(here.logits.shape[:2], dtype=torch.bool)
            for name, value in {
                "conv_features": frame_distance(here.conv_features, there.conv_features, mask, distance),
                "feature_penalty": feature_penalty(here.conv_features, mask),
                "logit_cosine": frame_distance(here.logits, there.logits, mask, "cosine"),
            }.items():
                expected[name] += float(value.total)
    for name, value in expected.items():
        assert float(terms[name].total.detach()) == pytest.approx(value, rel=1e-4), name


def test_features_of_other_widths_go_through_a_projection(build_model, teacher, batch):
    slim = build_model("base", seed=3, num_hidden_layers=2, conv_dim=[8, 8, 8, 16, 16, 16, 10])
    objective = Objective(weigh(conv_features=ConvFeaturesLoss(1.0)), slim, teacher)
    assert [tuple(p.shape) for p in objective.projections.parameters()] == [(12, 10), (12,)]
    objective(batch, {})["conv_features"].mean().backward()
    assert all(p.grad.abs().sum() > 0 for p in objective.projections.parameters())


@pytest.mark.parametrize("name", ["attention", "conv_features", "logit_cosine"])
def test_a_model_that_is_its_teacher_has_no_distance(teacher, batch, name):
    losses = LossesConfig(logit_kl=LogitKLLoss(0.0))
    getattr(losses, name).weight = 1.0
    objective = Objective(losses, copy.deepcopy(teacher), teacher)
    assert float(objective(batch, {})[name].mean().detach()) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.slow
def test_every_term_alone_and_all_together_can_be_learned(build_model, teacher, batch):
    """A few steps of plain descent bring the loss down, whichever it is."""
    for losses in (EVERYTHING, *(only(name) for name in WITHOUT_DECODER)):
        objective = Objective(losses, build_model("base", seed=2, num_hidden_layers=2), teacher)
        optimizer = torch.optim.Adam(objective.parameters(), 3e-3)
        values = []
        for _ in range(5):
            terms = objective(batch, {})
            loss = sum(objective.weights[name] * term.mean() for name, term in terms.items())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            values.append(float(loss.detach()))
        assert values[-1] < values[0], (objective.weights, values)


def only(name):
    losses = LossesConfig(logit_kl=LogitKLLoss(0.0))
    getattr(losses, name).weight = 1.0
    return losses


def test_utterances_without_labels_add_nothing_to_ctc(student, teacher, batch):
    """Nothing at all where no row has any; the other terms go on."""
    some = Batch(**{**vars(batch), "labels": batch.labels.clone().index_fill(0, torch.tensor([1]), -100)})
    none = Batch(**{**vars(batch), "labels": torch.full((3, 1), -100)})
    objective = Objective(weigh(kl=1.0, ctc=1.0), student, teacher)
    assert objective.count_units(some) == {"logit_kl": 27 + 49, "ctc": 2}
    assert objective.count_units(none) == {"logit_kl": 27 + 49, "ctc": 0}
    alone = compute_ctc_losses(student(batch.input_values[:1, :9000]).logits, batch.labels[:1], None, 0)
    assert float(objective(some, {})["ctc"].total.detach()) == pytest.approx(float(alone.detach()), rel=1e-4)
    terms = objective(none, {})
    assert (float(terms["ctc"].mean().detach()), float(terms["ctc"].total.detach())) == (0.0, 0.0)
    assert float(terms["logit_kl"].total.detach()) > 0
    terms["ctc"].mean().backward()
    assert all(not p.grad.any() for p in student.parameters() if p.grad is not None)


def test_ctc_alone_needs_no_teacher(student, batch):
    terms = Objective(weigh(ctc=1.0), student, None)(batch, {})
    with torch.no_grad():
        expected = student(batch.input_values, batch.attention_mask, labels=batch.labels).loss
    assert float(terms["ctc"].mean().detach()) == pytest.approx(float(expected), rel=1e-6)


def test_a_penalty_needs_no_teacher(student, batch):
    assert float(Objective(weigh(feature_penalty=1.0), student, None)(batch, {})["feature_penalty"].total.detach()) > 0


@pytest.mark.parametrize("losses", [weigh(kl=1.0), weigh(hidden=1.0, ctc=1.0), weigh(logit_cosine=1.0)])
def test_without_a_teacher_nothing_can_be_compared(student, losses):
    with pytest.raises(TrainingError):
        Objective(losses, student, None)


def test_a_teacher_without_a_head_gives_hidden_states(build_model, student, batch):
    headless = build_model("base", num_hidden_layers=4, ctc_head=False)
    assert not list(objective_problems(weigh(hidden=1.0), student.config, headless.config))
    assert Objective(weigh(hidden=1.0), student, headless)(batch, {})["hidden"].total > 0


def test_a_batch_of_padding_gives_zero_and_finite_gradients(student, teacher, batch):
    nothing, words = torch.zeros_like(batch.attention_mask), [""] * 3
    empty = Batch(batch.input_values, nothing, torch.full((3, 1), -100), words, words, words)
    objective = Objective(EVERYTHING, student, teacher).train()
    terms = objective(empty, {})
    assert list(terms) == WITHOUT_DECODER
    assert {name: float(term.mean().detach()) for name, term in terms.items()} == dict.fromkeys(terms, 0.0)
    sum(term.mean() for term in terms.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in student.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("losses", "student_changes", "teacher_changes", "problems"),
    [
        (weigh(kl=1.0), {}, {}, []),
        (weigh(1.0, 1.0, 1.0), {}, {}, []),
        (weigh(kl=1.0), {}, {"ctc_head": False}, [("logit_kl", "no_teacher_head")]),
        (weigh(kl=1.0), {"ctc_head": False}, {}, [("logit_kl", "no_student_head")]),
        (weigh(kl=1.0), {"vocab_size": 28}, {}, [("logit_kl", "other_vocabulary")]),
        (weigh(ctc=1.0), {"ctc_head": False}, {}, [("ctc", "no_student_head")]),
        (weigh(ctc=1.0), {"vocab_size": 28}, {"ctc_head": False}, []),
        (weigh(hidden=1.0, matches=[[0, 5]]), {}, {}, [("hidden.matches", "bad_matches")]),
        (weigh(hidden=1.0, matches="all"), {}, {}, [("hidden.matches", "bad_matches")]),
        (weigh(), {}, {}, [("", "no_loss")]),
        (EVERYTHING, {}, {}, []),
        (weigh(logit_cosine=1.0), {"vocab_size": 28}, {}, [("logit_cosine", "other_vocabulary")]),
        (weigh(logit_cosine=1.0), {}, {"ctc_head": False}, [("logit_cosine", "no_teacher_head")]),
        (weigh(attention=AttentionLoss(1.0, "kl", [[2, 0]])), {}, {}, [("attention.matches", "bad_matches")]),
        (weigh(attention=AttentionLoss(1.0)), {"time_reduction": 2}, {}, [("attention", "other_frames")]),
        (
            weigh(attention=AttentionLoss(1.0)), {"layer_num_attention_heads": [3, 0]}, {},
            [("attention", "no_attention")],
        ),
        (weigh(attention=AttentionLoss(1.0, "kl", "all")), {}, {}, [("attention.matches", "bad_matches")]),
        (
            weigh(1.0, feature_penalty=1.0, attention=AttentionLoss(1.0), conv_features=ConvFeaturesLoss(1.0)),
            {"conv_stride": [5, *[2] * 5, 1]}, {},
            [("attention", "other_frames")],
        ),
        (weigh(ctc=1.0, feature_penalty=1.0), {"conv_stride": [5, *[2] * 5, 1], "vocab_size": 28}, {}, []),
        (
            weigh(1.0, 1.0, 1.0, matches=[[9, 9]]), {"ctc_head": False}, {"ctc_head": False},
            [
                ("logit_kl", "no_student_head"), ("logit_kl", "no_teacher_head"), ("hidden.matches", "bad_matches"),
                ("ctc", "no_student_head"),
            ],
        ),
    ],
)  # fmt: skip
def test_every_problem_is_found(build_model, losses, student_changes, teacher_changes, problems):
    student = build_model(num_hidden_layers=2, **student_changes).config
    teacher = build_model(num_hidden_layers=4, **teacher_changes).config
    found = list(objective_problems(losses, student, teacher))
    assert all(problem.key.startswith("distill.losses") and problem.message for problem in found)
    assert [(problem.key.removeprefix("distill.losses").strip("."), problem.code) for problem in found] == problems


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data())
def test_the_objective_is_the_weighted_sum_of_its_losses_by_hand(build_model, batch, data):
    """Whichever losses are on and whatever their weights, each alone gives what it gives among the others."""
    student, teacher = (build_model("base", seed=seed, num_hidden_layers=2).eval() for seed in (2, 1))
    names = data.draw(lists(sampled_from(WITHOUT_DECODER), min_size=1, max_size=4, unique=True))
    weights = {name: data.draw(floats(0.01, 10.0)) for name in names}
    losses = LossesConfig(logit_kl=LogitKLLoss(0.0))
    for name, weight in weights.items():
        getattr(losses, name).weight = weight
    objective = Objective(losses, student, teacher).eval()
    found = objective(batch, {})
    total = sum(objective.weights[name] * float(term.mean().detach()) for name, term in found.items())
    by_hand = 0.0
    for name, weight in weights.items():
        loss = getattr(losses, name)
        outputs = dict.fromkeys(loss.outputs, True)
        here, there = (model(batch.input_values, batch.attention_mask, **outputs) for model in (student, teacher))
        inputs = LossInputs(
            Shapes(student.config, teacher.config), here, there, here.frame_mask, batch.labels, None, there, None,
            torch.zeros(()), audio=batch.input_values, label_times=batch.label_times,
        )  # fmt: skip
        by_hand += weight * float(loss.compute(inputs, objective.terms[name]).mean().detach())
    assert list(found) == [name for name in WITHOUT_DECODER if name in weights]
    assert total == pytest.approx(by_hand, rel=1e-5)
