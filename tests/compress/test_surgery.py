"""A pruned model answers as the original does with those units zeroed, in every family, and reloads bit for bit."""

import copy

import pytest
import torch
import transformers
from torch import nn

from bigfoot.compress.surgery import prune_units, pruned_shape, remove_blocks
from bigfoot.compress.units import Place, find_units
from bigfoot.errors import ModelError
from bigfoot.formats.folder import load_model, save_model
from bigfoot.models import BigfootConfig
from tests.codes import codes, refusing
from tests.conftest import STRUCTURES

HEADS = {Place("heads", 0): [2], Place("heads", 2): [0, 2]}
FEED_FORWARD = {Place("feed_forward", 0): [0, 3, 39], Place("feed_forward", 1): range(8)}
CONV = {Place("conv", 0): [1, 2, 7], Place("conv", 2): [0, 5], Place("conv", 5): range(3, 16)}
LAST_CONV = {Place("conv", 6): [0, 1, 2, 5, 7, 10]}
INNER = {Place("conv_module", 0): [0, 5, 6, 23], Place("conv_module", 2): range(20),
         Place("first_feed_forward", 1): [1, 7, 39]}  # fmt: skip
# Four of the six channels of each of four positional groups.
WIDTH = {Place("width"): [0, 1, 2, 3, 7, 8, 9, 11, 12, 13, 15, 16, 18, 20, 22, 23]}


class KeptNorm(nn.LayerNorm):
    """A layer norm over some channels alone; the others are zero."""

    def __init__(self, norm, keep):
        super().__init__(norm.normalized_shape, norm.eps, norm.elementwise_affine)
        self.load_state_dict(norm.state_dict())
        self.keep = list(keep)

    def forward(self, x):
        kept, out = x[..., self.keep], torch.zeros_like(x)
        normed = (kept - kept.mean(-1, keepdim=True)) / (kept.var(-1, keepdim=True, correction=0) + self.eps).sqrt()
        if self.elementwise_affine:
            normed = normed * self.weight[self.keep] + self.bias[self.keep]
        out[..., self.keep] = normed
        return out


def silence_inputs_(conv, dropped):
    """Zero what a convolution, grouped or not, makes of some input channels."""
    inputs, outputs = conv.in_channels // conv.groups, conv.out_channels // conv.groups
    for channel in dropped:
        group = channel // inputs
        conv.weight[group * outputs : (group + 1) * outputs, channel % inputs] = 0


def without_weight_norm(conv):
    plain = nn.Conv1d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, padding=conv.padding, groups=conv.groups
    )
    plain.weight.copy_(conv.weight)
    plain.bias.copy_(conv.bias)
    return plain


def silence_channels_(layer, keep):
    kept = torch.zeros(24).index_fill(0, torch.tensor(list(keep)), 1.0)
    layer.register_forward_pre_hook(lambda _, given: (given[0] * kept, *given[1:]))


def keep_norms_(root, keep, inner=False):
    for module in list(root.modules()):
        for name, child in list(module.named_children()):
            # Behind a depthwise convolution a norm is over its channels.
            if isinstance(child, nn.LayerNorm) and (name == "depthwise_layer_norm") == inner:
                setattr(module, name, KeptNorm(child, keep))


