import pytest
import torch
from torch import nn

from bigfoot.compress.conv_groups import ConvGroups
from bigfoot.compress.conv_groups import apply as group_convs
from bigfoot.formats.folder import load_model, save_model
from bigfoot.measure.size import PARTS, count_macs, count_params, measure_size, measure_size_bytes
from tests.conftest import FAMILY_STRUCTURES


def params_by_hand(c):
    """Of a dense model with masks, layer by layer."""
    d, total, channels_in = c.hidden_size, 0, 1
    for layer, (out, kernel) in enumerate(zip(c.conv_dim, c.conv_kernel, strict=True)):
        total += out * (channels_in // c.groups_of_convs[layer]) * kernel + (out if c.conv_bias else 0)
        if c.feat_extract_norm == "layer" or layer == 0:
            total += 2 * out
        channels_in = out
    total += (2 * channels_in if c.feat_proj_layer_norm else 0) + channels_in * d + d  # projection
    kernel, per_place = c.num_conv_pos_embeddings, d * d // c.num_conv_pos_embedding_groups
    if c.family == "data2vec-audio":
        total += c.num_conv_pos_embeddings * (per_place * c.conv_pos_kernel_size + d)
    elif c.conv_pos_batch_norm:
        total += per_place * kernel + d + 2 * d
    else:
        # Weight norm holds a magnitude for each place of the kernel beside the direction.
        total += per_place * kernel + kernel + d
    total += 2 * d + d  # the encoder's norm, the vector of masked frames
    for heads, width in zip(c.heads_of_layers, c.widths_of_layers, strict=True):
        inner = heads * c.head_dim
        total += 3 * (d * inner + inner) + inner * d + d + 2 * d  # attention and its norm
        total += d * width + width + width * d + d + 2 * d  # feed-forward and its norm
        if c.family == "wavlm":
            total += heads + 8 * c.head_dim + 8  # gates
    if c.family == "wavlm":
        total += c.num_buckets * c.num_attention_heads
    return total + d * c.vocab_size + c.vocab_size


def macs_by_hand(c, samples):
    """Of one pass, by part."""
    found, channels_in, frames, d = dict.fromkeys(PARTS, 0), 1, samples, c.hidden_size
    for layer, out in enumerate(c.conv_dim):
        frames = (frames - c.conv_kernel[layer]) // c.conv_stride[layer] + 1
        found["conv"] += frames * out * (channels_in // c.groups_of_convs[layer]) * c.conv_kernel[layer]
        channels_in = out
    found["conv"] += frames * channels_in * d
    # An even kernel makes a frame too many, which is computed and thrown away.
    stacked = c.family == "data2vec-audio"
    count, kernel = (c.num_conv_pos_embeddings, c.conv_pos_kernel_size) if stacked else (1, c.num_conv_pos_embeddings)
    made = count * (frames + 1 - kernel % 2)
    found["positional_conv"] = made * d * d // c.num_conv_pos_embedding_groups * kernel
    for heads, width in zip(c.heads_of_layers, c.widths_of_layers, strict=True):
        inner = heads * c.head_dim
        found["transformer"] += frames * 4 * d * inner + 2 * frames * frames * inner + frames * 2 * d * width
        if c.family == "wavlm":
            found["transformer"] += frames * heads * c.head_dim * 8
    found["head"] = frames * d * c.vocab_size
    return found


SHAPES = [
    ("base", {}),
    ("large-lv60", {}),
    ("base", {"conv_groups": [1, 2, 4, 8, 2, 2, 4], "layer_num_attention_heads": [1, 3, 2],
              "layer_intermediate_sizes": [8, 40, 16], "num_conv_pos_embeddings": 15}),
    ("hubert-without-norm", {}),
    ("hubert-batch-norm", {}),
    ("wavlm", {}),
    ("wavlm-large", {"layer_num_attention_heads": [2, 3, 1]}),
    ("data2vec", {}),
    ("data2vec", {"conv_pos_kernel_size": 6}),
]  # fmt: skip


@pytest.mark.parametrize(("structure", "changes"), SHAPES)
def test_parameters_counted_by_hand(build_model, structure, changes):
    model = build_model(structure, **changes)
    assert count_params(model) == count_params(model, unique=False) == params_by_hand(model.config)


@pytest.mark.grid
@pytest.mark.parametrize("seconds", [1.0, 10.0])
@pytest.mark.parametrize(("structure", "changes"), SHAPES)
def test_macs_counted_by_hand(build_model, structure, changes, seconds):
    model = build_model(structure, **changes)
    size = measure_size(model, seconds=seconds)
    expected = macs_by_hand(model.config, round(seconds * 16_000))
    assert size.macs_by_part == {part: round(macs / seconds) for part, macs in expected.items()}
    assert size.macs_per_second == sum(size.macs_by_part.values())
    assert tuple(size.macs_by_part) == PARTS


def test_the_parts_are_the_whole(build_model):
    model = build_model()
    macs = count_macs(model, 2.0)
    parts = measure_size(model, seconds=2.0).macs_by_part
    assert macs[model] == pytest.approx(2.0 * sum(parts.values()), abs=4)


@pytest.mark.grid
@pytest.mark.parametrize("structure", ["base", "large-lv60", *FAMILY_STRUCTURES])
def test_transformers_own_class_measures_the_same(build_huggingface, structure, tmp_path):
    theirs = build_huggingface(structure)
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path).model
    if not ours.config.has_convolutions:  # theirs takes no samples
        assert measure_size(ours).num_params == sum(p.numel() for p in theirs.parameters())
        return
    assert measure_size(theirs, tmp_path, 1.0) == measure_size(ours, tmp_path, 1.0)


def test_groups_divide_the_operations_of_a_convolution(build_model):
    teacher = build_model()
    student, _ = group_convs(teacher, ConvGroups(2))
    here, there = (count_macs(model, 1.0) for model in (student, teacher))
    convs = zip(student.speech_encoder.feature_encoder.conv_layers,
                teacher.speech_encoder.feature_encoder.conv_layers, strict=True)  # fmt: skip
    ratios = [there[b] / here[a] for a, b in convs]
    assert ratios == [1.0] + [2.0] * 6


def test_counting_leaves_the_model_as_it_was(build_model):
    model = build_model(hidden_dropout=0.5).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    count_macs(model, 0.5)
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_shared_parameters_are_counted_once(build_model):
    model = build_model()
    layers = model.speech_encoder.encoder.layers
    own = count_params(layers[0])
    before = count_params(model)
    layers[1] = layers[0]
    assert count_params(model) == before - own
    assert count_params(model, unique=False) == before
    layers[2].layer_norm.weight = layers[0].layer_norm.weight
    assert count_params(model) == before - own - 24
    size = measure_size(model, seconds=0.5)
    assert (size.num_params, size.num_unique_params, size.size_bytes) == (before, before - own - 24, None)
    assert count_params(nn.Identity()) == 0


def test_a_headless_model_has_no_operations_there(build_model):
    assert measure_size(build_model(ctc_head=False), seconds=0.5).macs_by_part["head"] == 0


def test_bytes_are_those_of_the_file(build_model, processor, tmp_path):
    model = build_model()
    save_model(model, processor, tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    assert measure_size(model, tmp_path / "model", 0.5).size_bytes == file.stat().st_size
    assert file.stat().st_size >= 4 * count_params(model)
    assert count_params(load_model(tmp_path / "model").model) == count_params(model)


def test_bytes_of_shards_are_added_and_a_second_format_is_not(build_huggingface, tmp_path):
    theirs = build_huggingface()
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    shards = sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))
    assert measure_size_bytes(tmp_path) == shards
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    for file in tmp_path.glob("model-*"):
        file.unlink()
    (tmp_path / "model.safetensors.index.json").unlink()
    assert measure_size_bytes(tmp_path) == (tmp_path / "pytorch_model.bin").stat().st_size
    theirs.save_pretrained(tmp_path)
    assert measure_size_bytes(tmp_path) == (tmp_path / "model.safetensors").stat().st_size
    assert measure_size_bytes(tmp_path / "nowhere") == 0
