"""Names that transformers has given the same tensors over the years: each layout opens as today's does."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from bigfoot.errors import ModelError
from bigfoot.formats.folder import load_model
from bigfoot.formats.tensor_names import rename_to_current
from bigfoot.models.shape import FAMILY_PREFIXES
from tests.pairwise import pairwise
from tests.refusals import refused

STRUCTURES = {"wav2vec2": "base", "hubert": "hubert", "wavlm": "wavlm", "data2vec-audio": "data2vec",
              "unispeech-sat": "unispeech-sat"}  # fmt: skip


def replaced(old, new):
    return lambda state, prefix: {name.replace(old, new): tensor for name, tensor in state.items()}


def with_plain_kernel(state, prefix):
    """As after ``remove_weight_norm``."""
    name = f"{prefix}.encoder.pos_conv_embed.conv."
    state = dict(state)
    length, direction = (state.pop(f"{name}parametrizations.weight.original{index}", None) for index in (0, 1))
    if direction is not None:
        state[f"{name}weight"] = direction * (length / direction.norm(dim=(0, 1), keepdim=True))
    return state


HEADS = ("quantizer.codevectors", "quantizer.weight_proj.weight", "project_hid.weight", "project_q.bias",
         "final_proj.weight", "label_embs_concat", "ctc_proj.bias", "speaker_proj.weight", "label_embeddings_concat",
         "layer_norm_for_extract.weight", "classifier.weight", "projector.bias", "layer_weights",
         "tdnn.0.kernel.weight", "objective.weight", "feature_extractor.weight", "feature_extractor.bias")  # fmt: skip
LAYOUTS = {
    "as it is": replaced("", ""),
    "before 2022": replaced("masked_spec_embed", "mask_time_emb_vector"),
    "before weight norm was a parametrization": lambda state, prefix: replaced(
        "parametrizations.weight.original0", "weight_g"
    )(replaced("parametrizations.weight.original1", "weight_v")(state, prefix), prefix),
    "without weight norm": with_plain_kernel,
    "with the prefix of wav2vec2": lambda state, prefix: replaced(f"{prefix}.", "wav2vec2.")(state, prefix),
    "without a prefix": lambda state, prefix: {name.removeprefix(f"{prefix}."): t for name, t in state.items()},
    "of DDP": lambda state, prefix: {f"module.{name}": tensor for name, tensor in state.items()},
    "of torch.compile in a module": lambda state, prefix: {f"model._orig_mod.{n}": t for n, t in state.items()},
    "of a module of somebody's": lambda state, prefix: {f"base_model.asr.{n}": t for n, t in state.items()},
    "with heads of other tasks": lambda state, prefix: state | dict.fromkeys(HEADS, torch.ones(2, 2)),
    "with both vectors": lambda state, prefix: state | {f"{prefix}.mask_time_emb_vector": torch.full((24,), 7.0)},
    "without the vector": lambda state, prefix: {n: t for n, t in state.items() if "masked_spec" not in n},
}


@pytest.fixture(scope="module")
def saved(build_huggingface, tmp_path_factory):
    """By family a folder that transformers wrote, its tensors and its prefix."""
    made = {}
    for family, structure in STRUCTURES.items():
        folder = tmp_path_factory.mktemp("saved") / "model"
        build_huggingface(structure).save_pretrained(folder)
        made[family] = folder, load_file(folder / "model.safetensors"), FAMILY_PREFIXES[family]
    return made


@pytest.mark.grid
@pytest.mark.parametrize(
    ("layout", "family", "file"), pairwise(LAYOUTS, STRUCTURES, ("model.safetensors", "pytorch_model.bin"))
)
def test_every_layout_opens(layout, family, file, saved, speech):
    folder, state, prefix = saved[family]
    (folder / "model.safetensors").unlink(missing_ok=True)
    (folder / "pytorch_model.bin").unlink(missing_ok=True)
    with torch.no_grad():
        save_file(state, folder / "model.safetensors", {"format": "pt"})
        expected = load_model(folder).model
        (folder / "model.safetensors").unlink()
        changed = {name: tensor.clone() for name, tensor in LAYOUTS[layout](state, prefix).items()}
        if file.endswith(".bin"):
            torch.save(changed, folder / file)
        else:
            save_file(changed, folder / file, {"format": "pt"})
        found = load_model(folder).model
        wave = speech[0][:, :8_000]
        # Length and direction of a kernel that was multiplied out are found again to the last bits.
        tolerance = 1e-6 if layout == "without weight norm" else 0
        assert (found(wave).logits - expected(wave).logits).abs().max() <= tolerance
    if layout != "without the vector":
        assert torch.equal(found.speech_encoder.masked_spec_embed, expected.speech_encoder.masked_spec_embed)


@pytest.mark.parametrize("family", STRUCTURES)
def test_a_tensor_that_no_version_had_is_refused(family, saved):
    folder, state, prefix = saved[family]
    save_file(state | {f"{prefix}.encoder.sprong": torch.ones(1)}, folder / "model.safetensors", {"format": "pt"})
    with refused(ModelError, "sprong"):
        load_model(folder)


def test_integers_without_their_scales_are_no_weights(saved):
    folder, state, _ = saved["wav2vec2"]
    save_file(state | {"lm_head.bias": state["lm_head.bias"].to(torch.int8)}, folder / "model.safetensors")
    with refused(ModelError, "lm_head.bias", "int8"):
        load_model(folder)


def test_which_heads_were_left_out():
    renamed = rename_to_current(dict.fromkeys([*HEADS, "lm_head.bias"], torch.ones(1)), "hubert")
    assert set(renamed.tensors) == {"lm_head.bias"}
    assert renamed.pretraining == {
        "quantizer", "project_hid", "project_q", "final_proj", "label_embs_concat", "ctc_proj", "speaker_proj",
        "label_embeddings_concat", "layer_norm_for_extract",
    }  # fmt: skip
    assert renamed.other == {"classifier", "projector", "layer_weights", "tdnn", "objective", "feature_extractor"}
