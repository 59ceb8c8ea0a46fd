"""Steps of a speech LLM's run: each reads a model folder and writes one, with its facts."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from accelerate import PartialState
from torch import Tensor, nn

from bigfoot.compress.depth import Depth
from bigfoot.compress.registry import apply_technique
from bigfoot.config import to_dict
from bigfoot.data.turns import Place, check_recordings
from bigfoot.formats.folder import load_model
from bigfoot.formats.huggingface import fetch_folder
from bigfoot.formats.int8_language_model import Int8Weights, round_
from bigfoot.formats.speech_llm import (
    LoadedSpeechLLM,
    build_speech_llm,
    load_speech_llm,
    save_speech_llm,
)
from bigfoot.measure.size import count_params
from bigfoot.models.speech_llm.adapters import divide_rate
from bigfoot.pipeline.facts import FACTS_FILE, StepResult, read_facts, write_facts
from bigfoot.pipeline.fingerprints import fingerprint
from bigfoot.storage.digests import digest_file, digest_folder
from bigfoot.storage.ownership import OWN_OR_EDITED
from bigfoot.storage.state import forget_state
from bigfoot.tasks.speech_llm.examples import Example, read_examples
from bigfoot.tasks.speech_llm.settings import STAGES, SpeechLLMConfig, StageConfig
from bigfoot.tasks.speech_llm.stage import Stage
from bigfoot.text.prompts import PromptTemplate

log = logging.getLogger("bigfoot")

START = "start"
"""Folder and row of the model before any step."""
_LEARNED = ("instruction", "column", "labels")
"""Settings of tasks that examples follow from; the others are for evaluation."""


@dataclass
class SpeechLLMRun:
    """What the steps of a run share.

    Args:
        config: of the run.
        folder: of the run.
        examples: by split, as far as files are named.
        fingerprint: of the turns and their audio.
        results: of the steps so far.
        states: of encoders by recording, as far as stages keep them in memory; by digest of the encoder's weights.
    """

    config: SpeechLLMConfig
    folder: Path
    examples: dict[str, list[Example]]
    fingerprint: str
    results: list[StepResult] = field(default_factory=list)
    states: dict[str, dict[Place, Tensor]] = field(default_factory=dict)

    def load(self, result: StepResult) -> LoadedSpeechLLM:
        """Load the model of a step."""
        return load_speech_llm(
            result.folder, trust_remote_code=self.config.language_model.trust_remote_code
        )


def read_splits(config: SpeechLLMConfig, splits: Sequence[str]) -> tuple[dict[str, list[Example]], str]:
    """Read the examples of a run.

    Args:
        config: of the run.
        splits: some of train, dev and test.

    Returns:
        Examples by split, and a digest of the files, their settings, and the sizes and times of their audio.

    Raises:
        DataError: see ``read_examples`` and ``check_recordings``.
    """
    files = {split: getattr(config.data, split) for split in splits}
    found = {split: read_examples(path, config) for split, path in files.items()}
    turns = [turn for examples in found.values() for example in examples for turn in example.turns]
    check_recordings(turns)
    audio = sorted({str(turn.audio) for turn in turns})
    stamps = [(path, _stamp(Path(path))) for path in audio]
    tasks = [{key: value for key, value in to_dict(config.section(task)).items() if key in _LEARNED}
             for task in config.tasks]  # fmt: skip
    digests = [digest_file(Path(path).expanduser()) for path in files.values()]
    return found, fingerprint(digests, stamps, to_dict(config.data), config.tasks, tasks)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def fingerprint_model(folder: Path) -> str:
    """Compute the digest of a model folder with folders in it."""
    if folder.is_dir():
        return fingerprint(digest_folder(folder))
    # A checkpoint of one file, or the name of a bundle.
    return fingerprint(str(folder), digest_file(folder))


def run_start(run: SpeechLLMRun) -> StepResult:
    """Join encoder and language model by a new adapter, or take the configured speech LLM."""
    config = run.config
    if config.start is not None:
        folder = fetch_folder(config.start)
        return StepResult(START, folder, fingerprint_model(folder))
    encoder = load_model(config.encoder.path)
    assert encoder.folder is not None
    given = [fingerprint_model(encoder.folder), fingerprint_model(fetch_folder(config.language_model.path))]
    settings = [to_dict(config.adapter), config.prompt, config.seed, config.language_model.chat]
    inputs = {"encoder": given[0], "language model": given[1], "its settings": fingerprint(settings)}
    step = run.folder / START

    def build(result: StepResult) -> None:
        loaded = build_speech_llm(
            encoder, config.language_model.path, config.adapter, PromptTemplate(config.prompt),
            chat=config.language_model.chat, seed=config.seed,
            trust_remote_code=config.language_model.trust_remote_code,
        )  # fmt: skip
        _save(loaded, result)

    return _once(step, START, inputs, build)


def run_step(run: SpeechLLMRun, name: str) -> StepResult:
    """Run a step after those before it, or skip it where nothing has changed.

    Args:
        run: with the results so far.
        name: of the step.
    """
    config, before = run.config, run.results[-1]
    inputs = {"the model that it starts from": before.fingerprint}
    settings: list[object] = [name, to_dict(getattr(config, name))]
    if name in STAGES:
        inputs["data"] = run.fingerprint
        settings = [*settings, config.seed, config.precision, run.results[0].fingerprint]
    inputs["its settings"] = fingerprint(settings)
    work = {"shrink": _shrink, "quantize": _quantize}.get(name, _train)
    return _once(run.folder / name, name, inputs, lambda result: work(run, result))


def _once(folder: Path, name: str, inputs: dict[str, str], work: Callable[[StepResult], None]) -> StepResult:
    """Do a step's work, unless its folder holds the result of the same inputs."""
    done = read_facts(folder, inputs)
    state = PartialState()
    state.wait_for_everyone()
    if done is not None:
        log.info("%s: nothing has changed, skipped (%s)", name, done.folder)
        return done
    log.info("%s: started", name)
    if state.is_main_process:
        forget_state(folder / FACTS_FILE)
    began = time.monotonic()
    result = StepResult(name, folder / "model", fingerprint(inputs), inputs)
    work(result)
    result.seconds = result.seconds or time.monotonic() - began
    if state.is_main_process:
        write_facts(folder, result)
    state.wait_for_everyone()
    log.info("%s: done in %.0f s, model in %s", name, result.seconds, result.folder)
    return result


