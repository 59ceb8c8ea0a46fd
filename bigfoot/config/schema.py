"""Every setting of a run as typed dataclasses; a YAML file holds only what differs from the defaults here.

A field says its own range (``bigfoot.config.rules``), and the sentence below it what it is for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bigfoot.config.rules import above_zero, not_negative, one_of, share


@dataclass
class AugmentConfig:
    """Changes to the waveform, in training only, drawn anew for every utterance and step."""

    speed: list[float] = field(default_factory=lambda: [1.0, 1.0])
    """Lowest and highest playback speed; pitch moves along."""
    gain_db: list[float] = field(default_factory=lambda: [0.0, 0.0])
    """Lowest and highest change of loudness in decibels."""
    noise_probability: float = share(0.0)
    """Share of utterances that get noise."""
    noise_snr_db: list[float] = field(default_factory=lambda: [15.0, 40.0])
    """Lowest and highest signal-to-noise ratio of that noise in decibels."""
    noise_folder: str | None = None
    """Folder of recordings from which noise is cut; without one it is generated, between white and dark."""


@dataclass
class DataConfig:
    """What is heard: one corpus with its train, dev and test splits, as lhotse manifests."""

    corpus: str = one_of(
        "synthetic_digits", "fsdd", "librispeech", "common_voice", "speechocean762", "folder", "table"
    )
    """``synthetic_digits``, ``fsdd``, ``librispeech``, ``common_voice`` (TSV beside ``clips/``), ``speechocean762``,
    ``folder`` (audio beside .txt of the same name, or audio alone) or ``table`` (TSV, CSV or JSONL)."""
    root: str | None = None
    """Folder of the corpus; ``$BIGFOOT_DATA/<its usual name>`` by default. Synthetic speech needs none."""
    train_clean_100: bool = False
    """LibriSpeech: train on train-clean-100."""
    train_clean_360: bool = False
    """LibriSpeech: train on train-clean-360."""
    train_other_500: bool = False
    """LibriSpeech: train on train-other-500."""
    train_splits: list[str] = field(default_factory=list)
    """What to train on, by the corpus's own names. LibriSpeech: further splits. Folder: folders below the root, ``.``
    for the root itself. Common Voice: TSV files by stem, such as ``train``. Table: TSV, CSV or JSONL files."""
    dev_splits: list[str] = field(default_factory=list)
    """The same for dev, on which the best checkpoint is chosen."""
    test_splits: list[str] = field(default_factory=list)
    """The same for test, which is read once, at the end."""
    transcripts: str = one_of("given", "none", "teacher")
    """``none`` trains without transcripts: where labels are asked for (``ctc``, fine-tuning, dev WER), the teacher's
    own transcripts take their place, by its decoder where it has one (``evaluate.autoregressive``). Test keeps the
    transcripts it has, for judging alone. ``teacher`` takes the teacher's own in train alone, and only of utterances
    in which they are close to the given ones."""
    max_label_wer: float = not_negative(0.1)
    """``teacher``: word error rate of the teacher's transcript against the given one beyond which an utterance gives no
    labels."""
    hold_out_speakers: int = not_negative(0)
    """Take so many speakers out of train to be dev, where the corpus has no dev of its own."""
    num_train: int = not_negative(4000)
    """Generated strings of digits in train (synthetic_digits, fsdd)."""
    num_dev: int = not_negative(60)
    """Generated strings of digits in dev."""
    num_test: int = not_negative(260)
    """Generated strings of digits in test."""
    min_digits: int = above_zero(1)
    """Fewest digits in a generated string."""
    max_digits: int = 8
    """Most digits in a generated string."""
    on_bad_audio: str = one_of("skip", "raise")
    """``skip`` leaves a bad file or transcript out and lists it in the report; ``raise`` stops at the first."""
    verify_audio: bool = True
    """Decode every file once while the manifest is made; off, only headers are read."""
    max_seconds: float = above_zero(35.0)
    """Longer utterances are left out of training, and counted."""
    batch_seconds: float = above_zero(40.0)
    """Audio in a training batch, padding included."""
    num_buckets: int = above_zero(8)
    """Buckets of similar length from which batches are drawn."""
    num_workers: int = not_negative(0)
    """Processes that read audio ahead; 0 reads in the training process."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Speed, gain and noise."""


