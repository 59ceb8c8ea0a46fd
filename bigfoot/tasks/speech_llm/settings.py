"""Settings of a speech LLM's run: models, turns, tasks, stages and compression."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, field

from bigfoot.compress.settings import LAYER_INITS
from bigfoot.config import Problem, above_zero, not_negative, one_of, random_seed, unknown_words
from bigfoot.data.settings import SpecAugmentConfig
from bigfoot.distill.speech_llm import SpeechLLMLosses
from bigfoot.errors import ModelError
from bigfoot.install import install_hint
from bigfoot.models.speech_llm.adapters import AdapterShape
from bigfoot.tasks.settings import METRICS
from bigfoot.text.prompts import HISTORY, PromptTemplate
from bigfoot.training.settings import PRECISIONS, TrainConfig

TRANSCRIBE, CLASSIFY, FORECAST = TASKS = ("transcribe", "classify", "forecast")
STAGES = ("train_adapter", "train_lora", "train_full", "recover")
STEPS = ("train_adapter", "train_lora", "train_full", "shrink", "recover", "quantize")
KIND = "speech_llm"


@dataclass
class LanguageModelConfig:
    """The causal language model."""

    path: str = ""
    """Folder or id of a model of ``AutoModelForCausalLM``, with its tokenizer."""
    chat: bool = False
    """Put prompts into the tokenizer's chat template, as a user's turn."""
    trust_remote_code: bool = False
    """Run code that the folder brings along."""


@dataclass
class EncoderConfig:
    """The speech encoder."""

    path: str = "tiny_teacher"
    """Any of bigfoot's models, compressed or not."""


@dataclass
class TurnsConfig:
    """Dialogues as JSON lines of turns: ``audio``, ``start``, ``end``, ``speaker``, ``text``, ``dialogue``, labels."""

    train: str = ""
    """File of the turns to train on."""
    dev: str = ""
    """File by which the best model of a stage is chosen."""
    test: str = ""
    """File that the report is about."""
    where: dict[str, str] = field(default_factory=dict)
    """Column and value of the turns that are examples, such as ``{role: client}``; all turns by default."""
    input: str = one_of("speech", "text")
    """What stands at ``{audio}``: the turn's ``speech``, or its transcript as ``text``, for comparison."""
    history: str = one_of("text", "speech")
    """How earlier turns stand at ``{history}``."""
    history_turns: int = not_negative(4)
    """Most earlier turns of the dialogue at ``{history}``."""
    name_column: str = "speaker"
    """Column whose value stands before each turn of the history."""
    most_tokens: int = not_negative(0)
    """Most tokens of a prompt with its answer: the oldest turns of longer histories are left out, and counted. 0 for
    what the language model takes."""


@dataclass
class TranscribeConfig:
    """The transcript of the turn."""

    instruction: str = "Transcribe."
    """Stands at ``{instruction}``."""
    most_new_tokens: int = above_zero(64)
    """Longest answer that is generated; how many were cut there is reported."""


@dataclass
class ClassifyConfig:
    """A label of the turn, chosen by the likelihood of its tokens."""

    instruction: str = "Classify."
    """Stands at ``{instruction}``."""
    column: str = "label"
    """Column of the labels; turns without one are left out."""
    labels: list[str] = field(default_factory=list)
    """Labels; those of train by default."""
    length_normalized: bool = True
    """Divide the log-likelihood of a label by its number of tokens."""
    calibrate: bool = False
    """Subtract the log-likelihood of each label after a prompt without speech, transcript and history (Zhao et al.,
    2021, section 4)."""
    metric: str = one_of(*METRICS["single_label"])
    """What the report shows with an interval."""
    floor_columns: list[str] = field(default_factory=list)
    """Columns, such as ``text``, by which a guess is made that every model must beat: of train's turns with the same
    values, the most frequent label."""


@dataclass
class ForecastConfig:
    """The next turn of the dialogue."""

    instruction: str = "Continue."
    """Stands at ``{instruction}``."""
    most_new_tokens: int = above_zero(64)
    """Longest answer that is generated; how many were cut there is reported."""


