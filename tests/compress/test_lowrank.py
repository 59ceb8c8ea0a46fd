import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.compress.lowrank import (
    LowRank,
    apply,
    factorize,
    gather_grams,
    rank_for_energy,
    ranks_per_layer,
)
from bigfoot.errors import ModelError
from bigfoot.formats.folder import load_model, save_model
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.models.shape import LINEARS
from tests.codes import refusing


def product(factors):
    return factors.up @ factors.down


@given(st.integers(0, 10_000), st.integers(2, 9), st.integers(2, 9))
def test_the_error_is_that_of_the_values_left_out(seed, rows, columns):
    weight = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    values = torch.linalg.svdvals(weight.double())
    for rank in range(1, min(rows, columns) + 1):
        factors = factorize(weight, rank, 0.0)
        assert factors.up.shape == (rows, rank) and factors.down.shape == (rank, columns)
        error = (weight - product(factors)).double().square().sum()
        assert error.item() == pytest.approx(values[rank:].square().sum().item(), abs=1e-4)


@given(st.integers(0, 10_000), st.floats(0.05, 1.0))
def test_energy_takes_the_fewest_values_that_hold_it(seed, energy):
    values = torch.rand(7, generator=torch.Generator().manual_seed(seed)).sort(descending=True).values.double() + 1e-3
    rank, squares = rank_for_energy(values, energy), values.square()
    assert squares[:rank].sum() >= (energy - 1e-8) * squares.sum()
    assert rank == 1 or squares[: rank - 1].sum() < energy * squares.sum()


def test_weighted_by_activations_no_other_matrix_of_the_rank_is_nearer():
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(6, 8, generator=generator)
    inputs = torch.randn(200, 8, generator=generator) * torch.tensor([9.0, 5, 3, 1, 1, 0.5, 0.1, 0.1])
    gram = inputs.double().T @ inputs.double()

    def error(matrix):
        return ((weight - matrix) @ inputs.T).square().sum()

    best, plain = (product(factorize(weight, 3, 0.0, each)) for each in (gram, None))
    assert torch.linalg.matrix_rank(best) == 3 and error(best) < 0.7 * error(plain)
    # The optimum by another road: of the outputs, the nearest of the rank (Eckart and Young on W X^T).
    lowest = torch.linalg.svdvals((weight @ inputs.T).double())[3:].square().sum()
    assert error(best).item() == pytest.approx(lowest.item(), rel=1e-3)
    for _ in range(20):
        nudged = factorize(best + 0.05 * torch.randn(6, 8, generator=generator), 3, 0.0)
        assert error(product(nudged)) >= error(best) - 1e-3


@pytest.fixture
def audio(speech):
    longest = max(wave.shape[1] for wave in speech)
    values = torch.cat([torch.nn.functional.pad(wave, (0, longest - wave.shape[1]), value=7.0) for wave in speech])
    mask = torch.stack([torch.arange(longest) < wave.shape[1] for wave in speech])
    return [PaddedAudio(values, mask)]


@torch.no_grad()
@pytest.mark.parametrize("changes", [{}, {"time_reduction": 2}])
def test_grams_are_of_real_frames_alone(build_model, speech, audio, changes):
    model = build_model(**changes)
    padded = gather_grams(model, LINEARS, audio)
    alone = gather_grams(model, LINEARS, [PaddedAudio(wave, torch.ones_like(wave).bool()) for wave in speech])
    assert set(padded) == {(layer, name) for layer in range(3) for name in LINEARS} == set(alone)
    for key, gram in padded.items():
        torch.testing.assert_close(gram, alone[key], rtol=1e-4, atol=1e-3)
    if not changes:
        states = [model(wave, output_hidden_states=True).hidden_states[0][0].double() for wave in speech]
        torch.testing.assert_close(padded[0, "q_proj"], sum(x.T @ x for x in states), rtol=1e-4, atol=1e-3)


@pytest.mark.grid
@torch.no_grad()
@pytest.mark.parametrize("weighting", ["none", "activations"])
def test_every_family_answers_and_reloads(family, weighting, build_model, processor, audio, speech, tmp_path):
    model = build_model(family)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    student, change = apply(model, LowRank(LINEARS, rank=6, weighting=weighting), audio)
    blocks = 2 if model.config.is_conformer else 1
    linears = [*LINEARS, *(f"first_{name}" for name in LINEARS[4:])] if blocks == 2 else LINEARS
    assert student.config.layer_ranks == [dict.fromkeys(linears, 6)] * 3
    assert student.config.layer_ranks == ranks_per_layer(model.config, LINEARS, 6)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    before, after = (3 * (4 * own + 2 * blocks * wide) for own, wide in ((576, 960), (288, 384)))
    assert change.dropped == [f"{before - after:,} of {before:,} weights"]
    save_model(student, processor, tmp_path / "student")
    expected = student(speech[0]).logits
    assert torch.isfinite(expected).all()
    assert torch.equal(load_model(tmp_path / "student").model(speech[0]).logits, expected)


@torch.no_grad()
def test_matrices_of_low_rank_lose_nothing(build_model, speech):
    model = build_model()
    for layer in model.speech_encoder.encoder.layers:
        for linear in (layer.attention.v_proj, layer.feed_forward.output_dense):
            linear.weight.copy_(product(factorize(linear.weight, 5, 0.0)))
    student, _ = apply(model, LowRank(["v_proj", "output_dense"], energy=1 - 1e-7, weighting="none"))
    assert student.config.layer_ranks == [{"v_proj": 5, "output_dense": 5}] * 3
    torch.testing.assert_close(student(speech[0]).logits, model(speech[0]).logits, rtol=0, atol=1e-4)


def test_a_map_that_would_not_get_smaller_stays_whole(build_model):
    model = build_model()
    student, change = apply(model, LowRank(["q_proj"], energy=1.0, weighting="none"))
    assert student.config.layer_ranks is None and "full everywhere" in change.kept[0]
    assert student.config.is_huggingface_shape


def test_a_second_cut_leaves_the_first(build_model, speech):
    first, _ = apply(build_model(), LowRank(["q_proj"], rank=4, weighting="none"))
    second, _ = apply(first, LowRank(["q_proj", "v_proj"], rank=3, weighting="none"))
    assert second.config.layer_ranks == [{"q_proj": 4, "v_proj": 3}] * 3
    with torch.no_grad():
        assert torch.isfinite(second(speech[0]).logits).all()


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (LowRank(["p_proj"], rank=3, weighting="none"), ("linears", "unknown_word")),
        (LowRank(["q_proj"], rank=25, weighting="none"), ("rank", "bad_rank")),
        (LowRank(["q_proj"], rank=-1, weighting="none"), ("rank", "bad_rank")),
        (LowRank(["q_proj"], energy=0.0, weighting="none"), ("energy", "out_of_range")),
        (LowRank(["q_proj"], rank=3, weighting="some"), ("weighting", "unknown_word")),
        (LowRank(["q_proj"], rank=3, weighting="activations"), ("weighting", "no_audio")),
    ],
)
def test_refused(config, expected, build_model):
    with refusing(expected, kind=ModelError):
        apply(build_model(), config)