@dataclass
class TeacherConfig:
    """The good model that is too big."""

    path: str = "tiny_teacher"
    """A bigfoot folder, a Hugging Face folder or id, or ``tiny_teacher``, which ships with bigfoot."""


@dataclass
class LowRankConfig:
    """Linear maps of the transformer as products of two thin ones, by singular values."""

    linears: list[str] = field(default_factory=list)
    """Which, in every layer: ``q_proj``, ``k_proj``, ``v_proj``, ``out_proj``, ``intermediate_dense`` and
    ``output_dense``. Empty: none."""
    rank: int = not_negative(0)
    """Singular values that stay in each; 0 leaves it to ``energy``."""
    energy: float = share(0.9)
    """Share of the squared singular values that stays, where there is no ``rank``."""
    weighting: str = one_of("activations", "none")
    """``activations`` keeps what matters on training audio, ``none`` what matters to the matrix alone."""


@dataclass
class StudentConfig:
    """The shape of the student, cut out of the teacher."""

    path: str | None = None
    """What it is cut out of, where not the teacher: as ``teacher.path``, of any family and width; learns by losses that
    compare what both have, at the same frame rate."""
    num_hidden_layers: int = above_zero(4)
    """Transformer layers that stay."""
    layer_init: Any = "spread"
    """Which: ``first_k``, ``last_k``, ``every_k``, ``spread`` (both ends kept), or a list of 0-based layers."""
    weights: str = one_of("teacher", "random")
    """``random`` takes the shape alone and begins all of its weights anew: a control."""
    decoder_layers: int | None = above_zero(None)
    """Layers of the decoder that stay, as far apart as can be, both ends among them; null keeps all, and a teacher
    without a decoder needs none."""
    change_conv_layers: bool = True
    """False leaves the feature encoder as the teacher's."""
    conv_groups: Any = 2
    """Groups of the convolutions 1 and up (0 has one input channel), or a list with one number a layer."""
    conv_init: str = one_of("slice", "permute", "least_squares")
    """Where grouped kernels begin: ``slice`` (the dense kernel's block diagonal), ``permute`` (the same, channels
    ordered so that it holds the most energy), ``least_squares`` (fitted, on audio, to what the dense layer gives)."""
    conv_sharing: Any = field(default_factory=list)
    """Lists of convolutions, 0-based and of equal shape, that use one kernel: [[1, 2], [3, 4]]."""
    conv_sharing_init: str = one_of("mean", "first", "last", "least_squares")
    """Where a shared kernel begins: the members' mean, one member, or a fit, on audio, to what the members give."""
    shape: dict[str, Any] = field(default_factory=dict)
    """What is otherwise than in the teacher, by fields of ``BigfootConfig``: ``hidden_size``, ``num_attention_heads``,
    ``intermediate_size``, per-layer lists of them, ``attention_reuse``, ``time_reduction``, ``feature_projection``,
    ``conv_dim``, ... What fits is copied, the rest begins at random."""
    shape_init: str = one_of("slice", "least_squares")
    """``slice`` copies the first units of everything; ``least_squares`` keeps those that explain the others, for
    narrower shapes with heads as wide as the teacher's, and fits what reads them on audio."""
    low_rank: LowRankConfig = field(default_factory=LowRankConfig)
    """Linear maps of low rank; made last."""
    init_seconds: float = above_zero(60.0)
    """Training audio from which least squares and low ranks are fitted."""


