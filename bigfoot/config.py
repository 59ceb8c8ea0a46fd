"""Every setting of a run as typed dataclasses; a YAML file holds only what differs from the defaults here.

``read_config`` merges defaults, a file and ``key=value`` overrides. Whatever is wrong (unknown key, wrong type) is
collected, so that a user sees all of it at once; what only the models can tell is checked by ``bigfoot.pipeline``.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bigfoot.errors import ConfigError

CONFIG_FOLDER = Path(__file__).resolve().parent.parent / "configs"


@dataclass
class AugmentConfig:
    """Changes to the waveform, in training only, drawn anew for every utterance and step."""

    speed: list[float] = field(default_factory=lambda: [1.0, 1.0])
    """Lowest and highest playback speed; pitch moves along."""
    gain_db: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Lowest and highest change of loudness in decibels."""
    noise_probability: float = 0.0
    """Share of utterances that get noise."""
    noise_snr_db: list[float] = field(default_factory=lambda: [15.0, 40.0])
    """Lowest and highest signal-to-noise ratio of that noise in decibels."""


@dataclass
class DataConfig:
    """What is heard: one corpus with its train, dev and test splits, as lhotse manifests."""

    corpus: str = "synthetic_digits"
    """``synthetic_digits``, ``fsdd``, ``librispeech`` or ``table``."""
    root: str | None = None
    """Folder of the corpus; ``$BIGFOOT_DATA/<its usual name>`` by default. Synthetic speech needs none."""
    train_clean_100: bool = False
    """LibriSpeech: train on train-clean-100."""
    train_clean_360: bool = False
    """LibriSpeech: train on train-clean-360."""
    train_other_500: bool = False
    """LibriSpeech: train on train-other-500."""
    train_splits: list[str] = field(default_factory=list)
    """LibriSpeech: further splits to train on, by folder name. Table: TSV, CSV or JSONL files."""
    dev_splits: list[str] = field(default_factory=list)
    """The same for dev, on which the best checkpoint is chosen."""
    test_splits: list[str] = field(default_factory=list)
    """The same for test, which is read once, at the end."""
    hold_out_speakers: int = 0
    """Take so many speakers out of train to be dev, where the corpus has no dev of its own."""
    num_train: int = 4000
    """Generated strings of digits in train (synthetic_digits, fsdd)."""
    num_dev: int = 60
    """Generated strings of digits in dev."""
    num_test: int = 260
    """Generated strings of digits in test."""
    min_digits: int = 1
    """Fewest digits in a generated string."""
    max_digits: int = 8
    """Most digits in a generated string."""
    on_bad_audio: str = "skip"
    """``skip`` leaves a bad file or transcript out and lists it in the report; ``raise`` stops at the first."""
    verify_audio: bool = True
    """Decode every file once while the manifest is made; off, only headers are read."""
    max_seconds: float = 35.0
    """Longer utterances are left out of training, and counted."""
    batch_seconds: float = 40.0
    """Audio in a training batch, padding included."""
    num_buckets: int = 8
    """Buckets of similar length from which batches are drawn."""
    num_workers: int = 0
    """Processes that read audio ahead; 0 reads in the training process."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Speed, gain and noise."""


@dataclass
class TeacherConfig:
    """The good model that is too big."""

    path: str = "tiny_teacher"
    """A bigfoot folder, a Hugging Face folder or id, or ``tiny_teacher``, which ships with bigfoot."""


@dataclass
class StudentConfig:
    """The shape of the student, cut out of the teacher."""

    num_hidden_layers: int = 4
    """Transformer layers that stay."""
    layer_init: Any = "spread"
    """Which: ``first_k``, ``last_k``, ``every_k``, ``spread`` (both ends kept), or a list of 0-based layers."""
    change_conv_layers: bool = True
    """False leaves the feature encoder as the teacher's."""
    conv_groups: Any = 2
    """Groups of the convolutions 1 and up (0 has one input channel), or a list with one number a layer."""


