"""A short training of one student that was cut out of a supernet, by the supernet's own losses."""

from __future__ import annotations

import os
from dataclasses import fields, replace
from pathlib import Path

from bigfoot.compress.settings import StudentConfig
from bigfoot.formats.folder import LoadedModel, load_config, load_model
from bigfoot.pipeline.execute import list_turns, read_turn
from bigfoot.pipeline.run import run_pipeline
from bigfoot.pipeline.settings import Config
from bigfoot.training.distilling import DistillConfig
from bigfoot.training.settings import TrainConfig


def polish(config: Config, run: Path, start: Path, folder: Path, steps: int) -> LoadedModel:
    """Distil a student from the run's teacher for some steps.

    Args:
        config: of the supernet's run.
        run: its folder, whose data is used.
        start: folder of the student.
        folder: of this training, which a stopped call goes on in.
        steps: optimizer steps.

    Returns:
        The trained student.
    """
    own = polishing_config(config, start, folder, steps)
    wanted = folder / "data"
    if not wanted.exists():
        folder.mkdir(parents=True, exist_ok=True)
        wanted.symlink_to(os.path.relpath((run / "data").resolve(), folder.resolve()), target_is_directory=True)
    run_pipeline(own, until="distill")
    result = read_turn(list_turns(own.steps)[-1], folder)
    assert result is not None  # the run would have raised
    return load_model(result.folder)


def polishing_config(config: Config, start: Path, folder: Path, steps: int) -> Config:
    """Return the configuration of such a training: the supernet's settings, for a student as it is.

    Args:
        config: of the supernet's run.
        start: folder of the student.
        folder: of the training.
        steps: optimizer steps.
    """
    layers = load_config(start).num_hidden_layers
    trained = {each.name: getattr(config.supernet, each.name) for each in fields(TrainConfig)}
    trained |= {"max_steps": steps, "warmup_steps": min(config.supernet.warmup_steps, steps // 5), "eval_every": steps}
    distill = DistillConfig(**trained, losses=config.supernet.losses)
    student = StudentConfig(path=str(start), num_hidden_layers=layers, change_conv_layers=False)
    return replace(
        config, run_dir=str(folder), steps=["student", "distill"], control=None, student=student, distill=distill
    )
