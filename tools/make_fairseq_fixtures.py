"""Write tests/formats/fixtures/fairseq: small random checkpoints of fairseq's own making, with what fairseq answers.

To be run where fairseq is installed, and bigfoot need not be::

    pip install torch safetensors soundfile fairseq-fixed==0.12.3.1
    python tools/make_fairseq_fixtures.py tests/formats/fixtures/fairseq ../shared/data

The second folder holds LibriSpeech's train-mini. The stretches that fairseq gets are named in the outputs' metadata and
not copied: the tests read the recordings where they lie. Of each output, every third frame is kept.

wav2vec2 pre-trained and with a CTC head, each in the old layout (``args``, a Namespace, as ``torch.save`` wrote before
1.6) and in the new one (``cfg``, a DictConfig); HuBERT both ways in the newest (``cfg``, a plain dictionary). Answers
are those of the model that fairseq loads from the file; but for an old file with a CTC head, whose nested ``w2v_args``
fairseq can only read beside a hydra of that time, they are those of the model that was saved.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import sys
from argparse import Namespace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# The files hold objects of argparse and omegaconf; they are our own.
os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] = "1"

try:
    import soundfile
    import torch
    from fairseq import checkpoint_utils, tasks
    from fairseq.dataclass.configs import FairseqConfig
    from fairseq.dataclass.initialize import add_defaults
    from fairseq.models.hubert.hubert_asr import HubertCtc, HubertCtcConfig
    from fairseq.tasks import FairseqTask
    from omegaconf import DictConfig, OmegaConf
    from safetensors.torch import save_file
    from torch import Tensor
except ModuleNotFoundError as error:  # bigfoot need not be there: no line of its own
    sys.exit(f"error: {error.name} is missing: pip install torch safetensors soundfile fairseq-fixed==0.12.3.1")

# Of 16 kHz: a name in the answers, a recording, its first sample, how many.
STRETCHES = {
    "one": ("LibriSpeech/train-mini/103/1240/103-1240-0000.flac", 32_000, 24_000),
    "other": ("LibriSpeech/train-mini/1034/121119/1034-121119-0000.flac", 48_000, 20_111),
}
KEPT_FRAMES = 3
SYMBOLS = ("|", "E", "T", "A", "O", "N", "I", "'", "Z")
NARROW: dict[str, Any] = {
    "encoder_layers": 2, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 24, "encoder_attention_heads": 2,
    "conv_feature_layers": "[(8, 10, 5)] + [(8, 3, 2)] * 4 + [(8,2,2)] + [(12, 2, 2)]", "conv_pos": 16,
    "conv_pos_groups": 4, "final_dim": 6, "dropout": 0.1, "activation_dropout": 0.0, "attention_dropout": 0.1,
    "dropout_input": 0.0, "encoder_layerdrop": 0.0, "activation_fn": "gelu",
}  # fmt: skip
BASE: dict[str, Any] = {"extractor_mode": "default", "layer_norm_first": False, "conv_bias": False}
LARGE: dict[str, Any] = {"extractor_mode": "layer_norm", "layer_norm_first": True, "conv_bias": True}
QUANTIZER: dict[str, Any] = {"quantize_targets": True, "latent_vars": 4, "latent_groups": 2, "latent_dim": 4}
TUNED: dict[str, Any] = {
    "apply_mask": True, "mask_prob": 0.65, "mask_length": 10, "mask_channel_prob": 0.25, "mask_channel_length": 6,
    "final_dropout": 0.05, "dropout": 0.02, "attention_dropout": 0.0, "activation_dropout": 0.1, "dropout_input": 0.0,
    "layerdrop": 0.1, "w2v_path": "pretrained.pt", "feature_grad_mult": 0.0,
}  # fmt: skip


def make_audio(samples: int) -> Tensor:
    """A gliding tone with overtones and a little noise, (1, N)."""
    time = torch.arange(samples) / 16_000
    phase = 2 * torch.pi * (140 * time + 90 * time**2)
    tone = sum(torch.sin(phase * overtone) / overtone for overtone in range(1, 9))
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(1))
    return (0.1 * tone * (1 + torch.sin(40 * time)) + 0.01 * noise + 0.02)[None]


def read_stretches(corpora: Path) -> dict[str, Tensor]:
    """Stretches of real speech by name, (1, N) each."""
    return {
        name: torch.from_numpy(soundfile.read(corpora / file, count, start, dtype="float32")[0])[None]
        for name, (file, start, count) in STRETCHES.items()
    }


def make_config(model: dict[str, Any], task: dict[str, Any]) -> DictConfig:
    """A whole configuration of fairseq's, as its command line makes one."""
    config = OmegaConf.structured(FairseqConfig())
    OmegaConf.set_struct(config, False)
    config.model, config.task = DictConfig(model, flags={"allow_objects": True}), task
    config.model.__dict__["_parent"] = config
    add_defaults(config)
    # As fairseq's training command does, before it trains and saves.
    plain = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    return OmegaConf.create(plain, flags={"allow_objects": True})