@dataclass
class SpecAugmentConfig:
    """Masks over the student's projected features (Park et al., 2019), in training only."""

    mask_time_prob: float = 0.05
    """Expected share of frames covered by time masks, 0 to 1."""
    mask_time_length: int = 5
    """Frames of a time mask."""
    mask_feature_prob: float = 0.0
    """Expected share of feature channels covered by feature masks, 0 to 1."""
    mask_feature_length: int = 10
    """Channels of a feature mask."""


@dataclass
class LogitKLConfig:
    """Kullback-Leibler divergence from the teacher's frame posteriors, times T squared (Hinton et al., 2015)."""

    weight: float = 1.0
    """Its share of the loss; 0 switches it off."""
    temperature: float = 1.0
    """Softens both distributions, above 0."""


@dataclass
class HiddenLossConfig:
    """Distance between hidden states of student and teacher, mean over real frames and channels."""

    weight: float = 0.0
    """Its share of the loss; 0 switches it off."""
    distance: str = "mse"
    """``mse``, ``l1`` or ``cosine`` (1 - cosine similarity)."""
    matches: Any = "proportional"
    """``proportional``, or a list of [student, teacher] indices into ``hidden_states`` (0 = encoder input)."""


@dataclass
class CTCLossConfig:
    """Connectionist temporal classification against the transcripts, mean over labels."""

    weight: float = 0.0
    """Its share of the loss; 0 switches it off."""


@dataclass
class LossesConfig:
    """The terms of the distillation loss, by name and weight."""

    logit_kl: LogitKLConfig = field(default_factory=LogitKLConfig)
    """The teacher's posteriors."""
    hidden: HiddenLossConfig = field(default_factory=HiddenLossConfig)
    """The teacher's hidden states."""
    ctc: CTCLossConfig = field(default_factory=CTCLossConfig)
    """The transcripts."""


@dataclass
class TrainConfig:
    """How a model is trained, whatever the loss."""

    max_steps: int = 1000
    """Optimizer steps."""
    learning_rate: float = 5e-4
    """Highest learning rate."""
    learning_rate_factors: dict[str, float] = field(default_factory=dict)
    """Multiplies it for a part: ``feature_encoder``, ``feature_projection``, ``encoder``, ``lm_head`` or
    ``projections``."""
    schedule: str = "linear"
    """After the warm-up: ``linear`` or ``cosine`` to nothing, or ``constant``."""
    warmup_steps: int = 100
    """Steps of linear rise at the start."""
    weight_decay: float = 0.01
    """AdamW's, on matrices; never on biases and norms."""
    adam_betas: list[float] = field(default_factory=lambda: [0.9, 0.98])
    """AdamW's averaging constants."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm."""
    gradient_accumulation_steps: int = 1
    """Batches to an optimizer step; the loss is the mean over all their frames or labels."""
    checkpoint_every: int = 200
    """Steps between checkpoints from which a killed run goes on."""
    eval_every: int = 200
    """Steps between looks at dev: greedy WER and blank rate."""
    log_every: int = 10
    """Steps between lines of the loss."""
    spec_augment: SpecAugmentConfig = field(default_factory=SpecAugmentConfig)
    """Masks on the student's side."""


@dataclass
class DistillConfig(TrainConfig):
    """Train the student to answer as the teacher does."""

    losses: LossesConfig = field(default_factory=LossesConfig)
    """What is compared, by name and weight."""


@dataclass
class FinetuneConfig(TrainConfig):
    """Train with CTC on the transcripts."""

    max_steps: int = 300
    """Optimizer steps."""
    learning_rate: float = 2e-4
    """Highest learning rate."""
    head: str = "teacher"
    """``teacher`` goes on with the model's own CTC head; ``new`` begins one over the training data's characters."""
    freeze_feature_encoder_steps: int = 0
    """The feature encoder stays as it is for so many steps."""


