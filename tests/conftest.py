"""Small random models and real speech for the tests of every room. torch is imported where it is used: not all need it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

VOCABULARY = (
    "<pad>", "<s>", "</s>", "<unk>", "|", "E", "T", "A", "O", "N", "I", "H", "S", "R", "D", "L", "U", "M", "W", "C",
    "F", "G", "Y", "P", "B", "V", "K", "'", "X", "J", "Q", "Z",
)  # fmt: skip

# Fields of a Hugging Face wav2vec2 config of few parameters; every width another, so that nothing fits by accident.
NARROW = {
    "hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 3, "intermediate_size": 40,
    "conv_dim": [8, 8, 8, 16, 16, 16, 12], "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
    "layerdrop": 0.0,
}  # fmt: skip
GROUP = {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False}
STRUCTURES = {
    "base": GROUP,
    "large-lv60": {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True},
    "group-stable": GROUP | {"do_stable_layer_norm": True},
    "layer-post": {"feat_extract_norm": "layer", "do_stable_layer_norm": False, "conv_bias": True},
}
NO_DROPOUT = dict.fromkeys(
    ("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout", "final_dropout"), 0.0
)


@pytest.fixture(scope="session", autouse=True)
def one_torch_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def structures():
    """Config fields by structure."""
    return STRUCTURES


@pytest.fixture(scope="session")
def narrow_fields():
    """Config fields of a small model."""
    return NARROW | NO_DROPOUT


@pytest.fixture(scope="session")
def build_model():
    """Build a small random bigfoot model: ``build_model("base", seed=0, **changes)``."""
    import torch

    from bigfoot.models import BigfootConfig, BigfootForCTC

    def build(structure="base", seed=0, **changes):
        torch.manual_seed(seed)
        model = BigfootForCTC(BigfootConfig(**(NARROW | NO_DROPOUT | STRUCTURES[structure] | changes)))
        roughen_(model)
        return model.eval()

    return build


@pytest.fixture(scope="session")
def build_huggingface():
    """The same for a model of transformers': ``build_huggingface("base", cls="Wav2Vec2ForCTC", **changes)``."""
    import torch
    import transformers

    def build(structure="base", seed=0, cls="Wav2Vec2ForCTC", **changes):
        torch.manual_seed(seed)
        config = transformers.Wav2Vec2Config(**(NARROW | NO_DROPOUT | STRUCTURES[structure] | changes))
        model = getattr(transformers, cls)(config)
        roughen_(model)
        return model.eval()

    return build


def roughen_(model):
    """Move norms and biases away from ones and zeros, where a mix-up of two of them would not show."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn_like(parameter)


@pytest.fixture(scope="session")
def tokenizer():
    from bigfoot.text.tokenizers import CharTokenizer

    return CharTokenizer(VOCABULARY)


@pytest.fixture(scope="session")
def processor(tokenizer):
    from bigfoot.text.tokenizers import Processor

    return Processor(tokenizer)


@pytest.fixture(scope="session")
def speech():
    """Real audio as (1, N) tensors of several lengths, normalized: synthetic strings, and read speech where it lies."""
    import torch

    from bigfoot.audio_io import load_audio
    from bigfoot.data.synthetic import synthesize_string

    waves = [synthesize_string(0, "test", index, 1, 3).samples for index in range(2)]
    given = os.environ.get("BIGFOOT_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    flacs = sorted(Path(given).glob("LibriSpeech/dev-mini/**/*.flac"))
    if flacs:
        waves.append(load_audio(flacs[0])[: 16_000 * 3 + 77])
    return [torch.from_numpy(np.asarray((w - w.mean()) / w.std(), dtype=np.float32))[None] for w in waves]


@pytest.fixture(scope="session")
def edit_json():
    """Change fields of a JSON file; None takes one out."""

    def edit(path, **changes):
        content = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))

    return edit
