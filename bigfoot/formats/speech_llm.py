"""The folder of a ``SpeechLLM``: encoder and language model in folders of their own, the adapter beside them."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from bigfoot.errors import ModelError
from bigfoot.formats.folder import LoadedModel, load_model, write_model
from bigfoot.formats.huggingface import fetch_folder
from bigfoot.formats.int8_language_model import Int8Weights, is_int8, load_int8, read_int8, save_int8
from bigfoot.formats.weight_files import read_safetensors
from bigfoot.models.finite import find_non_finite
from bigfoot.models.notices import warn_once
from bigfoot.models.speech_llm.adapters import AdapterShape
from bigfoot.models.speech_llm.model import SpeechLLM
from bigfoot.models.speech_llm.tokens import PromptTokenizer
from bigfoot.muting import without_bars
from bigfoot.storage.ownership import OWN_ONLY, MayReplace
from bigfoot.storage.replace import replace_folder
from bigfoot.storage.sharing import share_same_files
from bigfoot.text.json_fields import quote
from bigfoot.text.json_files import read_json
from bigfoot.text.prompts import PromptTemplate
from bigfoot.text.tokenizers import Processor

MODEL_TYPE = "bigfoot_speech_llm"
ENCODER, LANGUAGE_MODEL, ADAPTER = "encoder", "language_model", "adapter.safetensors"


# Errors of transformers for folders that it cannot use.
_UNUSABLE = (ValueError, OSError, KeyError, TypeError, RuntimeError, ImportError, StrictDataclassError)


@dataclass
class LoadedSpeechLLM:
    """A model with what surrounds it.

    Args:
        model: in fp32 and eval mode.
        processor: of the encoder: how audio is normalized.
        tokens: of the language model.
        template: of the prompts that it was trained with.
        small: eight-bit weights of the language model; None for fp32.
        folder: that it was loaded from; None of a new one.
    """

    model: SpeechLLM
    processor: Processor
    tokens: PromptTokenizer
    template: PromptTemplate
    small: Int8Weights | None = None
    folder: Path | None = None


def load_language_model(name: str | Path, *, trust_remote_code: bool = False) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer.

    Args:
        name: folder or id of transformers.
        trust_remote_code: run the code that the folder brings; without it such a folder is refused.

    Returns:
        Model in fp32 and eval mode, and tokenizer.

    Raises:
        ModelError: there is none, it brings code, its weights do not fit, or it is not causal.
    """
    folder = fetch_folder(str(name))
    raw, settings = read_json(folder / "config.json"), folder / "tokenizer_config.json"
    brings_code = "auto_map" in raw or (settings.is_file() and "auto_map" in read_json(settings))
    if brings_code and not trust_remote_code:
        raise ModelError(f"{folder} brings code of its own: read it, and set trust_remote_code to run it")
    if not brings_code and raw.get("model_type") not in CONFIG_MAPPING:
        raise ModelError(f"{folder}: transformers has no language model {quote(raw.get('model_type'))}")
    missing: list[str] = []
    try:
        if is_int8(folder):
            model = load_int8(folder, trust_remote_code=trust_remote_code)
        else:
            with without_bars():
                model, report = AutoModelForCausalLM.from_pretrained(
                    folder, dtype=torch.float32, trust_remote_code=trust_remote_code, output_loading_info=True
                )
            missing = sorted(report["missing_keys"])
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except _UNUSABLE as error:
        raise ModelError(f"{folder}: transformers cannot load this language model: {quote(str(error))}") from error
    if missing:
        raise ModelError(f"{folder}: its weights lack {', '.join(missing[:5])}")
    if faults := find_non_finite(dict(model.named_parameters())):
        raise ModelError(f"{folder}: its weights are damaged: {', '.join(faults[:5])}")
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        warn_once(f"{folder}: its tokenizer has {len(tokenizer)} tokens, its model {rows}: the others start at random")
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    if not _is_causal(model.eval()):
        raise ModelError(f"{folder} is no causal language model: its logits depend on later tokens, so on the answer")
    return model, tokenizer


@torch.inference_mode()
def _is_causal(model: Any) -> bool:  # noqa: ANN401 - of transformers'
    """Return whether the logits of a token are the same whatever comes after it; an encoder loads without a word."""
    last = model.get_input_embeddings().weight.shape[0] - 1
    logits = model(input_ids=torch.tensor([[0, 0], [0, last]]), use_cache=False).logits[:, 0]
    return bool(torch.allclose(logits[0], logits[1], rtol=1e-4, atol=1e-4, equal_nan=True))


def find_stops(language_model: Any, tokenizer: Any) -> list[int]:  # noqa: ANN401 - of transformers'
    """Find the tokens beside the end token with which a language model ends a turn, as its folder states.

    Args:
        language_model: with its settings of generation.
        tokenizer: what it does not know as a special token ends nothing: settings nobody chose name any number.
    """
    given = getattr(getattr(language_model, "generation_config", None), "eos_token_id", None)
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return sorted((special & set(given if isinstance(given, list) else [given])) - {tokenizer.eos_token_id})