def roughen_(model: torch.nn.Module) -> None:
    """Move norms and biases away from ones and zeros, where a mix-up of two of them would not show."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += 0.1 * torch.randn_like(parameter)


def write(path: Path, config: DictConfig, args: Namespace | None, data: Path) -> torch.nn.Module:
    """Build a random model and save it as fairseq's trainer does, with ``args`` in the old layout."""
    facts = None if args is not None else copy.deepcopy(config)
    if facts is not None and path.name.startswith("hubert"):
        facts = OmegaConf.to_container(facts, resolve=True, enum_to_str=True)
    torch.manual_seed(len(path.name))
    config.task.data = str(data)
    if "data" in config.model:
        config.model.data = str(data)
    task = tasks.setup_task(config.task)
    model = build(config, task)
    roughen_(model)
    history = {"criterion_name": "CtcCriterion", "optimizer_name": "FairseqAdam", "lr_scheduler_state": {"best": None}}
    content = {
        "args": args,
        "cfg": facts,
        "model": model.state_dict(),
        "optimizer_history": [{**history, "num_updates": 3}],
        "task_state": {} if args is not None else task.state_dict(),
        "extra_state": {"train_iterator": {"epoch": 1, "iterations_in_epoch": 0}, "val_loss": None},
        "last_optimizer_state": {"state": {0: {"step": 3, "exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": 0.1}]},
    }
    torch.save(content, path, _use_new_zipfile_serialization=args is None)
    return model


def flatten(model: dict[str, Any], task: dict[str, Any], **more: Any) -> Namespace:  # noqa: ANN401
    """The one heap of settings that old checkpoints have."""
    facts = {key: value for key, value in {**task, **model}.items() if key not in ("_name", "w2v_args")}
    return Namespace(**facts, arch=model["_name"], task=task["_name"], **more)


def answer(model: torch.nn.Module, audio: Tensor) -> dict[str, Tensor]:
    """What a model of fairseq's makes of audio: every hidden state, and the logits where there is a head."""
    model.eval()
    encoder = model.w2v_encoder.w2v_model if hasattr(model, "w2v_encoder") else model
    states: list[Tensor] = []
    layers = encoder.encoder.layers
    hooks = [layers[0].register_forward_pre_hook(lambda _, given: states.append(given[0]))]
    hooks += [layer.register_forward_hook(lambda _, given, out: states.append(out[0])) for layer in layers]
    with torch.no_grad():
        if encoder is model:
            result = model.extract_features(source=audio, padding_mask=None, mask=False)
            last = result["x"] if isinstance(result, dict) else result[0]
            found = {}
        else:
            last = encoder.extract_features(source=audio, padding_mask=None, mask=False)
            last = last["x"] if isinstance(last, dict) else last[0]
            states.clear()
            found = {"logits": model(source=audio, padding_mask=None)["encoder_out"].transpose(0, 1)}
    for hook in hooks:
        hook.remove()
    # fairseq pads the frames to an even number.
    hidden = [state.transpose(0, 1)[:, : last.shape[1]] for state in states]
    found |= {f"hidden_states.{index}": state for index, state in enumerate(hidden)}
    return found | {"last_hidden_state": last}


def build(config: DictConfig, task: FairseqTask) -> torch.nn.Module:
    """Build a model as fairseq does.

    This fairseq asks a HuBERT with a CTC head for a setting that its own dataclass does not know, and so can neither
    build nor load one by its usual door; the class behind it can.
    """
    if config.model._name != "hubert_ctc":
        return task.build_model(config.model, from_checkpoint=True)
    defaults = OmegaConf.to_container(OmegaConf.structured(HubertCtcConfig), resolve=False, enum_to_str=True)
    model = OmegaConf.merge(OmegaConf.create(defaults), config.model, {"autoregressive": False})
    return HubertCtc.build_model(OmegaConf.create(model, flags={"allow_objects": True}), task)