@dataclass
class PruneConfig:
    """Take out the units that matter least, and leave a model that is smaller indeed."""

    parts: list[str] = field(default_factory=lambda: ["heads", "feed_forward"])
    """What is cut: attention ``heads``, ``feed_forward`` units, ``conv`` channels, the ``width`` of the frames."""
    importance: str = one_of("taylor", "l1", "l2", "activation")
    """How units are judged: ``taylor`` (|weight times gradient| of the CTC loss, needs labels), ``l1`` or ``l2`` norm
    of their weights, ``activation`` (mean square of what they say)."""
    scope: str = one_of("part", "layer", "global")
    """Who competes: the units of a ``part`` over all layers, those of a ``layer`` alone, or all with all."""
    target: str = one_of("ratio", "macs", "params")
    """``ratio`` cuts so many units; ``macs`` and ``params`` as many as bring the model down to ``keep``."""
    ratio: float = share(0.3)
    """Share of the units that goes; with ``macs`` or ``params`` found by bisection."""
    part_ratios: dict[str, float] = field(default_factory=dict)
    """The same for single parts, such as {heads: 0.5}; with ``macs`` or ``params`` their proportions count."""
    keep: float = share(0.5)
    """With ``macs`` or ``params``: share of the model's multiply-accumulates or parameters that stays."""
    multiple_of: int = above_zero(8)
    """What stays of a layer's feed-forward units and channels is a multiple of so many, as kernels like it."""
    min_left: float = share(0.1)
    """Share of any layer's units that stays at least, and one unit."""
    seconds: float = above_zero(60.0)
    """Training audio on which ``taylor`` and ``activation`` are measured."""


@dataclass
class QuantizeConfig:
    """Make the weights of what came last take fewer bytes; nothing is trained or cut after it (docs/how-to/quantize.md)."""

    precision: str = one_of("int8_static", "int8_dynamic", "int8", "float16", "bfloat16")
    """``int8_static`` and ``int8_dynamic`` also bring what goes into layers to eight bits, as an exported file does, by
    ranges measured on training audio or of the audio at hand; ``int8`` and the halves compute in fp32."""
    keep_fp32: list[str] = field(default_factory=list)
    """Layers that stay in fp32: names within the encoder, what they are part of, or patterns, such as ``*.v_proj``."""
    percentile: float = 100.0
    """``int8_static``: of the numbers that go into a layer, how many its range holds, in %, above 50; 100 holds all."""
    seconds: float = above_zero(60.0)
    """``int8_static``: training audio on which ranges are measured."""


@dataclass
class SpecAugmentConfig:
    """Masks over the student's projected features (Park et al., 2019), in training only."""

    mask_time_prob: float = share(0.05)
    """Expected share of frames covered by time masks, 0 to 1."""
    mask_time_length: int = not_negative(5)
    """Frames of a time mask."""
    mask_feature_prob: float = share(0.0)
    """Expected share of feature channels covered by feature masks, 0 to 1."""
    mask_feature_length: int = not_negative(10)
    """Channels of a feature mask."""


@dataclass
class LogitKLConfig:
    """Kullback-Leibler divergence from the teacher's frame posteriors, times T squared (Hinton et al., 2015)."""

    weight: float = not_negative(1.0)
    """Its share of the loss; 0 switches it off."""
    temperature: float = above_zero(1.0)
    """Softens both distributions, above 0."""


@dataclass
class HiddenLossConfig:
    """Distance between hidden states of student and teacher, mean over real frames and channels."""

    weight: float = not_negative(0.0)
    """Its share of the loss; 0 switches it off."""
    distance: str = one_of("mse", "l1", "cosine", "l1_cosine")
    """``mse``, ``l1``, ``cosine`` (1 - cosine similarity) or ``l1_cosine``, the sum of those two (DPHuBERT)."""
    matches: Any = "proportional"
    """``proportional``, or a list of [student, teacher] indices into ``hidden_states`` (0 = encoder input)."""
    match_weights: list[float] = field(default_factory=list)
    """One factor a match, whose losses are then added up (FitHuBERT: 0.1 each, the last 1); empty takes their mean."""
    mean_of: int = above_zero(1)
    """The target is the mean of so many teacher states, the match's the last of them (LightHuBERT: 8)."""


