"""Where padding changes the answers of transformers' own classes: what is written of it is what they do."""

import pytest
import torch
from transformers import SeamlessM4TFeatureExtractor

from bigfoot.formats.conversion import make_speechlike_noise
from bigfoot.formats.registry import padding_changes_outputs
from bigfoot.models import BigfootConfig
from tests.conftest import FAMILY_STRUCTURES, NARROW, NO_DROPOUT, STRUCTURES

MORE = {
    "mms with convolutions behind it": ("mms", {"add_adapter": True, "num_adapter_layers": 2}),
    "sew of layer norms": ("sew", {"feat_extract_norm": "layer", "conv_bias": True}),
}
ROWS = {name: (name, {}) for name in (*STRUCTURES, *FAMILY_STRUCTURES)} | MORE


def answer(theirs, waves):
    """Logits of a batch of two, or of one."""
    if theirs.main_input_name == "input_features":
        given = SeamlessM4TFeatureExtractor()(
            [wave.numpy() for wave in waves], sampling_rate=16_000, return_tensors="pt", padding=True
        )
        return theirs(**given).logits
    size = max(map(len, waves))
    values, mask = torch.zeros(len(waves), size), torch.zeros(len(waves), size, dtype=torch.long)
    for row, wave in enumerate(waves):
        values[row, : len(wave)], mask[row, : len(wave)] = wave, 1
    return theirs(values, attention_mask=mask).logits


@torch.no_grad()
@pytest.mark.grid
@pytest.mark.parametrize("name", ROWS)
def test_padding_changes_what_the_function_lists(name, build_huggingface):
    structure, changes = ROWS[name]
    theirs = build_huggingface(structure, **changes)
    noise = make_speechlike_noise(1.0)[0]
    found = 0.0
    for samples in (9_040, 8_720, 7_000):  # of even and odd numbers of frames
        alone, batch = answer(theirs, [noise[:samples]]), answer(theirs, [noise[:samples], noise])
        found = max(found, float((batch[0, : alone.shape[1]] - alone[0]).abs().max()))
    config = BigfootConfig(**(NARROW | NO_DROPOUT | STRUCTURES[structure] | changes))
    assert (found > 1e-4) == padding_changes_outputs(config), found
