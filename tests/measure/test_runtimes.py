import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.errors import ModelError
from bigfoot.formats.folder import save_model
from bigfoot.measure.runtimes import name_models, open_runnable
from tests.refusals import refused


@pytest.mark.grid
@pytest.mark.parametrize("structure", ["base", "large-lv60"])
@pytest.mark.parametrize("changes", [{}, {"ctc_head": False}, {"mask_time_prob": 0.0}])
def test_both_runtimes_give_one_answer(build_model, processor, structure, changes, tmp_path):
    save_model(build_model(structure, **changes), processor, tmp_path)
    ours, theirs = open_runnable(str(tmp_path)), open_runnable(f"transformers:{tmp_path}")
    assert (ours.runtime, theirs.runtime, ours.folder) == ("bigfoot", "transformers", theirs.folder)
    assert type(theirs.model).__module__.startswith("transformers.") and not theirs.model.training
    assert theirs.model.config._attn_implementation == "sdpa"
    samples = torch.randn(1, 8000)
    with torch.no_grad():
        torch.testing.assert_close(ours.model(samples)[0], theirs.model(samples)[0], atol=1e-4, rtol=1e-4)


@pytest.mark.grid
def test_both_runtimes_give_one_answer_in_every_family(family, build_model, processor, tmp_path):
    save_model(build_model(family), processor, tmp_path)
    if family.startswith(("w2v-bert", "sew")):
        # Of samples the one takes none, and the other's tensors have names of ours in our folder.
        with refused(ModelError, family if family.startswith("sew") else "wav2vec2-bert"):
            open_runnable(f"transformers:{tmp_path}")
        return
    ours, theirs = open_runnable(str(tmp_path)), open_runnable(f"transformers:{tmp_path}")
    assert type(theirs.model).__module__.startswith("transformers.")
    assert theirs.model.config._attn_implementation == ("eager" if "wavlm" in family else "sdpa")
    samples = torch.randn(1, 8000)
    with torch.no_grad():
        torch.testing.assert_close(ours.model(samples)[0], theirs.model(samples)[0], atol=1e-4, rtol=1e-4)


def test_a_huggingface_folder(build_huggingface, tmp_path):
    build_huggingface().save_pretrained(tmp_path)
    assert type(open_runnable(f"transformers:{tmp_path}").model).__name__ == "Wav2Vec2ForCTC"
    assert open_runnable(str(tmp_path)).config.receptive_field == 400


def test_a_shape_of_bigfoots_own_is_refused_in_words(build_model, processor, tmp_path):
    save_model(build_model(conv_groups=[1, 2, 2, 2, 2, 2, 2]), processor, tmp_path)
    with refused(ModelError, "wav2vec2", "conv_groups"):
        open_runnable(f"transformers:{tmp_path}")
    assert open_runnable(str(tmp_path)).runtime == "bigfoot"


def test_weights_that_do_not_fit_are_no_answer(build_model, processor, tmp_path):
    from safetensors.torch import load_file, save_file

    save_model(build_model(), processor, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["wav2vec2.encoder.layers.1.feed_forward.output_dense.bias"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with refused(ModelError, "1", "wav2vec2.encoder.layers.1"):
        open_runnable(f"transformers:{tmp_path}")
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ModelError):
        open_runnable(f"transformers:{tmp_path}")


@pytest.mark.parametrize("source", ["/nowhere", "transformers:/nowhere"])
def test_an_unknown_folder(source):
    with refused(ModelError, "/nowhere"):
        open_runnable(source)


@pytest.mark.slow
def test_another_family(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "lasr_encoder"}))
    with refused(ModelError, "lasr_encoder", "model_type"):
        open_runnable(f"transformers:{tmp_path}")


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["runs/a", "b/"], ["a", "b"]),
        (["transformers:runs/a", "owner/model"], ["a", "model"]),
        (["transformers:runs/a", "runs/a"], ["transformers:a", "a"]),
        (["x/distill/model", "x/finetune/model"], ["distill/model", "finetune/model"]),
        (["x/model", "y/x/model"], ["x/model", "y/x/model"]),
        (["a", "a", "a"], ["a", "a#2", "a#3"]),
    ],
)
def test_short_names(sources, names):
    assert name_models(sources) == names


def test_here_has_a_name(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    assert name_models([".", "tiny_teacher"]) == ["mine", "tiny_teacher"]


PLACES = st.lists(st.sampled_from(["a", "b", "model", "a#2"]), min_size=1, max_size=3).map("/".join)


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from(["", "transformers:"]), PLACES).map("".join), min_size=1, max_size=6))
def test_names_differ(sources):
    names = name_models(sources)
    assert len(set(names)) == len(sources) and all(names)