@torch.no_grad()
def zeroed(model, keep_indices):
    """The original with everything else zeroed, by hand, and with layer norms over what stays."""
    reference = copy.deepcopy(model)
    encoder = reference.speech_encoder
    convs, layers = list(encoder.feature_encoder), encoder.encoder.layers
    for (kind, index), keep in keep_indices.items():
        if kind == "heads":
            for head in set(range(layers[index].attention.num_heads)) - set(keep):
                layers[index].attention.out_proj.weight[:, head * 8 : head * 8 + 8] = 0
        elif kind == "feed_forward":
            for unit in set(range(layers[index].feed_forward.output_dense.in_features)) - set(keep):
                layers[index].feed_forward.output_dense.weight[:, unit] = 0
        elif kind == "first_feed_forward":
            for unit in set(range(layers[index].ffn1.output_dense.in_features)) - set(keep):
                layers[index].ffn1.output_dense.weight[:, unit] = 0
        elif kind == "conv_module":
            keep_norms_(layers[index].conv_module, keep, inner=True)
            for channel in set(range(24)) - set(keep):
                layers[index].conv_module.pointwise_conv2.weight[:, channel] = 0
        elif kind == "conv":
            dropped = set(range(convs[index].conv.out_channels)) - set(keep)
            if index < 6:
                silence_inputs_(convs[index + 1].conv, dropped)
            else:
                keep_norms_(encoder.feature_projection, keep)
                encoder.feature_projection.projection.weight[:, list(dropped)] = 0
            keep_norms_(convs[index], keep)
        else:
            keep_norms_(encoder.encoder, keep)
            if model.config.is_disentangled:  # nothing norms what goes into its layers
                silence_channels_(layers[0], keep)
            if model.config.squeeze_factor > 1:
                spread = encoder.encoder.upsample.projection
                for parameter in (spread.weight, spread.bias):
                    parameter.unflatten(0, (-1, 24))[:, sorted(set(range(24)) - set(keep))] = 0
            for module in list(encoder.encoder.pos_conv_embed.modules()):
                if isinstance(getattr(module, "conv", None), nn.Conv1d):
                    module.conv = without_weight_norm(module.conv)
                    silence_inputs_(module.conv, set(range(24)) - set(keep))
    return reference


def assert_like_zeroed(model, keep_indices, wave):
    pruned = prune_units(model, keep_indices)
    with torch.no_grad():
        own, got, expected = (each(wave).logits for each in (model, pruned, zeroed(model, keep_indices)))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    assert (got - own).abs().max() > 1e-3, "what was taken out never mattered"
    return pruned


def refusals(model, keep_indices):
    """What this shape has not, or cannot have cut."""
    if keep_indices is WIDTH and model.config.has_position_bias:
        return [("width", "not_prunable")]
    return [(str(place), "no_place") for place in keep_indices if place not in find_units(model.config)]