@dataclass
class MaskedHiddenLossConfig(HiddenLossConfig):
    """Hidden states with masked and unmasked frames apart (Jang et al., 2023), by ``distill.spec_augment``'s masks.

    Masked frames learn from a teacher that hears all, unmasked ones from a teacher that hears what the student does.
    """

    masked_weight: float = not_negative(1.0)
    """Share of the frames that the student does not hear."""
    unmasked_weight: float = not_negative(1.0)
    """Share of the frames that it hears; 0 spares the teacher's second pass."""


@dataclass
class HeadsLossConfig:
    """Heads on the student's last state that predict teacher layers (Chang et al., 2022), dropped after training."""

    weight: float = not_negative(0.0)
    """Its share of the loss; 0 switches it off."""
    layers: list[int] = field(default_factory=list)
    """Teacher states that are predicted, 1-based layers; empty takes those at every third of its depth."""
    l1_weight: float = not_negative(1.0)
    """Share of the mean absolute difference."""
    cosine_weight: float = not_negative(1.0)
    """Share of -log sigmoid(cosine similarity)."""
    mean_of: int = above_zero(1)
    """The target is the mean of so many teacher states, the named layer's the last of them."""


@dataclass
class GramLossConfig:
    """Distance between temporal Gram matrices, how alike any two frames are (Jang et al., 2024)."""

    weight: float = not_negative(0.0)
    """Its share of the loss; 0 switches it off."""
    layer_weight: float = not_negative(1.0)
    """Share of the products of a layer's output with itself."""
    within_weight: float = not_negative(1.0)
    """Share of the products of a layer's input with its output."""
    matches: Any = "proportional"
    """``proportional``, or a list of [student, teacher] layers, 0-based."""


@dataclass
class ValueRelationLossConfig:
    """Divergence between how alike the values of attention are, frame by frame (Wang et al., 2020)."""

    weight: float = not_negative(0.0)
    """Its share of the loss; 0 switches it off."""
    heads: int | None = above_zero(None)
    """The values of a layer are cut into so many parts (Wang et al., 2021); null: its attention heads, which must be as
    many in both models."""
    matches: Any = "proportional"
    """``proportional``, or a list of [student, teacher] layers, 0-based."""


@dataclass
class AttentionLossConfig:
    """Divergence of the student's attention maps, mean over heads, from the teacher's, mean over real frames."""

    weight: float = not_negative(0.0)
    """Its share of the loss; 0 switches it off, and with it the slower attention that gives maps."""
    distance: str = one_of("kl", "mse")
    """``kl`` (of the teacher's row of weights from the student's) or ``mse``."""
    matches: Any = "proportional"
    """``proportional``, or a list of [student, teacher] layers, 0-based."""


@dataclass
class ConvFeaturesLossConfig:
    """Distance between the convolutional features of student and teacher, mean over real frames and channels."""

    weight: float = not_negative(0.0)
    """Its share of the loss; 0 switches it off."""
    distance: str = one_of("mse", "l1", "cosine", "l1_cosine")
    """``mse``, ``l1``, ``cosine`` (1 - cosine similarity) or ``l1_cosine``, the sum of those two (DPHuBERT)."""


@dataclass
class FeaturePenaltyConfig:
    """Mean square of the student's convolutional features (Baevski et al., 2020), needs no teacher."""

    weight: float = not_negative(0.0)
    """Its share of the loss; 0 switches it off."""


@dataclass
class LogitCosineConfig:
    """1 - cosine similarity of the logits, frame by frame, as the Knowledge-Distillation-Toolkit has it."""

    weight: float = not_negative(0.0)
    """Its share of the loss; 0 switches it off."""