def load(path: Path, data: Path) -> torch.nn.Module:
    """Load a checkpoint as fairseq's own tools do, every weight and none besides.

    Args:
        path: the checkpoint.
        data: folder with the dictionary.
    """
    overrides = {"data": str(data)}
    state = checkpoint_utils.load_checkpoint_to_cpu(str(path), overrides)
    if state["cfg"].model._name != "hubert_ctc":
        models, _, _ = checkpoint_utils.load_model_ensemble_and_task([str(path)], arg_overrides=overrides)
        return models[0]
    task = tasks.setup_task(state["cfg"].task, from_checkpoint=True)
    task.load_state_dict(state["task_state"])
    model = build(state["cfg"], task)
    model.load_state_dict(state["model"], strict=True)
    return model


def plan(data: Path) -> dict[str, tuple[DictConfig, Namespace | None]]:
    """Configuration of each file, and its old spelling where it is to be in the old layout."""
    audio = {"_name": "audio_pretraining", "normalize": False, "sample_rate": 16_000}
    units = {"_name": "hubert_pretraining", "normalize": False, "labels": ["km"], "label_rate": 50.0}
    wav2vec2 = {"_name": "wav2vec2", **NARROW, **BASE, **QUANTIZER}
    large = {"_name": "wav2vec2", **NARROW, **LARGE, **QUANTIZER}
    hubert = {"_name": "hubert", **NARROW, **BASE, "label_rate": 50}
    hubert_large = {**hubert, **LARGE}
    letters = {"_name": "audio_finetuning", "normalize": True, "labels": "ltr", "sample_rate": 16_000}
    tuned = {"_name": "wav2vec_ctc", **TUNED, "normalize": True, "data": "data"}
    spoken = {"_name": "hubert_pretraining", "normalize": True, "labels": ["ltr"], "fine_tuning": True}

    def inside(model: dict[str, Any], task: dict[str, Any]) -> DictConfig:
        return make_config(model, {**task, "data": "data"})

    ctc = inside({**tuned, "w2v_args": inside(large, {**audio, "normalize": True})}, letters)
    hubert_tuned = {**tuned, "_name": "hubert_ctc", "w2v_args": inside(hubert_large, {**units, "normalize": True})}
    old = flatten(wav2vec2, audio, data="data", criterion="wav2vec")
    old_inner = flatten(large, {**audio, "normalize": True}, data="data", criterion="wav2vec")
    old_ctc = flatten(tuned, letters, criterion="ctc", w2v_args=old_inner, autoregressive=False)
    old_ctc.data = "data"
    return {
        "wav2vec2_pretrained_args": (inside(wav2vec2, audio), old),
        "wav2vec2_pretrained_cfg": (inside(wav2vec2, audio), None),
        "wav2vec2_ctc_args": (copy.deepcopy(ctc), old_ctc),
        "wav2vec2_ctc_cfg": (ctc, None),
        "hubert_pretrained_cfg": (inside(hubert, units), None),
        "hubert_ctc_cfg": (inside(hubert_tuned, spoken), None),
    }


def main() -> None:
    """Write all files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where to write")
    parser.add_argument("corpora", type=Path, help="folder that holds LibriSpeech/train-mini")
    given = parser.parse_args()
    folder, speech = given.folder, read_stretches(given.corpora)
    folder.mkdir(parents=True, exist_ok=True)
    stored = {"audio": make_audio(9_000)}
    with TemporaryDirectory() as temporary:
        data = Path(temporary)
        (data / "dict.km.txt").write_text("".join(f"{unit} 1\n" for unit in range(5)))
        (data / "dict.ltr.txt").write_text("".join(f"{symbol} {9 - rank}\n" for rank, symbol in enumerate(SYMBOLS)))
        (folder / "dict.ltr.txt").write_text((data / "dict.ltr.txt").read_text())
        for name, (config, args) in plan(data).items():
            path = folder / f"{name}.pt"
            model = write(path, config, args, data)
            if name != "wav2vec2_ctc_args":
                model = load(path, data)
            normalize = config.task.normalize
            made = run_fairseq(model, stored["audio"], normalize)
            stored |= {f"{name}/made/{key}": value for key, value in made.items()}
            for stretch, audio in speech.items():
                found = run_fairseq(model, audio, normalize)
                stored |= {f"{name}/{stretch}/{key}": value[:, ::KEPT_FRAMES] for key, value in found.items()}
            print(f"{path}: {path.stat().st_size} bytes")
    stored = {key: value.contiguous().clone() for key, value in stored.items()}
    save_file(stored, folder / "outputs.safetensors", {name: json.dumps(facts) for name, facts in STRETCHES.items()})


def run_fairseq(model: torch.nn.Module, audio: Tensor, normalize: bool) -> dict[str, Tensor]:
    """What a model makes of audio as its task hands it over."""
    return answer(model, torch.nn.functional.layer_norm(audio, audio.shape) if normalize else audio)


if __name__ == "__main__":
    main()