@pytest.mark.grid
@pytest.mark.parametrize("keep_indices", [HEADS, FEED_FORWARD, CONV, LAST_CONV, WIDTH, INNER], ids=str)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_as_if_zeroed(structure, keep_indices, build_model, speech):
    model = build_model(structure)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if problems := refusals(model, keep_indices):
        with refusing(*problems):
            prune_units(model, keep_indices)
        return
    pruned = assert_like_zeroed(model, keep_indices, speech[0])
    units = find_units(pruned.config)
    assert all(units[place].count == len(keep) for place, keep in keep_indices.items())
    assert sum(p.numel() for p in pruned.parameters()) < sum(p.numel() for p in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.slow
@pytest.mark.grid
@pytest.mark.parametrize("structure", STRUCTURES)
def test_all_at_once_in_a_batch_saved_and_reloaded(structure, build_model, speech, processor, tmp_path):
    model = build_model(structure)
    everything = (HEADS, FEED_FORWARD, CONV, LAST_CONV, WIDTH, INNER)
    chosen = [keep_indices for keep_indices in everything if not refusals(model, keep_indices)]
    keep_indices = {place: keep for each in chosen for place, keep in each.items()}
    pruned = assert_like_zeroed(model, keep_indices, speech[0])
    save_model(pruned, processor, tmp_path / "pruned")
    ours, theirs = load_model(tmp_path / "pruned").model, type(pruned).from_pretrained(tmp_path / "pruned")
    for again in (ours, theirs):
        state = again.state_dict()
        assert state.keys() == pruned.state_dict().keys()
        assert all(torch.equal(tensor, state[name]) for name, tensor in pruned.state_dict().items())
    short, long = sorted((wave[0] for wave in speech[:2]), key=len)
    batch = nn.utils.rnn.pad_sequence([short, long], batch_first=True)
    mask = torch.arange(batch.shape[1]) < torch.tensor([[len(short)], [len(long)]])
    with torch.no_grad():
        alone, together = pruned(short[None]).logits[0], pruned(batch, mask).logits[0]
    torch.testing.assert_close(together[: len(alone)], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.grid
@pytest.mark.parametrize("structure", STRUCTURES)
def test_without_blocks_saved_and_reloaded(structure, build_model, speech, processor, tmp_path):
    model = build_model(structure)
    blocks = [Place("attention_block", 0), Place("feed_forward_block", 0), Place("feed_forward_block", 2)]
    smaller, silent = remove_blocks(model, blocks), copy.deepcopy(model)
    layers = silent.speech_encoder.encoder.layers
    first, third = layers[0], layers[2]
    last_layers = [first.attention.out_proj, first.feed_forward.output_dense, third.feed_forward.output_dense]
    save_model(smaller, processor, tmp_path / "smaller")
    with torch.no_grad():
        for linear in last_layers:
            linear.weight.zero_()
            linear.bias.zero_()
        answer = smaller(speech[0]).logits
        torch.testing.assert_close(answer, silent(speech[0]).logits, atol=1e-5, rtol=0)
        assert torch.equal(load_model(tmp_path / "smaller").model(speech[0]).logits, answer)
    attention = [Place("attention_block", layer) for layer in range(3)]
    with torch.no_grad():
        assert torch.isfinite(remove_blocks(model, attention)(speech[0]).logits).all()


def test_blocks_that_lend_their_maps_stay(build_model):
    model = build_model("base", attention_reuse=[None, 0, None])
    with refusing(*((f"attention_block of layer {layer}", "no_place") for layer in (0, 1))):
        remove_blocks(model, [Place("attention_block", 0), Place("attention_block", 1)])


def test_grouped_kernels(build_model, speech):
    """Channels that two groupings divide: equally many of each group, in layers before, inside and behind."""
    model = build_model("base", conv_groups=[1, 2, 4, 2, 2, 1, 2])
    keep = {Place("conv", 0): [0, 3, 4, 7], Place("conv", 1): [1, 2, 5, 6], Place("conv", 2): [0, 3, 5, 6]}
    keep |= {Place("conv", 3): [1, 2, 9, 15], Place("conv", 4): [0, 8], Place("conv", 5): [0, 1, 2, 8, 9, 10]}
    assert assert_like_zeroed(model, keep, speech[0]).config.conv_groups == [1, 2, 4, 2, 2, 1, 2]


def test_shared_kernels(build_model, speech, processor, tmp_path):
    model = build_model("base", conv_sharing=[[1, 2]])
    keep = {Place("conv", layer): [0, 2, 5] for layer in range(3)}
    pruned = assert_like_zeroed(model, keep, speech[0])
    kernels = [layer.conv.weight for layer in pruned.speech_encoder.feature_encoder]
    assert kernels[1] is kernels[2] and kernels[1].shape[:2] == (3, 3)
    save_model(pruned, processor, tmp_path / "pruned")
    with torch.no_grad():
        assert torch.equal(load_model(tmp_path / "pruned").model(speech[0]).logits, pruned(speech[0]).logits)


def test_what_is_alike_in_all_layers_opens_in_plain_transformers(build_model, speech, processor, tmp_path):
    keep = {Place("heads", layer): [0, 2] for layer in range(3)} | WIDTH | CONV
    keep |= {Place("feed_forward", layer): range(layer, layer + 5) for layer in range(3)}
    pruned = prune_units(build_model("base"), keep)
    assert pruned.config.is_huggingface_shape and pruned.config.intermediate_size == 5
    save_model(pruned, processor, tmp_path / "pruned")
    plain = transformers.Wav2Vec2ForCTC.from_pretrained(tmp_path / "pruned").eval()
    with torch.no_grad():
        torch.testing.assert_close(plain(speech[0]).logits, pruned(speech[0]).logits, atol=1e-5, rtol=1e-5)


def test_pruned_again(build_model, speech):
    once = prune_units(build_model("wavlm"), {Place("heads", 1): [0, 2], Place("feed_forward", 1): [4, 5, 6]})
    twice = assert_like_zeroed(once, {Place("heads", 1): [1], Place("feed_forward", 1): [0, 2]}, speech[0])
    assert twice.config.layer_position_heads == [[0, 1, 2], [2], [0, 1, 2]]


@pytest.mark.parametrize(
    ("keep_indices", "expected"),
    [
        ({Place("heads", 3): [0]}, ("heads of layer 3", "no_place")),
        ({Place("tails", 0): [0]}, ("tails of layer 0", "no_place")),
        *(({Place("heads", 0): kept}, ("heads of layer 0", "bad_indices"))
          for kept in ([], [2, 0], [0, 0], [-1, 2], [0, 3])),
        ({Place("width"): range(12)}, ("width", "indivisible")),
        ({Place("width"): range(16)}, ("width", "uneven_groups")),
        ({Place("conv", 4): [0, 1, 2, 8]}, (str(Place("conv", 4)), "uneven_groups")),
        ({Place("conv", 1): [0]}, ("conv", "other_outputs")),
        ({Place("conv", 0): [0]}, ("conv", "other_inputs")),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_out_is_refused(keep_indices, expected, build_model):
    model = build_model("base", conv_groups=[1, 1, 1, 1, 1, 2, 1], conv_sharing=[[1, 2]])
    with pytest.raises(ModelError) as caught:
        prune_units(model, keep_indices)
    assert expected in codes(caught.value.problems)


def test_the_shape_of_the_base_model():
    keep = {Place("width"): [i for i in range(768) if i % 48 < 32], Place("conv", 6): range(100)}
    shape = pruned_shape(BigfootConfig(), keep)
    assert (shape.hidden_size, shape.num_attention_heads, shape.head_dim) == (512, 8, 64)
    assert shape.heads_of_layers == [12] * 12 and shape.conv_dim == [512] * 6 + [100]


def test_shapes_that_methods_make(build_model, speech):
    """Removed blocks, borrowed maps, low ranks, reduced time: what is left to cut is cut, the rest is refused."""
    shape = {"layer_num_attention_heads": [3, 0, 3], "layer_intermediate_sizes": [40, 40, 0], "time_reduction": 2}
    model = build_model("base", **shape)
    places = [place for place in find_units(model.config) if place.kind != "conv"]
    feed_forward = [Place("feed_forward", layer) for layer in (0, 1)]
    heads = [Place("heads", layer) for layer in (0, 2)]
    assert set(places) == {*feed_forward, *heads}
    pruned = assert_like_zeroed(model, {heads[1]: [0], feed_forward[1]: range(7)} | CONV, speech[0])
    assert pruned.config.heads_of_layers == [3, 0, 1] and pruned.config.widths_of_layers == [40, 7, 0]
    ranked = build_model("base", attention_reuse=[None, 0, None], layer_ranks=[{}, {}, {"output_dense": 4}])
    kept = {place for place in find_units(ranked.config) if place.kind != "conv"}
    assert kept == {Place("heads", 2), *feed_forward}
    assert_like_zeroed(ranked, {Place("heads", 2): [1], feed_forward[1]: [0, 5]}, speech[0])
    with refusing(("heads of layer 0", "no_place")):
        prune_units(ranked, {Place("heads", 0): [1]})
    unprojected = build_model("base", feature_projection="none", conv_dim=[8, 8, 8, 16, 16, 16, 24])
    assert {Place("width"), Place("conv", 6)}.isdisjoint(find_units(unprojected.config))
    assert_like_zeroed(unprojected, CONV, speech[0])