@dataclass
class CTCLossConfig:
    """Connectionist temporal classification against the transcripts, mean over labels."""

    weight: float = not_negative(0.0)
    """Its share of the loss; 0 switches it off."""
    min_confidence: float = share(0.0)
    """With ``data.transcripts: none``, utterances of whose transcript the teacher is less sure give no labels: the mean
    probability of its best token, over the frames where that is not the blank."""


@dataclass
class DecoderLossConfig:
    """Cross-entropy of the decoder's tokens along the transcripts, mean over tokens and ends."""

    weight: float = not_negative(0.0)
    """Its share of the loss; 0 switches it off."""
    label_smoothing: float = share(0.1)
    """Share of the target that is spread over all tokens (Szegedy et al., 2016), at the first step."""
    label_smoothing_end: float = share(0.1)
    """The same from step ``label_smoothing_steps`` on; between, it changes evenly."""
    label_smoothing_steps: int = not_negative(0)
    """Steps of that change."""


@dataclass
class DecoderKLConfig:
    """Divergence from the teacher's decoder, token by token along the transcripts, times T squared."""

    weight: float = not_negative(0.0)
    """Its share of the loss; 0 switches it off."""
    temperature: float = above_zero(1.0)
    """Softens both distributions, above 0."""


@dataclass
class LossesConfig:
    """The terms of the distillation loss, by name and weight."""

    logit_kl: LogitKLConfig = field(default_factory=LogitKLConfig)
    """The teacher's posteriors."""
    hidden: HiddenLossConfig = field(default_factory=HiddenLossConfig)
    """The teacher's hidden states."""
    attention: AttentionLossConfig = field(default_factory=AttentionLossConfig)
    """The teacher's attention maps."""
    conv_features: ConvFeaturesLossConfig = field(default_factory=ConvFeaturesLossConfig)
    """The teacher's convolutional features."""
    logit_cosine: LogitCosineConfig = field(default_factory=LogitCosineConfig)
    """The direction of the teacher's logits."""
    feature_penalty: FeaturePenaltyConfig = field(default_factory=FeaturePenaltyConfig)
    """Small convolutional features."""
    masked_hidden: MaskedHiddenLossConfig = field(default_factory=MaskedHiddenLossConfig)
    """The teacher's hidden states, masked and unmasked frames apart."""
    heads: HeadsLossConfig = field(default_factory=HeadsLossConfig)
    """Teacher layers, predicted from the student's last."""
    gram: GramLossConfig = field(default_factory=GramLossConfig)
    """Likeness of frames in the teacher's hidden states."""
    value_relation: ValueRelationLossConfig = field(default_factory=ValueRelationLossConfig)
    """Likeness of frames in the values of the teacher's attention."""
    ctc: CTCLossConfig = field(default_factory=CTCLossConfig)
    """The transcripts, or the teacher's own."""
    decoder: DecoderLossConfig = field(default_factory=DecoderLossConfig)
    """The same, by the decoder."""
    decoder_kl: DecoderKLConfig = field(default_factory=DecoderKLConfig)
    """What the teacher's decoder says of every next token."""


