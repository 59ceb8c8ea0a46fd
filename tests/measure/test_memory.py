"""Peak memory of child processes. Each child loads torch and transformers: seconds, so they are few and shared."""

import pytest
import torch

from bigfoot.errors import ModelError
from bigfoot.formats.folder import save_model
from bigfoot.measure.memory import measure_peak_memory

MEGABYTE = 2**20
WIDE = {"hidden_size": 768, "num_attention_heads": 12, "num_hidden_layers": 4, "intermediate_size": 3072}


@pytest.fixture(scope="module")
def peaks(build_model, processor, tmp_path_factory):
    """Peaks of a narrow and a wide model, measured after this process held far more than either."""
    root = tmp_path_factory.mktemp("memory")
    save_model(build_model(), processor, root / "narrow")
    save_model(build_model(**WIDE), processor, root / "wide")
    # Touched page by page, so that they count.
    torch.zeros(1536 * MEGABYTE // 4).add_(1.0)
    return {name: measure_peak_memory(root / name, 1.0) for name in ("narrow", "wide")}


@pytest.mark.slow
def test_a_child_holds_what_it_needs_and_not_what_its_parent_held(peaks):
    assert 50 * MEGABYTE < peaks["narrow"] < 1200 * MEGABYTE


@pytest.mark.slow
def test_a_larger_model_needs_more(peaks):
    weights = 4 * 4 * (4 * 768 * 768 + 2 * 768 * 3072)
    assert peaks["wide"] > peaks["narrow"] + 0.9 * weights


@pytest.mark.slow
def test_a_batch_needs_more_by_plain_transformers_too(peaks, build_model, processor, tmp_path):
    save_model(build_model(), processor, tmp_path / "narrow")
    peak = measure_peak_memory(f"transformers:{tmp_path / 'narrow'}", 60.0, batch=16)
    # The first convolution alone makes 8 channels of 3,200 a second.
    assert peak > peaks["narrow"] + 0.9 * 4 * 8 * 3200 * 60 * 16


@pytest.mark.slow
def test_a_child_that_fails_is_quoted(tmp_path):
    with pytest.raises(ModelError):
        measure_peak_memory(tmp_path)
