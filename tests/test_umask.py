"""Every file and folder that is written follows the umask, whichever library writes it."""

import os
import stat

import pytest
import torch

from bigfoot.export.onnx import build_onnx
from bigfoot.formats.conversion import convert_model
from bigfoot.formats.folder import LoadedModel
from bigfoot.pipeline.vouching import write_report
from bigfoot.report.rows import Report, Row
from bigfoot.training.checkpoint import Progress, save_checkpoint

UMASK = 0o027


@pytest.fixture
def strict_umask():
    """A umask that no library has by itself."""
    before = os.umask(UMASK)
    yield
    os.umask(before)


@pytest.fixture
def narrow(build_model, processor):
    return LoadedModel(build_model("base"), processor)


def wrong_modes(folder):
    """Files and folders below a folder whose mode is not the umask's, by name."""
    found = {}
    for path in folder.rglob("*"):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if mode != (0o777 if path.is_dir() else 0o666) & ~UMASK:
            found[str(path.relative_to(folder))] = oct(mode)
    assert any(folder.rglob("*"))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("to", ["bigfoot", "huggingface", "fairseq", "torchaudio"])
def test_models(narrow, to, tmp_path, strict_umask):
    convert_model(narrow, tmp_path / "made", to=to, with_code=to == "bigfoot")
    assert wrong_modes(tmp_path) == {}


def test_exported_files(narrow, tmp_path, strict_umask):
    build_onnx(narrow).save(tmp_path / "model.onnx")
    assert wrong_modes(tmp_path) == {}


def test_openvino_files(narrow, tmp_path, strict_umask):
    pytest.importorskip("openvino")
    from bigfoot.export.openvino import build_openvino

    build_openvino(narrow).save(tmp_path / "model.xml")
    assert wrong_modes(tmp_path) == {}


@pytest.mark.slow
def test_programs_of_torch(narrow, tmp_path, strict_umask):
    from bigfoot.export.torch_export import build_torch_export

    build_torch_export(narrow).save(tmp_path / "model.pt2")
    assert wrong_modes(tmp_path) == {}


def test_checkpoints(tmp_path, strict_umask):
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    module = torch.nn.Linear(2, 2)
    accelerator.prepare(module, torch.optim.Adam(module.parameters()))
    save_checkpoint(accelerator, Progress("x"), tmp_path / "checkpoint")
    assert wrong_modes(tmp_path) == {}


@pytest.mark.slow
def test_reports(tmp_path, strict_umask):
    row = Row("teacher", "teacher", "test", wer=0.1, num_unique_params=5, macs_by_part={"conv": 5})
    write_report(Report("demo", [row]), tmp_path / "report", "fingerprint")
    assert len(list((tmp_path / "report").iterdir())) > 4
    assert wrong_modes(tmp_path) == {}


@pytest.mark.slow
def test_data_transcripts_and_embeddings(bigfoot, small_digits, tmp_path, strict_umask):
    from bigfoot.data.corpora import prepare_data
    from bigfoot.pipeline.settings import load_config

    sizes = ["data.num_train=2", "data.num_dev=1", "data.num_test=1"]
    prepare_data(load_config("demo_config.yaml", sizes).data, 1, tmp_path / "data", None)
    audio = tmp_path / "data" / "audio" / "test"
    written = ("transcribe", "tiny_teacher", audio, "--format", "json", "--output", f"{tmp_path}/texts/")
    embedded = ("embed", "tiny_teacher", "--audio_dir", audio, "--output_file", tmp_path / "e.safetensors")
    assert [bigfoot(*command)[0] for command in (written, embedded)] == [0, 0]
    assert wrong_modes(tmp_path) == {}


@pytest.mark.slow
def test_a_whole_run(finished_run):
    folder, _ = finished_run
    mask = os.umask(0)
    os.umask(mask)
    modes = {stat.S_IMODE(path.lstat().st_mode) | (0o111 if path.is_file() else 0) for path in folder.rglob("*")}
    assert modes == {0o777 & ~mask}