@dataclass
class TrainConfig:
    """How a model is trained, whatever the loss."""

    max_steps: int = above_zero(1000)
    """Optimizer steps."""
    learning_rate: float = above_zero(5e-4)
    """Highest learning rate."""
    learning_rate_factors: dict[str, float] = field(default_factory=dict)
    """Multiplies it for a part: ``feature_encoder``, ``feature_projection``, ``encoder``, ``lm_head``,
    ``decoder`` or ``projections``."""
    schedule: str = one_of("linear", "cosine", "constant")
    """After the warm-up: ``linear`` or ``cosine`` to nothing, or ``constant``."""
    warmup_steps: int = not_negative(100)
    """Steps of linear rise at the start."""
    weight_decay: float = not_negative(0.01)
    """AdamW's, on matrices; never on biases and norms."""
    adam_betas: list[float] = field(default_factory=lambda: [0.9, 0.98])
    """AdamW's averaging constants."""
    max_grad_norm: float = above_zero(1.0)
    """Gradients are scaled down to this norm."""
    gradient_accumulation_steps: int = above_zero(1)
    """Batches to an optimizer step; the loss is the mean over all their frames or labels."""
    checkpoint_every: int = above_zero(200)
    """Steps between checkpoints from which a killed run goes on."""
    eval_every: int = above_zero(200)
    """Steps between looks at dev: greedy WER and blank rate."""
    log_every: int = above_zero(10)
    """Steps between lines of the loss."""
    max_bad_steps: int = not_negative(3)
    """Batches whose loss is no number are left out and saved; one more than so many stops the run, and so do more
    exploding losses in a row."""
    spec_augment: SpecAugmentConfig = field(default_factory=SpecAugmentConfig)
    """Masks on the student's side."""


@dataclass
class DistillConfig(TrainConfig):
    """Train the student to answer as the teacher does."""

    losses: LossesConfig = field(default_factory=LossesConfig)
    """What is compared, by name and weight."""
    grow_groups: list[int] = field(default_factory=list)
    """[from, until]: convolutions begin dense, and what is outside the blocks of ``student.conv_groups`` fades to
    nothing between these two steps. Empty: grouped from the start."""
    cache: str | None = None
    """Folder where the teacher's answers are written once and read in every step, those of ``gates`` too; another run
    with the same teacher and data reads them too. Not where the waveform is augmented."""
    cache_dtype: str = one_of("fp16", "int8")
    """How hidden states are kept there: ``fp16``, or ``int8`` with a scale for every channel of an utterance."""
    cache_top_k: int = not_negative(0)
    """Logits of so many tokens a frame are kept there, the others share what is left evenly; 0 keeps all."""


@dataclass
class GatesConfig(TrainConfig):
    """Distil while the student learns by gates which units it can do without (Peng et al., 2023), then cut those."""

    learning_rate: float = above_zero(2e-4)
    """Highest learning rate of the weights."""
    gate_learning_rate: float = above_zero(0.02)
    """Highest learning rate of gates and multipliers."""
    parts: list[str] = field(default_factory=lambda: ["heads", "feed_forward", "conv"])
    """On what gates stand: ``heads``, ``feed_forward`` units, ``conv`` channels (but for the last convolution's), and
    whole attention and feed-forward ``blocks``."""
    sparsity: float = share(0.5)
    """Share of the model's parameters that is to go."""
    sparsity_warmup_steps: int = not_negative(100)
    """Steps in which that share rises from 0."""
    losses: LossesConfig = field(default_factory=LossesConfig)
    """What is compared, by name and weight."""


@dataclass
class DecoderConfig:
    """A decoder that writes text token by token, where the model has none yet."""

    kind: str = one_of("mini_gpt", "pretrained")
    """``mini_gpt``, small and trained from nothing, with the CTC head's tokens; or ``pretrained``, a causal language
    model of transformers' with its own."""
    language_model: str | None = None
    """Folder or id of ``pretrained``: GPT-2 or one of its kin, with a ``tokenizer.json``."""
    train: str = one_of("full", "lora", "frozen")
    """What of ``pretrained`` learns besides what is new in it: all, low-rank adapters (needs ``peft``), or nothing."""
    lora_rank: int = above_zero(8)
    """Rank of the adapters."""
    hidden_size: int = above_zero(256)
    """Width of ``mini_gpt``."""
    num_layers: int = above_zero(4)
    """Transformer layers of ``mini_gpt``."""
    num_heads: int = above_zero(4)
    """Attention heads of ``mini_gpt``, and where streams are fused by attention."""
    dropout: float = share(0.1)
    """Of ``mini_gpt``, in training."""
    streams: list[str] = field(default_factory=lambda: ["encoder"])
    """What it hears: ``encoder`` (its last state), ``layers`` (all, by learned weights), ``fbank`` (log-mel energies),
    ``posteriors`` (of the CTC head); each projected by itself."""
    fuse: str = one_of("pool", "attention", "decoder")
    """How several streams become one: ``pool`` (sum by learned weights), ``attention`` (the first attends to the
    others through gates that are closed at the start), or ``decoder`` (every layer of ``mini_gpt`` attends to each, to
    all but the first through such gates)."""
    projection: str = one_of("linear", "conv")
    """From a stream to the decoder's width: ``linear``, or ``conv`` over three frames."""
    stride: int = above_zero(1)
    """Frames that become one."""