@dataclass
class StageConfig(TrainConfig):
    """One stage of training: what learns, from which losses."""

    max_steps: int = above_zero(300)
    """Optimizer steps."""
    learning_rate: float = above_zero(1e-3)
    """Highest learning rate; multiplied by the ``learning_rate_factors`` of ``encoder``, ``adapter`` and
    ``language_model``."""
    warmup_steps: int = not_negative(20)
    """Steps of linear rise at the start."""
    batch_size: int = above_zero(8)
    """Prompts in a batch."""
    eval_every: int = above_zero(100)
    """Steps between evaluations on dev: the loss of the answers' tokens, by which the best model is chosen."""
    language_model: str = one_of("frozen", "lora", "full")
    """What of the language model learns: nothing, low-rank adapters (Hu et al., 2021; needs ``peft``), or all."""
    encoder: str = one_of("frozen", "top", "full")
    """What of the encoder learns: nothing, its ``top_layers``, or all."""
    top_layers: int = above_zero(2)
    """Last layers of the encoder that learn with ``top``."""
    lora_rank: int = above_zero(8)
    """Rank of the adapters of ``lora``."""
    cache_encoder: bool = False
    """Run a frozen encoder once for every recording, and keep its states in memory: for a few hours of dialogues."""
    tasks: list[str] = field(default_factory=list)
    """Tasks that are learned; all of the run by default."""
    losses: SpeechLLMLosses = field(default_factory=SpeechLLMLosses)
    """Losses by weight."""
    teacher: str = one_of("transcript", "uncompressed")
    """Of ``losses.token_logits``: the same language model with the ``transcript`` in place of the speech, or the speech
    LLM before it was shrunk (``uncompressed``)."""
    teacher_top_k: int = not_negative(32)
    """Tokens of each cached distribution of the teacher; the rest share what is left. 0 keeps all."""
    spec_augment: SpecAugmentConfig = field(
        default_factory=lambda: SpecAugmentConfig(mask_time_prob=0.0, mask_feature_prob=0.0)
    )
    """Masks on the encoder's input."""

    def part_names(self) -> tuple[str, ...]:
        """See ``TrainConfig``."""
        return ("encoder", "adapter", "language_model")

    def find_problems(self) -> Iterator[Problem]:
        """Check constraints that no range of a single number covers."""
        yield from super().find_problems()
        yield from unknown_words("tasks", "task", self.tasks, TASKS)
        if self.language_model == "lora" and importlib.util.find_spec("peft") is None:
            yield Problem("language_model", "missing_package", f"adapters need peft: {install_hint('tasks')}")
        if not any((self.losses.next_token, self.losses.token_logits, self.losses.text_speech)):
            yield Problem("losses", "no_loss", "every weight is 0, there is nothing to learn")
        masks = self.spec_augment.mask_time_prob or self.spec_augment.mask_feature_prob
        if self.cache_encoder and (self.encoder != "frozen" or masks):
            yield Problem("cache_encoder", "not_applicable", "the encoder learns, or its input is masked: leave it out")
        if self.layer_decay != 1:
            yield Problem("layer_decay", "not_read", "stages of a speech LLM have learning_rate_factors alone")


@dataclass
class ShrinkConfig:
    """Shrink the encoder and the adapter's rate; the language model stays as it is."""

    num_hidden_layers: int = not_negative(0)
    """Layers that the encoder keeps; 0 for all."""
    layer_init: str = one_of(*LAYER_INITS, default="spread")
    """Which layers stay: see the step ``student``."""
    rate_divisor: int = above_zero(1)
    """The adapter gives so many times fewer embeddings."""


@dataclass
class QuantizeLanguageModel:
    """Weights of the language model as eight-bit integers with a scale a channel."""

    keep_fp32: list[str] = field(default_factory=list)
    """Names of linear maps, or patterns, that stay as they are."""


@dataclass
class ReportConfig:
    """Evaluation and report."""

    batch_size: int = above_zero(8)
    """Prompts in a batch; changes no number."""
    bootstrap_samples: int = above_zero(1000)
    """Resamples of dialogues for the 95 % intervals."""
    measure_speed: bool = True
    """Measure the time to the first token of each model, one prompt at a time."""
    every_step: bool = True
    """Evaluate the model of every step; false for the last alone."""


