"""Distill a smaller student from a teacher, from top to bottom.

    python recipes/distill.py --out runs/distill
    python recipes/distill.py --teacher facebook/wav2vec2-base-960h --corpus librispeech --root /data/LibriSpeech

Load the teacher, cut the student, train it to give what the teacher gives, evaluate both, save. Every part is one
call, so that this file can be copied and changed. The main job, with pruning, quantization, a report, and resuming
between steps, is ``recipes/compress.py --config``.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from bigfoot.errors import plain_errors

with plain_errors():  # without the extra [train]: its install line
    import bigfoot
    from bigfoot.compress import ConvGroups, Depth
    from bigfoot.data.corpora import prepare_data
    from bigfoot.data.manifests import PreparedData
    from bigfoot.data.settings import DataConfig, SpecAugmentConfig
    from bigfoot.distill import CTCLoss, HiddenLoss, LogitKLLoss, default_losses
    from bigfoot.distill.objective import Objective
    from bigfoot.evaluation.judge import judge_model
    from bigfoot.evaluation.settings import EvaluateConfig
    from bigfoot.formats.folder import LoadedModel
    from bigfoot.measure.size import count_params
    from bigfoot.training.loop import train
    from bigfoot.training.run import TrainingRun
    from bigfoot.training.settings import TrainConfig


def read_arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n", 1)[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/distill"), help="where everything is written")
    parser.add_argument("--teacher", default="tiny_teacher", help="a folder, file, Hugging Face id, or tiny_teacher")
    parser.add_argument("--layers", type=int, default=4, help="transformer layers that the student keeps")
    parser.add_argument("--conv-groups", type=int, default=2, help="groups of the student's convolutions")
    parser.add_argument("--corpus", default="synthetic_digits", help="synthetic_digits, librispeech, fsdd, folder, ...")
    parser.add_argument("--root", help="folder of the corpus; synthetic speech needs none")
    parser.add_argument("--utterances", type=int, default=4000, help="of train, where speech is generated")
    parser.add_argument("--steps", type=int, default=1000, help="optimizer steps")
    parser.add_argument("--learning-rate", type=float, default=5e-4, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=7, help="of data, weights, masks and order")
    return parser.parse_args()


def load_data(given: argparse.Namespace, teacher: LoadedModel) -> tuple[DataConfig, PreparedData]:
    """Manifests of train, dev and test; transcripts hold what the teacher's vocabulary can write."""
    config = DataConfig(corpus=given.corpus, root=given.root, num_train=given.utterances)
    if given.corpus == "librispeech":
        config.train_clean_100, config.dev_splits, config.test_splits = True, ["dev-clean"], ["test-clean"]
    tokenizer = teacher.processor.tokenizer
    characters = None if tokenizer is None else tokenizer.characters
    return config, prepare_data(config, given.seed, given.out / "data", characters)


def cut_student(given: argparse.Namespace, teacher: LoadedModel) -> LoadedModel:
    """A student with the teacher's weights where its shape has a place for them."""
    student = bigfoot.compress(teacher, [Depth(given.layers), ConvGroups(given.conv_groups, init="permute")])
    for entry in student.history[len(teacher.history) :]:
        print(*entry["changes"], sep="\n")
    return student


def train_student(
    given: argparse.Namespace, student: LoadedModel, teacher: LoadedModel, config: DataConfig, data: PreparedData
) -> LoadedModel:
    """Minimize the distance from the teacher's posteriors and hidden states, and the CTC loss of the transcripts."""
    losses = default_losses(logit_kl=LogitKLLoss(1.0), hidden=HiddenLoss(0.5), ctc=CTCLoss(0.1))
    objective = Objective(losses, student.model, teacher.model)
    settings = TrainConfig(
        max_steps=given.steps, learning_rate=given.learning_rate, warmup_steps=given.steps // 10,
        eval_every=max(1, given.steps // 5), checkpoint_every=max(1, given.steps // 5),
        spec_augment=SpecAugmentConfig(mask_time_prob=0.05),
    )  # fmt: skip
    run = TrainingRun(
        name="distill", config=settings, data=config, processor=student.processor, manifests=data.manifests,
        folder=given.out / "training", seed=given.seed, fingerprint=str(sorted(vars(given).items(), key=str)),
    )  # fmt: skip
    trained = train(objective, run)
    print(f"best on dev after step {trained.best_step}; {trained.seconds:.0f} s of training")
    return bigfoot.load_model(trained.best)


def evaluate(models: dict[str, LoadedModel], manifest: Path, seed: int) -> None:
    """Print size and word error rate of each model."""
    for name, loaded in models.items():
        print(f"{name}: {count_params(loaded.model):,} parameters")
        for judgement in judge_model(loaded, manifest, EvaluateConfig(), seed):
            print(judgement.describe("test"))


def main() -> None:
    """Load the teacher, cut the student, train, evaluate, save."""
    given = read_arguments()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    teacher = bigfoot.load_model(given.teacher)
    config, data = load_data(given, teacher)
    student = cut_student(given, teacher)
    best = train_student(given, student, teacher, config, data)
    evaluate({"teacher": teacher, "student": best}, data.manifests["test"], given.seed)
    entry = {"step": "distill", "changes": [f"distilled from {given.teacher} in {given.steps} steps"]}
    bigfoot.save_model(best.model, student.processor, given.out / "model", [*student.history, entry])
    print(f"saved: {given.out / 'model'}")


if __name__ == "__main__":
    with plain_errors():
        main()