@dataclass
class FinetuneConfig(TrainConfig):
    """Train on the transcripts: with CTC, with a decoder, or with both."""

    max_steps: int = above_zero(300)
    """Optimizer steps."""
    learning_rate: float = above_zero(2e-4)
    """Highest learning rate."""
    head: str = one_of("teacher", "new", "respelled")
    """``teacher`` goes on with the model's own CTC head; ``new`` begins one over the tokens that ``tokenizer`` says;
    ``respelled`` does so too, and each token begins as the model's own head has its first letter."""
    tokenizer: str = one_of("char", "unigram", "bpe", "phonemes", "huggingface")
    """Of a new head: characters, sentencepiece's ``unigram`` or ``bpe``, espeak-ng's ``phonemes``, or a Hugging Face
    ``tokenizer.json``. Error rates of phonemes are not of words, and called PER."""
    vocab_size: int = above_zero(100)
    """Tokens of ``unigram`` and ``bpe``, four specials among them."""
    tokenizer_text: str | None = None
    """Text file, plain or .gz, from which those are learned; null takes the training transcripts."""
    tokenizer_path: str | None = None
    """Folder with the ``tokenizer.json`` of ``huggingface``."""
    phoneme_voice: str = "en-us"
    """espeak-ng's voice that pronounces the transcripts."""
    phoneme_stress: bool = False
    """Keep marks of stress: a stressed vowel is another token."""
    objective: str = one_of("ctc", "decoder", "joint")
    """What is trained: the CTC head, an autoregressive ``decoder``, or both; the encoder with either."""
    ctc_weight: float = share(0.3)
    """``joint``: share of the CTC loss; the decoder's cross-entropy has the rest."""
    label_smoothing: list[float] = field(default_factory=lambda: [0.1, 0.0])
    """Share of the decoder's targets that is spread over all tokens, at the first and at the last step."""
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    """The decoder, where the model has none yet."""
    freeze_feature_encoder_steps: int = not_negative(0)
    """The feature encoder stays as it is for so many steps."""


@dataclass
class DecodingConfig:
    """How an autoregressive decoder's tokens become a text."""

    beam_size: int = above_zero(1)
    """Texts that are followed at once; 1 is greedy."""
    ctc_weight: float = share(0.0)
    """Share of CTC's prefix probability in the score; the decoder has the rest. Above 0 only where both have the same
    tokens."""
    length_bonus: float = 0.0
    """Added to the score for every token, in nats: above 0 for longer texts, below for shorter ones."""
    max_tokens: int = above_zero(1000)
    """Longest text; no text has more tokens than the audio has frames."""
    max_repeats: int = above_zero(16)
    """A text that says the same piece more often in a row has gone in circles: it is cut there, and reported."""