def _save(loaded: LoadedSpeechLLM, result: StepResult) -> None:
    """Save a model from the first process; all processes wait for it."""
    state = PartialState()
    if state.is_main_process:
        save_speech_llm(loaded, result.folder, may=OWN_OR_EDITED)
    state.wait_for_everyone()


def _train(run: SpeechLLMRun, result: StepResult) -> None:
    config: StageConfig = getattr(run.config, result.row)
    loaded = run.load(run.results[-1])
    teacher = _uncompressed(run) if config.losses.token_logits and config.teacher == "uncompressed" else None
    wanted = config.tasks or run.config.tasks
    train, dev = ([e for e in run.examples[split] if e.task in wanted] for split in ("train", "dev"))
    if config.language_model != "frozen":
        loaded.small = None
    states = run.states.setdefault(_digest(loaded.model.speech_encoder), {})
    stage = Stage(result.row, config, loaded, train, dev, run.config.data, teacher, states=states)
    trained, learns = stage.run(result.folder.parent, run.config, result.fingerprint)
    total = sum(count_params(part) for part in loaded.model.parts().values())
    parts = ", ".join(f"{part} {count:,}" for part, count in learns.items())
    result.changes.append(f"{result.row}: {sum(learns.values()):,} of {total:,} parameters learn: {parts}")
    log.info("%s", result.changes[-1])
    best = load_speech_llm(trained.best, trust_remote_code=run.config.language_model.trust_remote_code)
    _save(best, result)
    result.seconds, result.records, result.best_step = trained.seconds, trained.records, trained.best_step
    result.notes += [*trained.notes, *stage.cuts.describe(f"{result.row}, train and dev")]


def _digest(module: nn.Module) -> str:
    tensors = {name: tensor.cpu().numpy().tobytes() for name, tensor in module.state_dict().items()}
    return fingerprint([(name, hashlib.sha256(content).hexdigest()) for name, content in tensors.items()])


def _uncompressed(run: SpeechLLMRun) -> LoadedSpeechLLM:
    """Load the model of the step before the first shrinking."""
    names = [result.row for result in run.results]
    return run.load(run.results[names.index("shrink") - 1])


def _shrink(run: SpeechLLMRun, result: StepResult) -> None:
    config, loaded = run.config.shrink, run.load(run.results[-1])
    model = loaded.model
    if config.num_hidden_layers:
        depth = Depth(num_hidden_layers=config.num_hidden_layers, layer_init=config.layer_init)
        model.encoder, change = apply_technique(model.encoder, depth)
        result.changes += [f"shrink: encoder keeps {kept}" for kept in change.kept]
    if config.rate_divisor > 1:
        before = dataclasses.replace(model.adapter.shape)
        model.adapter = divide_rate(model.adapter, config.rate_divisor)
        now = model.adapter.shape
        result.changes.append(
            f"shrink: adapter's stride {before.stride} -> {now.stride}, queries {before.num_queries} -> "
            f"{now.num_queries}"
        )
    _save(loaded, result)


def _quantize(run: SpeechLLMRun, result: StepResult) -> None:
    loaded = run.load(run.results[-1])
    loaded.small = Int8Weights(tuple(run.config.quantize.keep_fp32))
    rounded = round_(loaded.model.language_model, loaded.small)
    result.changes.append(f"quantize: {rounded:,} weights of the language model are eight-bit integers")
    _save(loaded, result)
