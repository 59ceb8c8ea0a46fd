import pytest

from bigfoot.errors import ModelError
from bigfoot.models import BigfootConfig
from bigfoot.models.reshape import reshape_config
from bigfoot.models.shape_checks import beyond_huggingface
from tests.refusals import refused

BIASED = {"num_buckets": 32, "num_hidden_layers": 1}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"conv_dim": [8, 8]}, ("2", "7")),
        ({"conv_groups": [1, 2]}, ("conv_groups", "2", "7")),
        ({"conv_groups": [2, 2, 2, 2, 2, 2, 2]}, ("0", "2", "1", "512")),
        ({"conv_groups": [1, 2, 3, 2, 2, 2, 2]}, ("2", "3", "512")),
        ({"conv_groups": [1, 0, 1, 1, 1, 1, 1]}, ("conv_groups", "1")),
        ({"conv_groups": 2}, ("conv_groups", "2")),
        ({"num_attention_heads": 7}, ("7", "hidden_size", "768")),
        ({"num_attention_heads": 0}, ("num_attention_heads", "0", "1")),
        ({"num_conv_pos_embedding_groups": 7}, ("7", "768")),
        ({"layer_num_attention_heads": [12]}, ("1", "12")),
        ({"layer_intermediate_sizes": [8] * 11}, ("11", "12")),
        ({"layer_intermediate_sizes": [8] * 11 + [0.5]}, ("layer_intermediate_sizes",)),
        ({"num_hidden_layers": -1}, ("num_hidden_layers", "-1")),
        ({"num_hidden_layers": True}, ("num_hidden_layers",)),
        ({"hidden_size": "wide"}, ("wide", "hidden_size")),
        ({"hidden_act": "sprong"}, ("sprong", "hidden_act")),
        ({"feat_extract_norm": "batch"}, ("group", "layer")),
        ({"family": "whisper"}, ("whisper", "wav2vec2", "data2vec-audio")),
        ({"num_buckets": 3}, ("num_buckets", "3", "4")),
        ({"num_buckets": 320, "max_bucket_distance": 80}, ("max_bucket_distance", "80")),
        ({"num_buckets": "many"}, ("many", "num_buckets")),
        ({"num_buckets": 32, "layer_position_heads": [[0]]}, ("layer_position_heads", "1", "12")),
        ({"num_buckets": 32, "layer_position_heads": [0] * 12}, ("0",)),
        (BIASED | {"layer_num_attention_heads": [13]}, ("0", "13")),
        (BIASED | {"layer_num_attention_heads": [2], "layer_position_heads": [[1, 1]]}, ("[1, 1]", "0", "11")),
        (BIASED | {"layer_num_attention_heads": [1], "layer_position_heads": [[12]]}, ("[12]", "0", "11")),
        ({"conv_pos_kernel_size": 0}, ("conv_pos_kernel_size", "0")),
        ({"conv_pos_kernel_size": 19, "conv_pos_batch_norm": True}, ("conv_pos_batch_norm",)),
    ],
)
def test_shapes_that_cannot_be_built(changes, named):
    with refused(ModelError, *named):
        BigfootConfig(**changes)


def test_all_problems_are_reported_at_once():
    with pytest.raises(ModelError) as caught:
        BigfootConfig(num_attention_heads=7, conv_groups=[1, 3, 1, 1, 1, 1, 1], layer_intermediate_sizes=[1])
    assert str(caught.value).count(";") == 2


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 0),
        ({"conv_groups": [1] * 7, "layer_num_attention_heads": [12] * 12, "layer_intermediate_sizes": [3072] * 12}, 0),
        ({"conv_groups": [1, 1, 1, 1, 1, 1, 2]}, 1),
        ({"layer_num_attention_heads": [12] * 11 + [5]}, 1),
        ({"layer_intermediate_sizes": [3072] * 11 + [5], "conv_groups": [1, 1, 1, 1, 1, 1, 2]}, 2),
    ],
)
def test_what_transformers_cannot_say(changes, count):
    config = BigfootConfig(**changes)
    assert len(beyond_huggingface(config)) == count
    assert config.is_huggingface_shape == (count == 0)
    assert config.weight_prefix == ("bigfoot" if count else "wav2vec2")


STACK = {"conv_pos_kernel_size": 19, "num_conv_pos_embeddings": 5, "feat_extract_norm": "layer"}


@pytest.mark.parametrize(
    ("family", "changes", "prefix"),
    [
        ("hubert", {}, "hubert"),
        ("hubert", {"conv_pos_batch_norm": True, "feat_proj_layer_norm": False}, "hubert"),
        ("hubert", {"num_buckets": 320}, "bigfoot"),
        ("wavlm", {"num_buckets": 320}, "wavlm"),
        ("wavlm", {}, "bigfoot"),
        ("wavlm", {"num_buckets": 320, "feat_proj_layer_norm": False}, "bigfoot"),
        ("wavlm", BIASED | {"layer_position_heads": [list(range(12))]}, "wavlm"),
        ("wavlm", BIASED | {"layer_position_heads": [list(range(11, -1, -1))]}, "bigfoot"),
        ("data2vec-audio", STACK, "data2vec_audio"),
        ("data2vec-audio", {}, "bigfoot"),
        ("data2vec-audio", STACK | {"do_stable_layer_norm": True}, "bigfoot"),
        ("wav2vec2", STACK, "bigfoot"),
        ("unispeech-sat", {}, "unispeech_sat"),
        ("unispeech-sat", {"conv_pos_batch_norm": True}, "bigfoot"),
        ("wav2vec2", {"feat_proj_layer_norm": False}, "bigfoot"),
    ],
)
def test_a_family_s_name_only_where_it_has_the_shape(family, changes, prefix):
    config = BigfootConfig(family=family, **changes)
    assert config.weight_prefix == prefix
    assert config.is_huggingface_shape == (prefix != "bigfoot")


def test_counts_that_follow():
    config = BigfootConfig()
    assert config.inputs_to_logits_ratio == 320
    assert config.receptive_field == 400
    assert config.head_dim == 64


def test_a_reshaped_copy_leaves_the_first_alone():
    config = BigfootConfig(conv_groups=[1, 2, 2, 2, 2, 2, 2])
    other = reshape_config(config, num_hidden_layers=3)
    assert (config.num_hidden_layers, other.num_hidden_layers) == (12, 3)
    assert other.conv_groups == config.conv_groups
    with pytest.raises(ModelError):
        reshape_config(config, hidden_size=5)
