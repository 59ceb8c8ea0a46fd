"""What is tested of which family, read from the parameters of the tests themselves, as a table of a page."""

import importlib
import inspect
from pathlib import Path

from tests.conftest import FAMILY_STRUCTURES, ON_ONE_ROAD

STRUCTURES = {
    "wav2vec2": ("base", "large-lv60", "group-stable", "layer-post", "adapter"),
    "MMS": ("mms",),
    "HuBERT": ("hubert", "hubert-large", "hubert-without-norm", "hubert-batch-norm"),
    "WavLM": ("wavlm", "wavlm-large"),
    "data2vec-audio": ("data2vec",),
    "UniSpeech": ("unispeech",),
    "UniSpeech-SAT": ("unispeech-sat",),
    "wav2vec2-conformer": ("conformer", "conformer-rotary"),
    "w2v-BERT 2.0": ("w2v-bert", "w2v-bert-adapter"),
    "SEW": ("sew",),
    "SEW-D": ("sew-d",),
}
"""Family -> its structures in the tests' parameters."""
COLUMNS = {
    "read HF": ("formats.test_parity:test_every_family_is_transformers",
                "formats.test_parity:test_hidden_states_and_logits_are_transformers"),
    "write HF": ("formats.test_huggingface_folders:test_every_family_comes_back_to_the_bit",
                 "formats.test_conversion:test_every_family_there_and_back_to_the_bit"),
    "read fairseq(2)": ("formats.test_fairseq:test_forks_as_their_public_sources_shape_them",),
    "depth": ("compress.test_families:test_every_step", "compress.test_depth:test_every_tensor_is_the_teachers"),
    "width": ("compress.test_surgery:test_as_if_zeroed",),
    "conv": ("compress.test_families:test_every_step",
             "compress.test_conv_groups:test_a_student_is_its_teacher_with_zeros_off_the_diagonal"),
    "low rank": ("compress.test_lowrank:test_every_family_answers_and_reloads",),
    "gates": ("compress.test_gates:test_the_cut_model_answers_as_the_gated_one",),
    "ONNX": ("export.test_onnx:test_answers_as_pytorch_in_every_family",
             "export.test_onnx:test_answers_as_pytorch"),
    "int8 ONNX": ("test_every_family:test_an_int8_file_answers_as_the_folder",
                  "export.test_batches:test_in_every_family_and_shape"),
    "torch.export": ("export.test_targets:test_a_program_answers_as_pytorch_in_families_that_change_it",
                     "export.test_targets:test_a_program_passes_the_gate_and_keeps_its_metadata"),
    "streaming": ("export.test_streaming:test_frames_are_those_of_the_whole_recording_whatever_the_cuts",),
    "decoder": ("test_every_family:test_a_decoder_answers_alone_as_in_a_batch",),
    "task heads": ("test_every_family:test_a_task_head_answers_alone_as_in_batches",
                   "models.tasks.test_task_model:"
                   "test_pooled_logits_and_metrics_are_the_same_alone_and_in_every_shuffled_batch"),
}  # fmt: skip
"""Column -> tests whose parameters, or whose fixture ``family``, name structures."""
_WRITTEN = "formats.test_conversion:test_every_family_there_and_back_to_the_bit"
_UNSTREAMED = "compress.test_streaming:test_what_cannot_stream_is_refused"
_RECORDED = "export.test_targets:test_a_program_answers_as_pytorch_in_families_that_change_it"
REFUSED = {
    ("w2v-BERT 2.0", "conv"): "compress.test_families:test_every_step",
    ("wav2vec2-conformer", "read fairseq(2)"): "formats.test_fairseq:test_settings_that_the_encoder_cannot_be",
    ("w2v-BERT 2.0", "read fairseq(2)"): "formats.test_fairseq2:test_cards_that_are_not",
    **dict.fromkeys(
        ((family, "write fairseq(2)") for family in ("MMS", "UniSpeech", "UniSpeech-SAT", "wav2vec2-conformer",
                                                     "w2v-BERT 2.0", "SEW", "SEW-D")),
        _WRITTEN,
    ),
    **dict.fromkeys(
        ((family, "torch.export") for family in ("WavLM", "wav2vec2-conformer", "w2v-BERT 2.0", "SEW", "SEW-D")),
        _RECORDED,
    ),
    **dict.fromkeys(
        ((family, "streaming") for family in ("wav2vec2-conformer", "w2v-BERT 2.0", "SEW", "SEW-D")), _UNSTREAMED
    ),
}  # fmt: skip
"""(family, column) -> the test that expects a refusal in words."""
NAMED = {
    ("wav2vec2", "read fairseq(2)"): ("formats.test_fairseq:test_answers_are_those_of_fairseq",
                                      "formats.test_fairseq2:test_logits_are_fairseq2_s_own"),
    ("HuBERT", "read fairseq(2)"): ("formats.test_fairseq:test_answers_are_those_of_fairseq",),
    ("WavLM", "read fairseq(2)"): ("formats.test_fairseq:test_wavlm_as_its_public_source_shapes_it",),
    ("MMS", "read fairseq(2)"): ("formats.test_fairseq_languages:test_each_language_is_transformers_with_its_adapter",),
    ("data2vec-audio", "read fairseq(2)"): ("formats.test_fairseq:test_data2vec_as_its_public_source_shapes_it",),
    ("wav2vec2", "torch.export"): ("measure.test_deployed:test_files_for_other_runtimes_beside_their_model",),
    ("wav2vec2", "write fairseq(2)"): ("formats.test_fairseq:test_the_round_trip_gives_every_bit_back",
                                       "formats.test_fairseq2:test_what_is_written_is_fairseq2_s_own_again"),
    ("HuBERT", "write fairseq(2)"): ("formats.test_fairseq:test_the_round_trip_gives_every_bit_back",),
    ("WavLM", "write fairseq(2)"): ("formats.test_fairseq:test_our_models_go_there_and_back",),
    ("data2vec-audio", "write fairseq(2)"): ("formats.test_fairseq:test_our_models_go_there_and_back",),
}  # fmt: skip
"""(family, column) -> tests that have no structure among their parameters."""
ORDER = ("read HF", "read fairseq(2)", "write HF", "write fairseq(2)", "depth", "width", "conv", "low rank", "gates",
         "ONNX", "int8 ONNX", "torch.export", "streaming", "CTC", "decoder", "task heads")  # fmt: skip