@dataclass
class EvaluateConfig:
    """What is measured of every model."""

    splits: list[str] = field(default_factory=lambda: ["test"])
    """Splits of which the report has rows: ``dev``, ``test``."""
    batch_size: int = 8
    """Utterances decoded together; padding never changes an answer."""
    bootstrap_samples: int = 1000
    """Resamplings behind a confidence interval."""
    speed_rounds: int = 9
    """Interleaved rounds of the speed measurement."""
    speed_seconds: float = 10.0
    """Audio of one timed pass, batch 1."""


@dataclass
class Config:
    """A whole run: from a teacher to a table."""

    run_dir: str = "runs/demo"
    """Where everything of the run is written, and found again by the same command."""
    seed: int = 7
    """Of data, weights, masks and order."""
    threads: int | None = None
    """CPU threads of torch; its own default where null."""
    precision: str = "auto"
    """Of training: ``no`` (fp32), ``bf16``, ``fp16``; ``auto`` takes bf16 on a GPU that has it and fp32 elsewhere."""
    trackers: list[str] = field(default_factory=lambda: ["tensorboard"])
    """Where curves go besides the report: ``tensorboard``, ``wandb``, ``mlflow``, ``comet_ml``; all but the first need
    their own package."""
    steps: list[str] = field(default_factory=lambda: ["student", "distill", "finetune"])
    """What is done to the teacher, in order; evaluating and reporting follow by themselves."""
    control: str | None = None
    """``ctc_only`` runs the same student, seed, steps and data once more with the teacher's losses off."""
    data: DataConfig = field(default_factory=DataConfig)
    """What is heard."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """What is imitated."""
    student: StudentConfig = field(default_factory=StudentConfig)
    """What is kept of it."""
    distill: DistillConfig = field(default_factory=DistillConfig)
    """How the student learns from the teacher."""
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    """How it learns from the transcripts."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    """How it is judged."""


# Keys with a closed set of words; a typo in the word is as silent a fault as one in the key.
_CHOICES: dict[str, tuple[str, ...]] = {
    "data.corpus": ("synthetic_digits", "fsdd", "librispeech", "table"),
    "data.on_bad_audio": ("skip", "raise"),
    "control": ("ctc_only",),
    "distill.losses.hidden.distance": ("mse", "l1", "cosine"),
    "distill.schedule": ("linear", "cosine", "constant"),
    "finetune.schedule": ("linear", "cosine", "constant"),
    "precision": ("auto", "no", "bf16", "fp16"),
    "finetune.head": ("teacher", "new"),
}
_POSITIVE = (
    "student.num_hidden_layers", "data.batch_seconds", "data.max_seconds", "data.min_digits", "data.num_buckets",
    "evaluate.batch_size", "evaluate.speed_rounds", "evaluate.speed_seconds", "distill.losses.logit_kl.temperature",
    *(f"{part}.{key}" for part in ("distill", "finetune") for key in (
        "max_steps", "learning_rate", "gradient_accumulation_steps", "checkpoint_every", "eval_every", "log_every",
        "max_grad_norm",
    )),
)  # fmt: skip
_NOT_NEGATIVE = (
    "seed", "data.num_workers", "data.hold_out_speakers", "data.num_train", "data.num_dev", "data.num_test",
    "evaluate.bootstrap_samples", "finetune.freeze_feature_encoder_steps",
    *(f"distill.losses.{name}.weight" for name in ("logit_kl", "hidden", "ctc")),
    *(f"{part}.{key}" for part in ("distill", "finetune") for key in (
        "warmup_steps", "weight_decay", "spec_augment.mask_time_length", "spec_augment.mask_feature_length",
    )),
)  # fmt: skip
_SHARES = (
    "data.augment.noise_probability",
    *(f"{part}.spec_augment.mask_{axis}_prob" for part in ("distill", "finetune") for axis in ("time", "feature")),
)
STEPS = ("student", "distill", "finetune")
_DICTIONARIES = ("distill.learning_rate_factors", "finetune.learning_rate_factors")
TRACKERS = ("tensorboard", "wandb", "mlflow", "comet_ml")
_PARTS = ("feature_encoder", "feature_projection", "encoder", "lm_head", "projections")


def find_config(path: str | Path) -> Path:
    """Find a configuration as given, then under ``configs/``.

    Raises:
        ConfigError: it is in neither place; the names under ``configs/`` are listed.
    """
    for candidate in (Path(path), CONFIG_FOLDER / path):
        if candidate.is_file():
            return candidate
    known = ", ".join(sorted(p.name for p in CONFIG_FOLDER.glob("*.yaml"))) or "nothing"
    raise ConfigError([f"--config: no file {path}, nor is it under configs/ (there: {known})"])


def read_config(path: str | Path | None, overrides: Sequence[str] = ()) -> tuple[Config, list[str]]:
    """Merge the defaults, a YAML file and overrides; collect what is wrong instead of stopping at the first.

    Args:
        path: YAML file, looked up as given and then under ``configs/``; None for the defaults alone.
        overrides: ``a.b=c`` each, YAML on the right-hand side.

    Returns:
        The configuration (defaults where a key was wrong) and one sentence per problem.

    Raises:
        ConfigError: the file is missing or is not YAML.

    Example:
        >>> config, problems = read_config(None, ["student.conv_groups=4", "student.conv_gruops=4"])
        >>> config.student.conv_groups, problems
        (4, ['student.conv_gruops: unknown key; did you mean student.conv_groups?'])
    """
    merged = OmegaConf.structured(Config)
    problems: list[str] = []
    for key, value in _given_values(path, overrides, problems):
        _assign(merged, key, value, problems)
    config = OmegaConf.to_object(merged)
    assert isinstance(config, Config)
    problems += _value_problems(config)
    return config, problems


def load_config(path: str | Path | None, overrides: Sequence[str] = ()) -> Config:
    """``read_config`` for those who want a configuration or an error.

    Raises:
        ConfigError: with everything that is wrong.
    """
    config, problems = read_config(path, overrides)
    if problems:
        raise ConfigError(problems)
    return config


def save_config(config: Config, path: str | Path) -> None:
    """Write a configuration with every key, so that the run can be repeated whatever the defaults become."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(OmegaConf.to_yaml(OmegaConf.structured(config)), encoding="utf-8")


