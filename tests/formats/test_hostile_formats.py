"""One table of hostile files: every file that a foreign format reads, damaged in every way, is refused and not run."""

import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bigfoot.errors import ModelError
from bigfoot.formats.folder import load_model
from bigfoot.text.sentencepiece_model import CONTROL, UNKNOWN, Piece, write_pieces
from tests.conftest import make_teacher
from tests.decoding.test_seq2seq import save_seq2seq
from tests.formats.test_foreign_ctc import save_foreign

FIXTURES = Path(__file__).parent / "fixtures"


class Trap:
    """Leaves a trace where it is unpickled."""

    def __reduce__(self):
        return print, ("CODE WAS-RUN",)


def write_fairseq(folder, _):
    for name in ("wav2vec2_ctc_cfg.pt", "dict.ltr.txt"):
        shutil.copy(FIXTURES / "fairseq" / name, folder)


def write_fairseq2(folder, _):
    for file in (FIXTURES / "fairseq2" / "pre").iterdir():
        shutil.copy(file, folder)
    kinds = {"<unk>": UNKNOWN, **dict.fromkeys(("<s>", "<pad>", "</s>"), CONTROL)}
    pieces = [Piece(text, kinds.get(text, 1)) for text in ("<s>", "<pad>", "</s>", "<unk>", "\u2581", *"abcde")]
    (folder / "tokenizer.model").write_bytes(write_pieces(pieces))


def write_mms(folder, makers):
    build, processor = makers
    make_teacher(folder, build, processor, "mms")
    adapters = build("mms", num_hidden_layers=4)._get_adapters()
    own = {key: tensor.detach().contiguous() for key, tensor in adapters.items()}
    save_file(own, folder / "adapter.eng.safetensors")
    torch.save(own, folder / "adapter.deu.bin")


def write_bert(folder, makers):
    """As transformers 4 writes it: the newest keeps the extractor's settings in another file."""
    make_teacher(folder, *makers, "w2v-bert")
    (folder / "processor_config.json").unlink()


def write_graph(folder, _):
    pytest.importorskip("onnx")
    from tests.formats.graphs import draw_weights, save_graph, write_tokens

    save_graph(folder / "model.onnx", draw_weights())
    write_tokens(folder)


FORMATS = {
    "fairseq": (write_fairseq, ("wav2vec2_ctc_cfg.pt", "dict.ltr.txt"), {}),
    "fairseq2": (write_fairseq2, ("model.pt", "model.yaml", "tokenizer.model"), {}),
    "MMS": (write_mms, ("adapter.eng.safetensors", "config.json", "vocab.json"), {"language": "eng"}),
    "MMS as .bin": (write_mms, ("adapter.deu.bin",), {"language": "deu"}),
    "w2v-BERT": (write_bert, ("preprocessor_config.json", "config.json", "model.safetensors"), {}),
    "w2v-BERT, nested": (
        lambda folder, makers: make_teacher(folder, *makers, "w2v-bert"), ("processor_config.json",), {},
    ),
    "ONNX": (write_graph, ("model.onnx", "tokens.txt"), {}),
    "Parakeet": (
        lambda folder, _: save_foreign(folder, "parakeet"),
        ("config.json", "preprocessor_config.json", "model.safetensors", "tokenizer.json"), {},
    ),
    "Moonshine": (
        lambda folder, _: save_seq2seq(folder, "moonshine"),
        ("config.json", "preprocessor_config.json", "model.safetensors"), {},
    ),
}  # fmt: skip
"""Format -> how a folder is written, its files, and what is chosen of it."""
DAMAGE = {
    "empty": lambda _: b"",
    "half": lambda content: content[: len(content) // 2],
    "a pointer": lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "a pickle": lambda _: pickle.dumps(Trap()),
    "zeros": lambda content: bytes(len(content)),
    "brackets": lambda _: b"[" * 100_000,
}
ROWS = [(kind, name) for kind, (_, names, _) in FORMATS.items() for name in names]


@pytest.fixture(scope="module")
def folders(build_huggingface, processor, tmp_path_factory):
    """A good folder of each format, written once and asked for by its name."""
    written = {}

    def find(kind):
        if kind not in written:
            written[kind] = tmp_path_factory.mktemp("good")
            FORMATS[kind][0](written[kind], (build_huggingface, processor))
            load_model(written[kind], **FORMATS[kind][2])
        return written[kind]

    return find


@pytest.mark.grid
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(("kind", "name"), ROWS)
def test_every_damaged_file_is_refused(kind, name, damage, folders, tmp_path, capsys):
    shutil.copytree(folders(kind), tmp_path / "folder")
    file = tmp_path / "folder" / name
    file.write_bytes(DAMAGE[damage](file.read_bytes()))
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path / "folder", **FORMATS[kind][2])
    assert str(tmp_path) in str(caught.value)
    assert "CODE WAS-RUN" not in capsys.readouterr().out
