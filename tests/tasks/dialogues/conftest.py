"""Short spoken dialogues, a narrow encoder and a tiny language model."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from bigfoot.formats.folder import save_model
from bigfoot.models.configuration import BigfootConfig
from bigfoot.models.ctc import BigfootForCTC
from bigfoot.text.tokenizers import Processor
from tests.conftest import NARROW, NO_DROPOUT, STRUCTURES
from tests.formats.test_speech_llm import write_language_model

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def dialogues():
    """The recipe's generator."""
    spec = importlib.util.spec_from_file_location("make_dialogues", ROOT / "recipes/dialogue/make_dialogues.py")
    module = sys.modules["make_dialogues"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def corpus(tmp_path_factory, dialogues):
    folder = tmp_path_factory.mktemp("dialogues")
    for split, count in (("train", 4), ("dev", 1), ("test", 3)):
        dialogues.write_split(folder, split, count, 2, seed=3)
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folders of an encoder and of a language model, by name."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    encoder = BigfootForCTC(BigfootConfig(**(NARROW | STRUCTURES["base"] | NO_DROPOUT))).eval()
    save_model(encoder, Processor(), folder / "encoder")
    return {"encoder": folder / "encoder", "lm": write_language_model(folder / "lm")}


@pytest.fixture(scope="session")
def settings(corpus, models):
    """Overrides of a small run in a folder: ``settings(folder, "key=value", ...)``."""

    def build(folder, *changes):
        stages = [
            f"{stage}.{key}" for stage in ("train_adapter", "train_lora", "train_full", "recover")
            for key in ("max_steps=2", "batch_size=4", "eval_every=2", "checkpoint_every=1", "warmup_steps=1",
                        "log_every=1", "lora_rank=2")
        ]  # fmt: skip
        return [
            f"run_dir={folder}", f"encoder.path={models['encoder']}", f"language_model.path={models['lm']}",
            *(f"data.{split}={corpus / split}.jsonl" for split in ("train", "dev", "test")), "adapter.hidden_size=16",
            "evaluate.bootstrap_samples=10", "evaluate.measure_speed=false",
            "classify.labels=[change,neutral,sustain]", *stages, *changes,
        ]  # fmt: skip

    return build


@pytest.fixture(scope="session")
def config_file():
    return str(ROOT / "bigfoot/configs/speech_llm/dialogue.yaml")
