"""One stage of training a speech LLM, by the loop of all trainings."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor, nn

from bigfoot.data.batches import Batch
from bigfoot.data.settings import DataConfig
from bigfoot.data.turns import Place
from bigfoot.distill.losses import LossSum
from bigfoot.distill.speech_llm import TEXT_SPEECH, TOKEN_LOGITS, SpeechLLMLosses, SpeechLLMObjective
from bigfoot.formats.speech_llm import LoadedSpeechLLM, save_speech_llm
from bigfoot.models.speech_llm.model import SpeechInput, SpeechLLM
from bigfoot.models.speech_llm.packing import name_recordings
from bigfoot.models.speech_llm.trainable import set_trainable_
from bigfoot.storage.ownership import OWN_OR_EDITED
from bigfoot.tasks.speech_llm.batches import PromptStream, TurnBatch, collate_prompts
from bigfoot.tasks.speech_llm.cuts import Cuts
from bigfoot.tasks.speech_llm.examples import Example
from bigfoot.tasks.speech_llm.prompts import PromptBuilder
from bigfoot.tasks.speech_llm.settings import SpeechLLMConfig, StageConfig, TurnsConfig
from bigfoot.tasks.speech_llm.teachers import TeacherBuilder, TeacherLogits
from bigfoot.training.dev import DevScore
from bigfoot.training.loop import Trainer
from bigfoot.training.run import TrainingResult, TrainingRun
from bigfoot.training.trained_weights import leave_frozen_out

log = logging.getLogger("bigfoot")


class StageObjective(SpeechLLMObjective):
    """The losses of a speech LLM as the training loop asks for them; see ``TrainingObjective``.

    Args:
        model: what learns.
        losses: weights.
        states: of a frozen encoder by recording, kept in memory and filled; None to encode every time.
    """

    def __init__(self, model: SpeechLLM, losses: SpeechLLMLosses, states: dict[Place, Tensor] | None = None) -> None:
        super().__init__(model, losses)
        self._states = states
        self._places: Sequence[Place] = ()

    @property
    def student(self) -> SpeechLLM:
        """What learns."""
        return self.model

    @property
    def projections(self) -> nn.Module:
        """None: the adapter is a part of the model."""
        return nn.Module()

    def forward(self, batch: TurnBatch, masks: Mapping[str, Tensor]) -> dict[str, LossSum]:  # type: ignore[override]
        """Compute the sums of the losses of a batch."""
        self._places = batch.places
        return super().forward(batch.prompts(masks))

    def embed(self, speech: SpeechInput) -> list[Tensor]:
        """Compute the embeddings of each recording, from cached states of the encoder where they are wanted."""
        if self._states is None:
            return super().embed(speech)
        for row, place in enumerate(self._places):
            if place not in self._states:
                # Alone, and not in its batch: the same bits whatever was cached before.
                real = speech.attention_mask[row].nonzero().flatten()
                with torch.no_grad():
                    encoded = self.model.speech_encoder(speech.input_values[row : row + 1, : len(real)])
                self._states[place] = encoded.last_hidden_state[0].cpu()
        device = speech.input_values.device
        return self.model.adapt([self._states[place].to(device) for place in self._places])

    def embed_batch(self, batch: TurnBatch) -> list[Tensor]:
        """Compute the embeddings of a batch's recordings without masks; none where the prompts name none."""
        self._places = batch.places
        speech = SpeechInput(batch.input_values, batch.attention_mask)
        return self.embed(speech) if name_recordings(batch.layouts) else []

    def count_units(self, batch: Batch) -> dict[str, int]:
        """Count tokens, and recordings with a transcript."""
        assert isinstance(batch, TurnBatch)
        return {name: len(batch.spoken) if name == TEXT_SPEECH else batch.num_tokens for name in self.weights}

    def deployed(self) -> SpeechLLM:
        """Return the model that is saved."""
        return self.model

    def advance_(self) -> None:
        """No loss has a schedule."""

    def move_teacher(self, device: torch.device) -> None:
        """The teacher is cached."""


class StageTrainer(Trainer):
    """The training loop on prompts.

    Args:
        objective: model and losses.
        run: settings and folder.
        stream: of batches.
    """

    can_shard = False

    def __init__(self, objective: StageObjective, run: TrainingRun, stream: PromptStream) -> None:
        super().__init__(objective, run)
        leave_frozen_out(self.accelerator)
        stream.builder.cuts.keep_in_checkpoints(self.accelerator)
        self._prompts = stream

    def _stream(self) -> Iterator[Batch]:
        accelerator = self.accelerator
        return self._prompts.iterate(self.progress.position, accelerator.process_index, accelerator.num_processes)

    def _write(self, folder: Path) -> None:
        save_speech_llm(self._prompts.builder.loaded, folder, may=OWN_OR_EDITED)


