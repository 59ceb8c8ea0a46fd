"""The teacher's most probable texts of train, written once beside the manifests for losses that learn from them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from accelerate import PartialState

from bigfoot.config import Problem
from bigfoot.data.batches import evaluation_batches
from bigfoot.data.cuts import write_hypotheses
from bigfoot.data.manifests import PreparedData
from bigfoot.decoding.nbest import NBest, find_nbest
from bigfoot.distill.objective import active_losses
from bigfoot.distill.terms.nbest import NBestLoss
from bigfoot.errors import DataError
from bigfoot.formats.folder import LoadedModel
from bigfoot.pipeline.context import Labels
from bigfoot.pipeline.facts import log_skipped
from bigfoot.pipeline.fingerprints import fingerprint, fingerprint_files
from bigfoot.pipeline.plan import Plan
from bigfoot.pipeline.settings import Config
from bigfoot.pipeline.steps.teaching import taught_losses
from bigfoot.storage.digests import describe_damage, digest_file
from bigfoot.storage.state import forget_state, read_state, refuse_file, write_state
from bigfoot.text.tokenizer import Tokenizer

log = logging.getLogger("bigfoot")

STATE_FILE = "hypotheses.json"


@dataclass(frozen=True)
class _State:
    """Content of ``hypotheses.json``: utterances, those with texts, their texts, and how sure the teacher is."""

    fingerprint: str
    num_utterances: int
    num_taught: int
    num_texts: int
    mean_confidence: float
    digest: str


def nbest_losses(config: Config) -> list[NBestLoss]:
    """Return the losses of a run that learn from the teacher's texts."""
    every = [active_losses(losses).values() for losses in taught_losses(config).values()]
    return [loss for losses in every for loss in losses if isinstance(loss, NBestLoss)]


def hypothesis_problems(plan: Plan) -> Iterator[Problem]:
    """Check that the teacher can write texts where a loss learns from them.

    Args:
        plan: of the run.

    Yields:
        A problem if it cannot.
    """
    if plan.models is None or not nbest_losses(plan.config):
        return
    teacher, writes = plan.models.teacher, plan.models.source.processor.tokenizer
    if not teacher.config.ctc_head or teacher.processor.tokenizer is None:
        missing = "vocabulary" if teacher.config.ctc_head else "CTC head"
        message = f"nbest learns from the teacher's texts, but {teacher.path} has no {missing} to write them with"
        yield Problem("distill.losses.nbest", "no_labels", f"{message}; set its weight to 0")
    elif writes is None or writes.characters is None:
        message = f"the teacher's texts are brought to the student's characters, and {plan.models.source.path} has none"
        yield Problem("distill.losses.nbest", "no_vocabulary", f"{message}; set its weight to 0")


def add_hypotheses(
    config: Config, data: PreparedData, labels: Labels, teacher: LoadedModel, written: Tokenizer | None
) -> Labels:
    """Add the teacher's most probable texts to the manifest of train, if a loss learns from them.

    Args:
        config: of the run.
        data: its folder holds the new manifest.
        labels: of the run, not modified.
        teacher: with a CTC head and a vocabulary.
        written: in whose characters the texts are wanted.

    Returns:
        The labels with the other manifest of train; as they are without such a loss.

    Raises:
        DataError: no utterance has a text with the confidence that is asked for.
    """
    losses = nbest_losses(config)
    if not losses:
        return labels
    assert teacher.folder is not None and written is not None
    size, beam = max(loss.size for loss in losses), max(loss.beam_size for loss in losses)
    least = min(loss.min_confidence for loss in losses)
    wanted = [labels.fingerprint, fingerprint_files(teacher.folder), written.vocabulary, size, beam, least]
    expected, folder = fingerprint(wanted), data.folder / "hypotheses"
    manifest = folder / labels.manifests["train"].name
    state = _read_state(folder, manifest, expected)
    if state is None:
        state = _write(config, labels.manifests["train"], manifest, teacher, written, (size, beam, least), expected)
    else:
        log_skipped("hypotheses", folder)
    note = (
        f"nbest learns from the teacher's {state.num_texts} texts of {state.num_taught} of {state.num_utterances} "
        f"utterances of train (mean confidence {state.mean_confidence:.2f}, at least {least:g} asked for)"
    )
    log.info("hypotheses: %s", note)
    return replace(
        labels, manifests=labels.manifests | {"train": manifest}, fingerprint=expected, notes=[*labels.notes, note]
    )


def _read_state(folder: Path, manifest: Path, expected: str) -> _State | None:
    state, reason = read_state(folder / STATE_FILE, _State)
    if state is not None and state.fingerprint == expected:
        reason = describe_damage(folder, {manifest.name: state.digest})
        if not reason:
            return state
    if reason:
        log.warning("hypotheses: %s; the teacher writes them again", reason)
    return None


def _write(
    config: Config, given: Path, manifest: Path, teacher: LoadedModel, written: Tokenizer,
    how: tuple[int, int, float], expected: str,
) -> _State:  # fmt: skip
    folder, (size, beam, least) = manifest.parent, how
    refuse_file(folder)
    folder.mkdir(parents=True, exist_ok=True)
    forget_state(folder / STATE_FILE)
    found = list(_transcribe(config, given, teacher, written, size, beam))
    sure = {each.id: each for each in found if each.texts and each.confidence >= least}
    if not sure:
        raise DataError(
            f"distill.losses.nbest: the teacher has no text for any of the {len(found)} training utterances with "
            f"min_confidence = {least:g}; relax it, or check the teacher's outputs with `bigfoot transcribe`"
        )
    texts = {name: list(zip(each.texts, each.log_probs, strict=True)) for name, each in sure.items()}
    write_hypotheses(given, texts, manifest)
    mean = sum(each.confidence for each in found) / len(found)
    count = sum(map(len, texts.values()))
    state = _State(expected, len(found), len(sure), count, mean, digest_file(manifest))
    write_state(folder / STATE_FILE, state)
    return state


def _transcribe(
    config: Config, manifest: Path, teacher: LoadedModel, written: Tokenizer, size: int, beam: int
) -> Iterator[NBest]:
    tokenizer = teacher.processor.tokenizer
    assert tokenizer is not None
    silent = replace(teacher.processor, tokenizer=None)
    batches = evaluation_batches(
        manifest, silent, config.evaluate.batch_size, doing="writing the teacher's hypotheses of train"
    )
    home = teacher.model.device
    teacher.model.to(PartialState().device)
    yield from find_nbest(teacher.model, batches, tokenizer, written, beam, size)
    teacher.model.to(home)