def to_dict(config: object) -> dict[str, Any]:
    """A dataclass of this module as plain containers, for fingerprints and JSON."""
    return dataclasses.asdict(config)  # type: ignore[call-overload, no-any-return]


def _given_values(
    path: str | Path | None, overrides: Sequence[str], problems: list[str]
) -> Iterator[tuple[str, Any]]:
    if path is not None:
        yield from _leaves(_read_yaml(find_config(path)), "", problems)
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals:
            problems.append(f"{override}: an override is written key=value")
            continue
        try:
            given = OmegaConf.from_dotlist([override])
        # A YAML error on the right-hand side has no base class of OmegaConf's.
        except Exception as error:
            problems.append(f"{key}: cannot be read ({str(error).splitlines()[0]})")
        else:
            yield from _leaves(given, "", problems)


def _read_yaml(path: Path) -> DictConfig:
    try:
        loaded = OmegaConf.load(path)
    # A YAML error has no base class of OmegaConf's.
    except Exception as error:
        raise ConfigError([f"{path}: not YAML ({error})"]) from error
    if not isinstance(loaded, DictConfig):
        raise ConfigError([f"{path}: expected keys with values, found a list"])
    return loaded


def _leaves(node: DictConfig, prefix: str, problems: list[str]) -> Iterator[tuple[str, Any]]:
    """Go down as long as there is a section of the schema below; dictionaries that are values stay whole."""
    for name in map(str, node):
        key = f"{prefix}{name}"
        try:
            value = node[name]
        except OmegaConfBaseException as error:
            problems.append(f"{key}: {str(error).splitlines()[0]}")
            continue
        if isinstance(value, DictConfig) and key not in _DICTIONARIES:
            yield from _leaves(value, f"{key}.", problems)
        else:
            yield key, value


