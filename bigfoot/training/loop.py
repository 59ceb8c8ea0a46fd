"""The one training loop: distillation and fine-tuning differ in their objective alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from bigfoot.data.batches import Batch
from bigfoot.formats.folder import save_model
from bigfoot.progress import show_work
from bigfoot.storage.ownership import OWN_OR_EDITED
from bigfoot.training.batch_room import fit_batches
from bigfoot.training.checkpoint import Progress, load_checkpoint, not_written, save_checkpoint
from bigfoot.training.execution import reset_execution_, set_execution_
from bigfoot.training.feeding import feed
from bigfoot.training.guards import check_half_precision, describe_rates, find_broken
from bigfoot.training.heap import keep_freed_memory
from bigfoot.training.hooks import as_saved
from bigfoot.training.lagged import UnreadSteps
from bigfoot.training.observing import report_dev
from bigfoot.training.optim import Schedule, build_optimizer, build_scheduler, collect_parts
from bigfoot.training.pace import Pace, count_step_flops, find_peak
from bigfoot.training.precision import choose_precision
from bigfoot.training.processes import join_processes, lost_processes_named
from bigfoot.training.protocol import TrainingObjective
from bigfoot.training.run import TrainingResult, TrainingRun
from bigfoot.training.sharding import Sharding, is_launched_sharded, shard
from bigfoot.training.sitting import Sitting, pause
from bigfoot.training.tracking import Tracked, Tracking
from bigfoot.training.transfer import Transfer
from bigfoot.training.watch import LossWatch

log = logging.getLogger("bigfoot")

RESUMING = "resuming from step"


class Trainer:
    """Trains the student of an objective.

    The same call resumes a killed run, to the same bits as an uninterrupted one on the same machine.

    Args:
        objective: student, teacher and losses.
        run: everything else.
    """

    can_shard = True
    """See ``bigfoot.training.sharding``."""

    def __init__(self, objective: TrainingObjective, run: TrainingRun) -> None:
        self.run, self.config = run, run.config
        join_processes()
        keep_freed_memory()
        is_launched_sharded()  # before accelerate reads it
        self.precision = choose_precision(run.precision)
        self.accelerator = Accelerator(
            mixed_precision=self.precision, step_scheduler_with_optimizer=False,
            # Hidden losses alone leave the head without a gradient, and a batch may have no mask at all.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )  # fmt: skip
        set_seed(run.seed)
        self.objective = objective
        self.step_model = cast(nn.Module, objective).to(self.accelerator.device)
        self._check_precision()
        self.sharding = self._shard()
        optimizer = build_optimizer(collect_parts(objective, run.hooks), self.config)
        self.schedule = Schedule(self.config)
        scheduler = build_scheduler(optimizer, self.schedule)
        # The loader is not prepared: accelerate would replace lhotse's sampler with its own.
        if self.sharding is None:
            self.step_model = self.accelerator.prepare(objective)
        self.optimizer, self.scheduler = self.accelerator.prepare(optimizer, scheduler)
        objective.move_teacher(self.accelerator.device)
        set_execution_(objective, self.config, self.accelerator.device, run.name)
        self.accelerator.register_for_checkpointing(*(hook for hook in run.hooks if hasattr(hook, "state_dict")))
        self.progress, self.data = Progress(run.fingerprint), run.data
        device = self.accelerator.device
        peak = partial(find_peak, run.name, device, self.precision, run.peak_tflops)
        self.pace = Pace(device, self.accelerator.num_processes, self._count_flops, peak)
        self._accumulated = self.config.gradient_accumulation_steps
        bad_batches, rank = run.folder / "bad_batches", self.accelerator.process_index
        self.watch = LossWatch(run.name, self.config, self.precision, bad_batches, rank)
        self.transfer = Transfer(objective, self.accelerator, self.config.spec_augment, run.seed)
        self.unread = UnreadSteps(objective.weights)
        # The scaler of fp16 reads every step itself, and the norm of sharded weights is put together on the CPU.
        self.lags = device.type != "cpu" and self.precision != "fp16" and self.sharding is None

    def _shard(self) -> Sharding | None:
        """Divide the weights among the processes, where that is wanted."""
        if not (self.run.shard or is_launched_sharded()) or self.accelerator.num_processes == 1:
            return None
        return shard(self.objective, self.run.name, [*self.run.hooks, self], self.precision)

    def _sharded(self, transfer: Callable[..., None]) -> Callable[[Path], None] | None:
        """Return what writes or reads a checkpoint of sharded weights; None where they are not."""
        if self.sharding is None:
            return None
        return partial(transfer, self.sharding, self.accelerator, self.optimizer, self.scheduler)

    def _check_precision(self) -> None:
        check_half_precision(self.objective.student, self.precision)

    @property
    def _checkpoint(self) -> Path:
        return self.run.folder / "checkpoint"

    def train(self) -> TrainingResult:
        """Train to the last step, from the last checkpoint if there is one.

        Returns:
            See ``TrainingResult``.

        Raises:
            TrainingError: too many non-finite or exploding losses; a checkpoint that cannot be written or read; another
                process of the training ended.
            TrainingPaused: ``max_minutes`` of the run are over.
        """
        try:
            with lost_processes_named():
                return self._train()
        finally:
            reset_execution_(self.objective)

    def _train(self) -> TrainingResult:
        found = load_checkpoint(
            self.accelerator, self._checkpoint, self.run.fingerprint, self.run.folder / "best",
            self._sharded(Sharding.load_state),
        )  # fmt: skip
        if found is not None:
            self.progress = found
            log.info("%s: %s %d", self.run.name, RESUMING, found.step)
        self._share_batches()
        self.data = fit_batches(self.objective, self.run, self.accelerator, sharded=self.sharding is not None)
        settings = asdict(self.config) | {"seed": self.run.seed, "precision": self.precision}
        tracked = Tracked(self.run.name, self.run.folder.parent, settings)
        self.tracking = Tracking(self.run.trackers, tracked, is_main=self.accelerator.is_main_process)
        self.step_model.train()
        if self.progress.step < self.config.max_steps:
            self._note("zero_rate", describe_rates(self.optimizer.param_groups))
        began, before = time.monotonic(), self.progress.seconds
        # The log has a line of its own every ``log_every`` steps.
        with show_work(self.run.name, self.config.max_steps, "steps", done=self.progress.step, plain=False) as work:
            stream, sitting = self._stream(), Sitting(self.run.max_minutes, self.accelerator)
            while self.progress.step < self.config.max_steps and not self._is_patience_over():
                terms = self._step(stream)
                self.progress.seconds = before + time.monotonic() - began
                self._after_step(terms)
                work.advance(note=f"{_describe(terms)}  {self.pace.describe()}")
                if self.progress.step < self.config.max_steps and sitting.is_over():
                    self._settle()
                    self._save_checkpoint()
                    raise pause(self.run.name, self.progress.step, self.config.max_steps)
        self.tracking.finish()
        with as_saved(self.run.hooks, self.objective.student):
            self._save(self.run.folder / "last")
        progress = self.progress
        return TrainingResult(
            best=self.run.folder / "best", last=self.run.folder / "last", best_wer=progress.best_wer,
            best_step=progress.best_step, records=progress.records, seconds=progress.seconds,
            notes=list(progress.notes.values()),
        )  # fmt: skip

    def _share_batches(self) -> None:
        """Let a resumed training, on however many processes, take as many batches to a step as before."""
        processes, wanted = self.accelerator.num_processes, self.progress.batches_per_step
        if wanted:
            self._accumulated = max(1, round(wanted / processes))
        self.progress.batches_per_step = self._accumulated * processes
        if wanted and self.progress.batches_per_step != wanted:
            now = f"from step {self.progress.step} on it has {self.progress.batches_per_step}"
            self._note("batches_per_step", f"{processes} processes cannot share the {wanted} batches of a step: {now}")

    def _is_patience_over(self) -> bool:
        """Return whether dev has not improved for ``patience`` evaluations; a resumed training finds the same."""
        return 0 < self.config.patience <= self._evaluated_since_best()

    def _evaluated_since_best(self) -> int:
        return next((r["since_best"] for r in reversed(self.progress.records) if "since_best" in r), 0)

    def _note(self, kind: str, text: str | None) -> None:
        if text:
            self.watch.note(self.progress, kind, text)

    def _stream(self) -> Iterator[Batch]:
        return feed(self.objective, self.run, self.data, self.progress.position, self.accelerator)

    def _masks(self, batch: Batch) -> dict[str, Tensor]:
        return self.transfer.draw_masks(batch)

    def _step(self, stream: Iterator[Batch]) -> dict[str, float]:
        """Take one optimizer step; the loss is the mean over all frames or labels of the window, on all devices.

        A window with a non-finite loss is skipped as if it were not in the stream: neither the step count nor the
        schedule advances, and the next window replaces it.
        """
        began = time.perf_counter()
        for hook in self.run.hooks:
            hook.before_step_(self.objective.student, self.progress.step)
        while True:
            window = [self.pace.wait(stream) for _ in range(self._accumulated)]
            shares = self._backward(window)
            totals = self.transfer.add_up(shares)
            if self.lags:
                break
            values = dict(zip(self.objective.weights, totals.tolist(), strict=True))
            broken = find_broken(values) or self._find_broken_gradient(self._clip())
            if not broken:
                break
            self.optimizer.zero_grad()
            self.watch.leave_out(self.progress, window, shares, broken)
        if self.progress.step == 0:
            self._note("zero_rate", describe_rates(self.optimizer.param_groups))
        if self.lags:
            # Torch's fused optimizers leave the weights as they are where it says so; fp16's scaler uses the same.
            skipped = self.unread.add(window, shares, torch.cat([totals, self._clip().view(1)]))
            cast(Any, self.optimizer).optimizer.found_inf = skipped
        self._update()
        self.progress.step += 1
        position = window[-1].through or window[-1].position
        assert position is not None
        self.progress.position = position
        if self.lags:
            step, config = self.progress.step, self.config
            every = (config.log_every, config.eval_every, config.checkpoint_every, config.max_steps)
            found = self._settle() if any(step % steps == 0 for steps in every) else self.unread.newest
        else:
            found = values | {"loss": sum(self.objective.weights[name] * value for name, value in values.items())}
            self.watch.check_loss(self.progress, window, shares, found["loss"])
        audio = sum(batch.seconds(self.run.processor.sample_rate) for batch in window)
        self.pace.add(audio, time.perf_counter() - began)
        return found

    def _settle(self) -> dict[str, float]:
        """Read what the last steps came to; return the newest losses."""
        skipped = self.unread.settle(self.progress, self.watch)
        if skipped:
            cast(Any, self.scheduler).scheduler.last_epoch -= skipped
        return self.unread.newest

    def _backward(self, window: list[Batch]) -> list[dict[str, Tensor]]:
        """Accumulate the gradients of a window; return each batch's terms as shares of the window's mean."""
        counts, weights, device = self.transfer.count_units(window), self.objective.weights, self.accelerator.device
        # Devices average their gradients; the sum of their shares is needed.
        devices = self.accelerator.num_processes
        found = []
        for index, batch in enumerate(window):
            masks, last = self._masks(batch), index == len(window) - 1
            with nullcontext() if last else self._no_sync(), self.accelerator.autocast():
                terms = self.step_model(batch.to(device), masks)
                shares = {name: term.total / counts[name] for name, term in terms.items()}
                loss = sum(weights[name] * share for name, share in shares.items())
                if self.sharding is not None:
                    loss = loss + self.sharding.anchor().to(device)
            self.accelerator.backward(loss * devices)
            found.append({name: share.detach() for name, share in shares.items()})
        return found

    def _no_sync(self) -> AbstractContextManager[None]:
        if self.sharding is not None:
            return self.sharding.no_sync()
        return cast("AbstractContextManager[None]", self.accelerator.no_sync(self.step_model))

    def _clip(self) -> Tensor:
        """Clip the gradients; return their norm before."""
        for hook in self.run.hooks:
            hook.before_clip_(self.objective.student, self.progress.step)
        norm = self.accelerator.clip_grad_norm_(self.step_model.parameters(), self.config.max_grad_norm)
        if isinstance(norm, DTensor):
            norm = norm.full_tensor()
        return torch.zeros(()) if norm is None else cast(Tensor, norm)

    def _find_broken_gradient(self, norm: Tensor) -> str | None:
        # In fp16 gradients overflow occasionally by design: the scaler skips the step and reduces its scale.
        return None if self.precision == "fp16" or norm.isfinite() else "gradient"

    def _update(self) -> None:
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        self.objective.advance_()
        for hook in self.run.hooks:
            hook.after_step_(self.objective.student, self.progress.step + 1)

    def _after_step(self, terms: dict[str, float]) -> None:
        step, config = self.progress.step, self.config
        last = step == config.max_steps
        if step % config.log_every == 0 or last:
            record: dict[str, Any] = {"step": step, **{name: round(value, 6) for name, value in terms.items()}}
            record["learning_rate"] = self.scheduler.get_last_lr()[0]
            self.progress.records.append(record)
            self.tracking.log({k: v for k, v in record.items() if k != "step"} | self.pace.take(), step)
            if not last:
                self._note("zero_rate", describe_rates(self.optimizer.param_groups))
            pace = self.progress.seconds / step
            left = pace * (config.max_steps - step)
            log.info("%s %d/%d  %s  %.2f s/step, %s, %.0f s left", self.run.name, step, config.max_steps,
                     _describe(terms), pace, self.pace.describe(), left)  # fmt: skip
        if step % config.eval_every == 0 or last:
            with as_saved(self.run.hooks, self.objective.student):
                self._evaluate_dev()
        if step % config.checkpoint_every == 0:
            self._save_checkpoint()

    def _save_checkpoint(self) -> None:
        save_checkpoint(self.accelerator, self.progress, self._checkpoint, self._sharded(Sharding.save_state))

    def _count_flops(self) -> float | None:
        student = self.objective.student if self.sharding is None else self.sharding.whole
        return count_step_flops(student, getattr(self.objective, "teachers", []))

    def _evaluate_dev(self) -> None:
        """Judge the student on dev; save the best model so far."""
        # Students that answer in text have judges of their own, and no head of this name.
        step, has_head = self.progress.step, getattr(self.objective.student, "head", None) is not None
        judge = self.run.choose_judge(self.objective.weights, has_head=has_head)
        if judge is None:
            # Without a head there is no WER to select by: the newest is the best.
            self.progress.best_step = step
            self._save(self.run.folder / "best")
            return
        student = self.objective.student if self.sharding is None else self.sharding.gather_()
        score = judge.judge(student, step, self.config.max_steps)
        self.schedule.take_dev(score.error)
        record = {"step": step, **score.record}
        if self.config.patience:
            best = self.progress.best_wer
            better = best is None or (score.error is not None and score.error < best)
            record["since_best"] = 0 if better else self._evaluated_since_best() + 1
        self.progress.records.append(record)
        self.tracking.log(score.record, step)
        log.info("%s %d  dev %s", self.run.name, step, score.summary)
        for kind, note in score.notes.items():
            self._note(kind, note)
        report_dev(self.run.name, step, score.error)
        if not all(hook.may_be_best(step, self.config.max_steps) for hook in self.run.hooks):
            return
        # Of equals, prefer the later one.
        if self.progress.best_wer is None or score.error is None or score.error <= self.progress.best_wer:
            self.progress.best_wer, self.progress.best_step = score.error, step
            self._save(self.run.folder / "best")

    def _save(self, folder: Path) -> None:
        if self.sharding is not None:
            self.sharding.gather_()
        if self.accelerator.is_main_process:
            try:
                self._write(folder)
            except OSError as error:
                raise not_written("the model", self.progress.step, folder, self._checkpoint, error) from error
        self.accelerator.wait_for_everyone()

    def _write(self, folder: Path) -> None:
        """Write the model that is deployed."""
        model = self.objective.deployed() if self.sharding is None else self.sharding.whole
        save_model(model, self.run.processor, folder, may=OWN_OR_EDITED)


def _describe(terms: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in terms.items())


def train(objective: TrainingObjective, run: TrainingRun) -> TrainingResult:
    """Train the student of an objective.

    Args:
        objective: student, teacher and losses.
        run: settings, data and folder.

    Returns:
        See ``TrainingResult``.

    Raises:
        TrainingError: too many non-finite or exploding losses; a checkpoint that cannot be written or read.
    """
    return Trainer(objective, run).train()