@dataclass
class EvaluateConfig:
    """What is measured of every model."""

    splits: list[str] = field(default_factory=lambda: ["test"])
    """Splits of which the report has rows: ``dev``, ``test``."""
    batch_size: int = above_zero(8)
    """Utterances decoded together; padding never changes an answer."""
    decoder: str = one_of("greedy", "beam", "lm")
    """How CTC's posteriors become text in the report: ``greedy``, prefix ``beam`` search, or that with a language model
    (``lm``). Looks at dev while training are greedy."""
    beam_size: int = above_zero(16)
    """Prefixes that ``beam`` and ``lm`` keep after every frame."""
    lm_path: str | None = None
    """n-gram model of ``lm``: ARPA, or KenLM's binary."""
    lm_weight: float = not_negative(0.5)
    """Factor of its log probabilities."""
    lexicon: str | None = None
    """File with a word a line: the only ones that come out. Null: those of the language model, or any without one."""
    word_bonus: float = 0.0
    """Added for every word, in nats, where there is a language model or a lexicon; positive where words are lost."""
    hot_words: list[str] = field(default_factory=list)
    """Words that are likelier here than elsewhere, as the tokenizer spells them."""
    hot_word_bonus: float = not_negative(3.0)
    """Added for each of them that comes out, in nats."""
    bootstrap_samples: int = not_negative(1000)
    """Resamplings behind a confidence interval."""
    autoregressive: DecodingConfig = field(default_factory=DecodingConfig)
    """How a model with an autoregressive decoder writes its text; CTC's stands beside it."""
    speed_rounds: int = above_zero(9)
    """Interleaved rounds of the speed measurement."""
    speed_seconds: float = above_zero(10.0)
    """Audio of one timed pass, batch 1."""


@dataclass
class PublishedConfig:
    """How a paper counts the parameters of the student that a YAML file makes, for ``bigfoot summary FILE``."""

    num_params: float = not_negative(0.0)
    """What it prints; 0 where it prints nothing."""
    projections: int = not_negative(0)
    """Linear maps to the teacher's width that are counted, though they are dropped after training."""
    upsamplers: int = not_negative(0)
    """Upsamplers that are counted with those."""


@dataclass
class Config:
    """A whole run: from a teacher to a table."""

    run_dir: str = "runs/demo"
    """Where everything of the run is written, and found again by the same command."""
    seed: int = not_negative(7)
    """Of data, weights, masks and order."""
    threads: int | None = above_zero(None)
    """CPU threads of torch; its own default where null."""
    precision: str = one_of("auto", "no", "bf16", "fp16")
    """Of training: ``no`` (fp32), ``bf16``, ``fp16``; ``auto`` takes bf16 on a GPU that has it and fp32 elsewhere."""
    trackers: list[str] = field(default_factory=lambda: ["tensorboard"])
    """Where curves go besides the report: ``tensorboard``, ``wandb``, ``mlflow``, ``comet_ml``; all but the first need
    their own package."""
    steps: list[str] = field(default_factory=lambda: ["student", "distill", "finetune"])
    """What is done to the teacher, in order: ``student``, ``prune``, ``gates``, ``distill``, ``finetune``, and
    ``quantize`` last; ``prune`` and ``distill`` as often as wanted. Evaluating and reporting follow by themselves."""
    control: str | None = one_of("ctc_only", default=None)
    """``ctc_only`` runs the same student, seed, steps and data once more with the teacher's losses off."""
    scale: str = one_of("full", "tiny")
    """``tiny`` takes ``tiny_teacher`` and the student's widths at the share that they have to a base teacher's, so that
    a method can be tried anywhere; data and steps are to be given with it."""
    data: DataConfig = field(default_factory=DataConfig)
    """What is heard."""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    """What is imitated."""
    student: StudentConfig = field(default_factory=StudentConfig)
    """What is kept of it."""
    prune: PruneConfig = field(default_factory=PruneConfig)
    """What is taken out of it."""
    distill: DistillConfig = field(default_factory=DistillConfig)
    """How the student learns from the teacher."""
    gates: GatesConfig = field(default_factory=GatesConfig)
    """What it learns, meanwhile, to do without."""
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    """How it learns from the transcripts."""
    quantize: QuantizeConfig = field(default_factory=QuantizeConfig)
    """How small its weights become at last."""
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    """How it is judged."""
    published: PublishedConfig = field(default_factory=PublishedConfig)
    """How its size was published."""