def _assign(merged: DictConfig, key: str, value: object, problems: list[str]) -> None:
    known = list(_schema_types(Config, ""))
    inside = [name for name in known if name.startswith(f"{key}.")]
    if inside and value is None:
        return  # a heading in the YAML with nothing below it
    if inside:
        problems.append(f"{key}: a section, set what is in it: {', '.join(inside[:3])}, ...")
        return
    if key not in known:
        problems.append(f"{key}: unknown key{_nearest(key, known)}")
        return
    try:
        # Merged where it is a dictionary: two overrides of two of its entries are both meant.
        OmegaConf.update(merged, key, value, merge=key in _DICTIONARIES)
    except OmegaConfBaseException:
        expected = OmegaConf.get_type(OmegaConf.create({"x": value}), "x")
        shown = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        wanted = _schema_types(Config, "")[key]
        problems.append(f"{key}: expected {wanted}, got {shown!r} ({getattr(expected, '__name__', expected)})")


def _schema_types(section: type, prefix: str) -> dict[str, str]:
    import typing

    hints = typing.get_type_hints(section)
    found: dict[str, str] = {}
    for item in dataclasses.fields(section):
        hint = hints[item.name]
        if dataclasses.is_dataclass(hint):
            found |= _schema_types(hint, f"{prefix}{item.name}.")  # type: ignore[arg-type]
        else:
            found[f"{prefix}{item.name}"] = str(item.type)
    return found


def _nearest(key: str, known: Sequence[str]) -> str:
    # The last word carries most of a typo; a right word under the wrong section is found by the second look.
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
    close = close or [k for k in known if k.rpartition(".")[2] == key.rpartition(".")[2]][:1]
    close = close or difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""


def _value_problems(config: Config) -> list[str]:
    flat = dict(_flatten(to_dict(config), ""))
    problems = [
        f"{key}: {flat[key]!r} is not one of {', '.join(words)}"
        + (f"; did you mean {close[0]}?" if (close := difflib.get_close_matches(str(flat[key]), words, n=1)) else "")
        for key, words in _CHOICES.items()
        if flat[key] not in words and not (key == "control" and flat[key] is None)
    ]
    # Not "<= 0": no comparison finds what is no number.
    problems += [f"{key}: must be above 0, got {flat[key]}" for key in _POSITIVE if not flat[key] > 0]
    problems += [f"{key}: must not be below 0, got {flat[key]}" for key in _NOT_NEGATIVE if not flat[key] >= 0]
    problems += [f"{key}: must be from 0 to 1, got {flat[key]}" for key in _SHARES if not 0 <= flat[key] <= 1]
    if config.threads is not None and config.threads < 1:
        problems.append(f"threads: must be above 0, got {config.threads}")
    problems += [f"steps: unknown step {s!r}; steps are {', '.join(STEPS)}" for s in config.steps if s not in STEPS]
    problems += [f"evaluate.splits: unknown split {s!r}" for s in config.evaluate.splits if s not in ("dev", "test")]
    problems += [
        f"trackers: unknown tracker {s!r}; trackers are {', '.join(TRACKERS)}"
        for s in config.trackers
        if s not in TRACKERS
    ]
    if config.data.max_digits < config.data.min_digits:
        problems.append("data.max_digits: below data.min_digits")
    for part in ("speed", "gain_db", "noise_snr_db"):
        bounds = getattr(config.data.augment, part)
        if len(bounds) != 2 or bounds[0] > bounds[1]:
            problems.append(f"data.augment.{part}: expected [lowest, highest], got {bounds}")
    for name, train in (("distill", config.distill), ("finetune", config.finetune)):
        problems += [
            f"{name}.learning_rate_factors.{part}: unknown part; parts are {', '.join(_PARTS)}"
            for part in train.learning_rate_factors
            if part not in _PARTS
        ]
        if len(train.adam_betas) != 2:
            problems.append(f"{name}.adam_betas: expected two numbers, got {train.adam_betas}")
    return problems


def _flatten(values: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
