"""The whole search: small enough by exact counts, the same twice, alone as in a batch, refused where it cannot."""

import json

import pytest
import soundfile
import torch

from bigfoot.compress import Shrink
from bigfoot.compress.registry import fit_technique
from bigfoot.compress.shrink.search import count_cost
from bigfoot.compress.shrink.technique import apply
from bigfoot.errors import UnfitError
from bigfoot.formats.folder import load_model, save_model
from bigfoot.models.feature_encoder import PaddedAudio
from bigfoot.models.reshape import without_head
from tests.codes import codes, refusing
from tests.conftest import FAMILY_STRUCTURES
from tests.refusals import names, refused


@pytest.fixture(scope="module")
def audio():
    noise = torch.randn(10, 16_000, generator=torch.Generator().manual_seed(0))
    mask = torch.arange(16_000) < torch.tensor([8_000 + 800 * row for row in range(10)])[:, None]
    return [PaddedAudio(noise * mask, mask)]


UNFIT = {"conformer", "conformer-rotary", "w2v-bert", "w2v-bert-adapter", "sew", "sew-d"}
FITTED = ["base", "hubert", "wavlm", "data2vec", "large-lv60", "mms"]


@pytest.mark.grid
@pytest.mark.parametrize("structure", FITTED)
def test_every_family_shrinks_answers_and_reloads(structure, build_model, audio, processor, speech, tmp_path):
    model = build_model(structure)
    student, change = apply(model, Shrink(0.7, rounds=1), audio)
    share = count_cost(student, "macs") / count_cost(model, "macs")
    assert share <= 0.7 and names(change.describe(), f"{share:.1%}")
    save_model(student, processor, tmp_path / "student")
    again = load_model(tmp_path / "student").model
    with torch.no_grad():
        batch = student(audio[0].input_values[:3], audio[0].attention_mask[:3])
        for row in range(3):
            real = audio[0].input_values[row][audio[0].attention_mask[row]][None]
            alone, frames = again(real).logits[0], int(batch.frame_mask[row].sum())
            torch.testing.assert_close(batch.logits[row, :frames], alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("structure", sorted(UNFIT & FAMILY_STRUCTURES.keys()))
def test_other_layers_are_refused_by_name(structure, build_model, audio):
    model = build_model(structure)
    with refused(UnfitError, model.config.family):
        apply(model, Shrink(), audio)
    assert {code for _, code in codes(fit_technique(model.config, Shrink()).problems)} == {"not_shrinkable"}


@pytest.mark.slow
@pytest.mark.parametrize("measure", ["params", "mb", "rtf"])
def test_every_measure_reaches_its_share(measure, build_model, audio):
    model = build_model("base")
    found = []
    student, _ = apply(model, Shrink(0.9, measure, rounds=1), audio, on_found=found.append)
    if measure == "rtf":
        assert found[0].share <= 0.9 and count_cost(student, "macs") < count_cost(model, "macs")
        return
    assert found[0].share == count_cost(student, measure) / count_cost(model, measure) <= 0.9


@pytest.mark.slow
def test_twice_is_the_same_and_without_a_head_states_count(build_model, audio):
    model = without_head(build_model("base"))
    first, second = (apply(model, Shrink(0.7, rounds=2), audio)[0] for _ in range(2))
    assert first.config.to_dict() == second.config.to_dict()
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_what_cannot_be_reached_is_refused_with_what_can(build_model, audio):
    model = build_model("base")
    with refusing(("target", "out_of_reach"), kind=UnfitError) as caught:
        apply(model, Shrink(0.05, cuts=["heads"], rounds=1), audio)
    assert names(caught.value, "5.0%", "heads")


def test_settings_out_of_range(build_model):
    shape = build_model("base").config
    problems = fit_technique(shape, Shrink(0.0, cuts=["hands"])).problems
    assert codes(problems) == [("cuts", "unknown_word"), ("target", "out_of_range")]
    assert fit_technique(shape, Shrink()).unknown.code == "by_weights"
    with refusing(("", "no_audio"), kind=UnfitError):
        apply(build_model("base"), Shrink())


@pytest.mark.slow
def test_the_command_writes_a_folder_and_its_report(bigfoot, narrow_teacher, tmp_path):
    noise = torch.randn(8, 12_000, generator=torch.Generator().manual_seed(0)).clamp(-3, 3) / 4
    (tmp_path / "speech").mkdir()
    for row, wave in enumerate(noise):
        soundfile.write(tmp_path / "speech" / f"{row}.wav", wave.numpy(), 16_000)
    out = tmp_path / "half"
    given = ["shrink", str(narrow_teacher), str(out), "--audio", str(tmp_path / "speech"), "--target", "0.8"]
    code, output, _ = bigfoot(*given, "--rounds", "1", "--seconds", "4")
    report = json.loads((out / "shrink.json").read_text(encoding="utf-8"))
    before, after = report["sizes"]["macs_per_second"]
    loaded = load_model(out)
    assert code == 0 and after / before <= 0.8 and report["judgement"]["unseen"]
    assert report["judgement"]["low"] <= report["judgement"]["error"] <= report["judgement"]["high"]
    assert loaded.history[-1]["step"] == "shrink" and loaded.processor.tokenizer is not None
    assert names(output, f"{after / before:.1%}")
    assert bigfoot(*given, "--target", "1.5")[0] == 2