PAGE = Path(__file__).parent.parent / "docs" / "explanation" / "formats.md"
BEGIN, END = "<!-- matrix: tests/matrix.py -->", "<!-- end of matrix -->"


def find_test(name):
    """The function of a test."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(f"tests.{module}"), function)


def arguments_of(function):
    """Names of its arguments, below decorators."""
    return inspect.signature(inspect.unwrap(function)).parameters


def words_in(value):
    """All texts in the values of a parameter."""
    if isinstance(value, str):
        yield value
    elif hasattr(value, "values") and not isinstance(value, dict):
        yield from words_in(value.values)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from words_in(each)


def structures_of(name):
    """The structures that a test runs on."""
    function = find_test(name)
    found = set()
    marks = [mark for mark in getattr(function, "pytestmark", []) if mark.name == "parametrize"]
    named = {name.strip() for mark in marks for name in words_in(mark.args[0]) for name in name.split(",")}
    if "family" in arguments_of(function) and "family" not in named:  # the fixture
        found |= set(FAMILY_STRUCTURES) - ON_ONE_ROAD
    for mark in marks:
        found |= set(words_in(list(mark.args[1])))
    return found


def cell(family, column):
    """``tested``, ``refused`` or ``not tried``."""
    if (family, column) in REFUSED:
        find_test(REFUSED[family, column])
        return "refused"
    if (family, column) in NAMED:
        for name in NAMED[family, column]:
            find_test(name)
        return "tested"
    tests = COLUMNS["read HF" if column == "CTC" else column] if column in COLUMNS or column == "CTC" else ()
    tested = any(structures_of(name) & set(STRUCTURES[family]) for name in tests)
    return "tested" if tested else "not tried"


def write_table():
    """The table as the page has it."""
    lines = ["| family | " + " | ".join(ORDER) + " |", "|:--" * (len(ORDER) + 1) + "|"]
    lines += [f"| {family} | " + " | ".join(cell(family, column) for column in ORDER) + " |" for family in STRUCTURES]
    return "\n".join(lines)