@dataclass(frozen=True)
class AnswerJudge:
    """Mean loss of the tokens of dev's answers; see ``DevJudge``.

    Args:
        examples: of dev.
        builder: of their prompts.
        batch_size: prompts in a batch.
        objective: what is trained.
    """

    examples: Sequence[Example]
    builder: PromptBuilder
    batch_size: int
    objective: StageObjective

    @torch.no_grad()
    def judge(self, student: Any, step: int, max_steps: int) -> DevScore:  # noqa: ANN401 - a SpeechLLM
        """See ``DevJudge``."""
        was_training = student.training
        student.eval()
        total, tokens = 0.0, 0
        for batch in read_batches(self.examples, self.builder, self.batch_size):
            moved = batch.to(student.device)
            losses = student(moved.layouts, self.objective.embed_batch(moved)).token_losses
            total, tokens = total + float(losses.double().sum()), tokens + len(losses)
        student.train(was_training)
        loss = total / max(1, tokens)
        return DevScore(loss, {"dev_loss": round(loss, 6)}, f"loss {loss:.4f} a token")


def read_batches(examples: Sequence[Example], builder: PromptBuilder, batch_size: int) -> Iterator[TurnBatch]:
    """Read examples with their answers once, in order.

    Args:
        examples: of a split.
        builder: of prompts.
        batch_size: prompts in a batch.
    """
    for first in range(0, len(examples), batch_size):
        here = examples[first : first + batch_size]
        answers = [example.answer for example in here]
        prompts = [builder.build(each, builder.count_answer(each.answer)) for each in here]
        yield collate_prompts(builder, prompts, answers)


@torch.no_grad()
def cache_teacher(
    teacher: PromptBuilder, examples: Sequence[Example], config: StageConfig, path: Path, fingerprint: str
) -> TeacherLogits:
    """Compute or read the distributions of a teacher.

    Args:
        teacher: of its prompts; with transcripts, unless ``config.teacher`` is ``uncompressed``.
        examples: of train.
        config: of the stage.
        path: of the cache.
        fingerprint: of all that it follows from.
    """
    ids = [example.id for example in examples]
    found = TeacherLogits.load(path, ids, fingerprint)
    if found is not None:
        return found
    log.info("teacher: answers of %d prompts are distributed by the %s", len(ids), config.teacher)
    collected, done = TeacherBuilder(config.teacher_top_k), 0
    model = teacher.loaded.model.eval()
    for batch in read_batches(examples, teacher, config.batch_size):
        moved = batch.to(model.device)
        output = model(moved.layouts, SpeechInput(moved.input_values, moved.attention_mask))
        collected.add(output.logits, output.counts, ids[done : done + len(output.counts)])
        done += len(output.counts)
    finished = collected.finish()
    if PartialState().is_main_process:
        finished.save(path, fingerprint)
    return finished


@dataclass
class Stage:
    """A stage and what it reads.

    Args:
        name: of the step.
        config: of the stage.
        loaded: model, changed in place.
        train: examples.
        dev: examples.
        data: how turns stand in prompts.
        teacher: the uncompressed speech LLM, where the losses compare with it.
        cuts: of histories, filled.
        states: of the encoder, if it is cached: an earlier stage with the same encoder has filled them.
    """

    name: str
    config: StageConfig
    loaded: LoadedSpeechLLM
    train: Sequence[Example]
    dev: Sequence[Example]
    data: TurnsConfig
    teacher: LoadedSpeechLLM | None = None
    cuts: Cuts = field(default_factory=Cuts)
    states: dict[Place, Tensor] = field(default_factory=dict)

    def run(self, folder: Path, settings: SpeechLLMConfig, fingerprint: str) -> tuple[TrainingResult, dict[str, int]]:
        """Train; the same call resumes a killed stage.

        Args:
            folder: of the step.
            settings: of the run.
            fingerprint: of everything; a checkpoint with another one is not resumed.

        Returns:
            Result, and the parameters that are trained, by part.
        """
        config, builder = self.config, PromptBuilder(self.loaded, self.data, self.cuts)
        learned = replace(builder, partner=self._teacher_prompts() if config.losses.token_logits else None)
        cached = self._cache(learned, folder, fingerprint) if config.losses.token_logits else None
        # Low-rank adapters start from random numbers, independent of all drawn before.
        with torch.random.fork_rng([]):
            torch.manual_seed(settings.seed)
            learns = set_trainable_(
                self.loaded.model, language_model=config.language_model, encoder=config.encoder,
                top_layers=config.top_layers, lora_rank=config.lora_rank,
            )  # fmt: skip
        objective = StageObjective(self.loaded.model, config.losses, self.states if config.cache_encoder else None)
        stream = PromptStream(
            self.train, learned, config.batch_size, settings.seed, cached, TEXT_SPEECH in objective.weights
        )
        run = TrainingRun(
            self.name, config, DataConfig(), self.loaded.processor, {}, folder, settings.seed, fingerprint,
            settings.precision, settings.trackers, judge=AnswerJudge(self.dev, builder, config.batch_size, objective),
        )  # fmt: skip
        return StageTrainer(objective, run, stream).train(), learns

    def _teacher_prompts(self) -> PromptBuilder:
        if self.config.teacher == "transcript":
            return PromptBuilder(self.loaded, replace(self.data, input="text"))
        assert self.teacher is not None
        return PromptBuilder(self.teacher, self.data)

    def _cache(self, learned: PromptBuilder, folder: Path, fingerprint: str) -> TeacherLogits:
        """Compute or read what the teacher of these prompts says to as much of each history."""
        assert learned.partner is not None
        teacher = replace(learned.partner, partner=replace(learned, partner=None))
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{TOKEN_LOGITS}.safetensors"
        return cache_teacher(teacher, self.train, self.config, path, fingerprint)