@dataclass
class SpeechLLMConfig:
    """Configuration of a run: from an encoder and a language model to a speech LLM and its report."""

    kind: str = one_of(KIND)
    """Says that a file configures a speech LLM."""
    run_dir: str = "runs/speech_llm"
    """Run folder: all output is written there, and the same command resumes from it."""
    seed: int = random_seed(7)
    """Random seed of weights, masks and order."""
    threads: int | None = above_zero(None)
    """CPU threads of torch; null for its default."""
    precision: str = one_of(*PRECISIONS)
    """Of training, as in other runs."""
    trackers: list[str] = field(default_factory=list)
    """Trackers of training curves, besides the report, such as ``tensorboard``."""
    prompt: str = "{instruction} {history} {audio} Answer: "
    """Template with ``{audio}``, and ``{history}`` and ``{instruction}`` where wanted; a brace is written twice."""
    tasks: list[str] = field(default_factory=lambda: [CLASSIFY])
    """Tasks that are learned and evaluated: ``transcribe``, ``classify``, ``forecast``."""
    steps: list[str] = field(default_factory=lambda: ["train_adapter", "train_lora"])
    """Steps, in order: ``train_adapter``, ``train_lora``, ``train_full``, ``shrink``, ``recover``, ``quantize``."""
    start: str | None = None
    """A speech LLM to start from, in place of ``encoder``, ``adapter``, ``language_model`` and ``prompt``."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    """The speech encoder."""
    adapter: AdapterShape = field(default_factory=AdapterShape)
    """What joins encoder and language model."""
    language_model: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    """The language model."""
    data: TurnsConfig = field(default_factory=TurnsConfig)
    """Dialogues."""
    transcribe: TranscribeConfig = field(default_factory=TranscribeConfig)
    """Transcribing a turn."""
    classify: ClassifyConfig = field(default_factory=ClassifyConfig)
    """Classifying a turn."""
    forecast: ForecastConfig = field(default_factory=ForecastConfig)
    """Forecasting the next turn."""
    train_adapter: StageConfig = field(default_factory=StageConfig)
    """First stage: the adapter alone, unless configured otherwise."""
    train_lora: StageConfig = field(default_factory=lambda: StageConfig(language_model="lora", learning_rate=5e-4))
    """Second stage: adapter and low-rank adapters of the language model."""
    train_full: StageConfig = field(
        default_factory=lambda: StageConfig(language_model="full", encoder="full", learning_rate=1e-4)
    )
    """Third stage: all of it."""
    shrink: ShrinkConfig = field(default_factory=ShrinkConfig)
    """A smaller encoder, fewer embeddings a second."""
    recover: StageConfig = field(
        default_factory=lambda: StageConfig(
            encoder="full", losses=SpeechLLMLosses(1.0, 1.0), teacher="uncompressed", learning_rate=5e-4
        )
    )
    """Training after ``shrink``, under a fixed language model."""
    quantize: QuantizeLanguageModel = field(default_factory=QuantizeLanguageModel)
    """Eight-bit weights of the language model."""
    evaluate: ReportConfig = field(default_factory=ReportConfig)
    """Evaluation and report."""

    def find_problems(self) -> Iterator[Problem]:
        """Check constraints across sections."""
        yield from unknown_words("steps", "step", self.steps, STEPS)
        yield from unknown_words("tasks", "task", self.tasks, TASKS)
        for name in ("steps", "tasks"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                yield Problem(name, "repeated", "each stands once; a further stage is another run, with start")
        if not self.tasks:
            yield Problem("tasks", "empty", f"nothing to learn; tasks are {', '.join(TASKS)}")
        yield from self._path_problems()
        try:
            template = PromptTemplate(self.prompt)
        except ModelError as error:
            yield Problem("prompt", "unreadable", str(error))
        else:
            if HISTORY not in template.parts and self.data.history == "speech":
                yield Problem("data.history", "not_read", "the prompt has no {history}")
        if "quantize" in self.steps[:-1]:
            yield Problem("steps", "bad_order", "quantize comes last: training would undo it")
        for number, name in enumerate(self.steps):
            stage = getattr(self, name) if name in STAGES else StageConfig()
            wants = stage.losses.token_logits and stage.teacher == "uncompressed"
            if wants and "shrink" not in self.steps[:number]:
                yield Problem(f"{name}.teacher", "bad_order", "there is no shrink before it; set it to transcript")
            if name in STAGES and (unknown := set(getattr(self, name).tasks) - set(self.tasks)):
                yield Problem(f"{name}.tasks", "unknown_word", f"{sorted(unknown)} are not among tasks {self.tasks}")

    def _path_problems(self) -> Iterator[Problem]:
        """Check that files are named."""
        if not self.start and not self.language_model.path:
            yield Problem("language_model.path", "missing", "name a folder or an id of a causal language model")
        wanted = ("train", "dev", "test") if set(self.steps) & set(STAGES) else ("test",)
        for name in wanted:
            if not getattr(self.data, name):
                yield Problem(f"data.{name}", "missing", "name a file of turns: JSON lines with audio, text, dialogue")

    def section(self, task: str) -> TranscribeConfig | ClassifyConfig | ForecastConfig:
        """Return the settings of a task."""
        found = getattr(self, task)
        assert isinstance(found, TranscribeConfig | ClassifyConfig | ForecastConfig)
        return found