def build_speech_llm(
    encoder: LoadedModel, language_model: str | Path, adapter: AdapterShape, template: PromptTemplate, *,
    chat: bool = False, seed: int = 0, trust_remote_code: bool = False,
) -> LoadedSpeechLLM:  # fmt: skip
    """Join an encoder and a language model by a new adapter.

    Args:
        encoder: any of bigfoot's.
        language_model: folder or id.
        adapter: shape of what joins them.
        template: of the prompts.
        chat: use the tokenizer's chat template.
        seed: of the adapter.
        trust_remote_code: see ``load_language_model``.

    Raises:
        ModelError: the language model cannot be loaded or used.
    """
    model, tokenizer = load_language_model(language_model, trust_remote_code=trust_remote_code)
    tokens = PromptTokenizer(tokenizer, chat)
    stops = find_stops(model, tokenizer)
    joined = SpeechLLM(encoder.model, adapter, model, tokens.end_id, len(tokenizer), seed, stops)
    small = read_int8(fetch_folder(str(language_model)))
    return LoadedSpeechLLM(joined.eval(), encoder.processor, tokens, template, small)


def save_speech_llm(loaded: LoadedSpeechLLM, folder: str | Path, *, may: MayReplace = OWN_ONLY) -> None:
    """Write a folder beside its place, and move it there once it is whole.

    Weights that are those of the folder that it was loaded from take no further space: both names are of one file.

    Args:
        loaded: the model; low-rank adapters of the language model are merged in what is written.
        folder: where.
        may: what may be replaced.

    Raises:
        OutputError: the folder holds what bigfoot did not write, or another process writes it.
    """
    replace_folder(Path(folder), lambda beside: _write(loaded, beside), may=may)


def _write(loaded: LoadedSpeechLLM, folder: Path) -> None:
    model = loaded.model
    write_model(LoadedModel(model.encoder, loaded.processor), folder / ENCODER)
    language_model = merge_adapters(model.language_model)
    if loaded.small is None:
        with without_bars():
            language_model.save_pretrained(folder / LANGUAGE_MODEL)
    else:
        save_int8(language_model, loaded.small, folder / LANGUAGE_MODEL)
    loaded.tokens.tokenizer.save_pretrained(folder / LANGUAGE_MODEL)
    state = {name: tensor.contiguous() for name, tensor in model.adapter.state_dict().items()}
    save_file(state, folder / ADAPTER)
    config = {
        "model_type": MODEL_TYPE, "adapter": dataclasses.asdict(model.adapter.shape),
        "prompt": loaded.template.text, "chat": loaded.tokens.chat,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if loaded.folder is not None:
        for part in (ENCODER, LANGUAGE_MODEL):
            share_same_files(folder / part, loaded.folder / part, "*.safetensors")


def merge_adapters(language_model: Any) -> Any:  # noqa: ANN401 - of transformers' or peft's
    """Return a language model with its low-rank adapters merged into a copy; without any, itself."""
    if not hasattr(language_model, "peft_config"):
        return language_model
    import copy

    return copy.deepcopy(language_model).merge_and_unload()


def load_speech_llm(name: str | Path, *, trust_remote_code: bool = False) -> LoadedSpeechLLM:
    """Load a folder of ``save_speech_llm``.

    Args:
        name: the folder, or an id of the hub.
        trust_remote_code: see ``load_language_model``.

    Raises:
        ModelError: it is none, or damaged.
    """
    folder = fetch_folder(str(name))
    raw = read_json(folder / "config.json")
    if raw.get("model_type") != MODEL_TYPE:
        raise ModelError(f"{folder} holds no speech LLM (model_type {MODEL_TYPE}), but {quote(raw.get('model_type'))}")
    known = {item.name for item in dataclasses.fields(AdapterShape)}
    shape, prompt = raw.get("adapter"), raw.get("prompt")
    if not isinstance(shape, dict) or not shape.keys() <= known or not isinstance(prompt, str):
        raise ModelError(f"{folder / 'config.json'} should hold adapter ({', '.join(sorted(known))}) and prompt")
    loaded = build_speech_llm(
        load_model(folder / ENCODER), folder / LANGUAGE_MODEL, AdapterShape(**shape), PromptTemplate(prompt),
        chat=raw.get("chat") is True, trust_remote_code=trust_remote_code,
    )  # fmt: skip
    tensors, wanted = read_safetensors(folder / ADAPTER), loaded.model.adapter.state_dict()
    faults = sorted(set(tensors) ^ set(wanted)) or [
        key for key, tensor in wanted.items() if tensor.shape != tensors[key].shape
    ] + find_non_finite(tensors)
    if faults:
        raise ModelError(f"{folder / ADAPTER} does not fit its configuration: {', '.join(faults[:5])}")
    loaded.model.adapter.load_state_dict(tensors)
    loaded.folder = folder
    return loaded


def is_speech_llm_folder(name: str | Path) -> bool:
    """Return whether a folder holds a speech LLM.

    Args:
        name: of a folder on this machine; False for all else.
    """
    file = Path(name) / "config.json"
    return file.is_file() and bool(read_json(file).get("model_type") == MODEL_TYPE)


def load_encoder(name: str | Path) -> LoadedModel:
    """Load a model, or the encoder of a speech LLM with its adapter.

    Args:
        name: of any model that ``load_model`` loads, or of ``load_speech_llm``.

    Raises:
        ModelError: see ``load_model``.
    """
    if not is_speech_llm_folder(name):
        return load_model(name)
    loaded = load_speech_llm(name)
    return LoadedModel(loaded.model.encoder, loaded.processor, folder=Path(name), adapter=loaded.model.adapter)
