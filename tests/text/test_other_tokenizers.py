"""Sentencepiece, phonemes and Hugging Face's: what all tokenizers promise, and what each does beside."""

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bigfoot.errors import DataError, MissingExtraError, ModelError
from bigfoot.install import install_hint
from bigfoot.text.building import build_tokenizer
from bigfoot.text.huggingface import load_huggingface_tokenizer
from bigfoot.text.phonemes import build_phoneme_tokenizer
from bigfoot.text.sentencepieces import train_sentencepiece
from bigfoot.text.tokenizer import count_unknown, describe_unknown
from bigfoot.text.tokenizers import CharTokenizer, Processor, load_processor, save_processor
from bigfoot.training.finetuning import FinetuneConfig
from tests.refusals import refused

LINES = ["THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG", "DON'T PANIC", "THE FOX AND THE DOG RAN OVER THE HILL"]


def byte_level():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False))
    return made


def word_pieces():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    words = ["[UNK]", "[PAD]", "<pad>", "THE", "FOX", "RAN", "##S", "D", "##OG"]
    made = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
    return made


@pytest.fixture(scope="module")
def tokenizers_by_kind(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hf")
    byte_level().save(str(folder / "tokenizer.json"))
    return {
        "unigram": train_sentencepiece(LINES, "unigram", 36),
        "bpe": train_sentencepiece(LINES, "bpe", 45),
        "phonemes": build_phoneme_tokenizer(LINES),
        "stressed": build_phoneme_tokenizer(LINES, stress=True),
        "huggingface": load_huggingface_tokenizer(folder),
    }


KINDS = ("unigram", "bpe", "phonemes", "stressed", "huggingface")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_encoded_comes_back(tokenizers_by_kind, kind):
    tokenizer = tokenizers_by_kind[kind]
    for line in LINES:
        ids = tokenizer.encode(line)
        assert tokenizer.blank_id not in ids
        assert tokenizer.decode(ids) == tokenizer.to_judged(line)
        spread = [frame for index in ids for frame in (index, index, tokenizer.blank_id)]
        assert tokenizer.decode_ctc(spread) == tokenizer.to_judged(line)
        # What tokens add one by one is the text, too: searches go by that.
        assert " ".join("".join(tokenizer.pieces[index] for index in ids).split()) == tokenizer.to_judged(line)


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_gives_the_same_tokenizer(tokenizers_by_kind, tmp_path, kind):
    processor = Processor(tokenizers_by_kind[kind], do_normalize=False)
    save_processor(processor, tmp_path)
    again = load_processor(tmp_path)
    assert again == processor
    assert again.tokenizer.encode(LINES[0]) == processor.tokenizer.encode(LINES[0])
    # transformers' CTC tokenizer would write other text, so it is given nothing to open.
    assert not (tmp_path / "vocab.json").exists()


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
@settings(max_examples=50)
@given(words=st.lists(st.text(alphabet="THEQUICKBROWNFX", min_size=1), max_size=6))
def test_sentencepieces_encode_any_words_of_their_characters(tokenizers_by_kind, kind, words):
    tokenizer = tokenizers_by_kind[kind]
    assert tokenizer.decode(tokenizer.encode(" ".join(words))) == " ".join(words)
    # Words are encoded one by one, as a lexicon encodes them.
    assert tokenizer.encode(" ".join(words)) == [index for word in words for index in tokenizer.encode(word)]


def test_sentencepieces_are_the_library_s_own(tokenizers_by_kind):
    import sentencepiece

    tokenizer = tokenizers_by_kind["unigram"]
    theirs = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model)
    for line in LINES:
        ids = tokenizer.encode(line)
        assert ids == theirs.encode(line) and theirs.decode(ids) == line


def test_the_same_texts_make_the_same_pieces_in_the_usual_order(tokenizers_by_kind):
    again = train_sentencepiece(LINES, "bpe", 45)
    assert again == tokenizers_by_kind["bpe"] and len(again) == 45
    assert again.vocabulary[:4] == ("<pad>", "<s>", "</s>", "<unk>") and again.blank_id == 0


def test_pieces_of_another_text_still_encode_the_transcripts(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("103-1240-0000 the quick brown fox\n" + "a quick brown dog\n" * 3)
    config = FinetuneConfig(tokenizer="bpe", vocab_size=40, tokenizer_text=str(text))
    tokenizer = build_tokenizer(config, ["ZEBRA'S", "FOX"])
    # In the case of the transcripts, without the utterance's name.
    assert tokenizer.decode(tokenizer.encode("ZEBRA'S QUICK")) == "ZEBRA'S QUICK"
    assert not tokenizer.unknown_characters("ZEBRA'S") and tokenizer.unknown_characters("1") == {"1"}


def test_too_many_pieces_are_refused_with_the_number_that_can_be_had():
    with refused(DataError, "5000", "3"):
        train_sentencepiece(LINES, "unigram", 5000)
    for make in (lambda texts: train_sentencepiece(texts, "bpe", 30), build_phoneme_tokenizer):
        with pytest.raises(DataError):
            make(["", ""])


def test_unknown_characters_are_refused_counted_and_shown(tokenizers_by_kind):
    tokenizer = tokenizers_by_kind["bpe"]
    with refused(ValueError, "!", "1"):
        tokenizer.encode("FOX 1!")
    assert describe_unknown(count_unknown(tokenizer, ["1 FOX!", "11"])) == "'1' 3 times, '!' once"
    many = count_unknown(tokenizer, ["abcdefghijklmnop"])
    assert describe_unknown(many, most=2).endswith("and 14 others")
    with pytest.raises(ValueError):
        build_phoneme_tokenizer(["SIX"]).encode("SEVEN")


def test_phonemes_are_counted_by_themselves_and_stress_can_be_kept(tokenizers_by_kind):
    plain, stressed = tokenizers_by_kind["phonemes"], tokenizers_by_kind["stressed"]
    assert plain.unit == "phoneme" and tokenizers_by_kind["bpe"].unit == "word"
    assert len(stressed) > len(plain)
    marks = "\u02c8\u02cc"
    assert any(mark in token for token in stressed.vocabulary for mark in marks)
    assert not any(mark in token for token in plain.vocabulary for mark in marks)
    assert len(plain.to_judged("FOX").split()) == 4


def test_word_pieces_of_hugging_face(tmp_path):
    word_pieces().save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_huggingface_tokenizer(tmp_path / "tokenizer.json")
    assert tokenizer.blank_id == 2 and len(tokenizer) == 9
    ids = tokenizer.encode("THE DOG RAN")
    assert tokenizer.decode(ids) == "THE DOG RAN"
    assert [tokenizer.pieces[index] for index in ids] == [" THE", " D", "OG", " RAN"]
    with pytest.raises(ValueError):
        tokenizer.encode("CAT")


def test_a_blank_is_added_where_there_is_none(tokenizers_by_kind):
    tokenizer = tokenizers_by_kind["huggingface"]
    assert tokenizer.blank_id == len(tokenizer) - 1
    # Characters of several bytes come back whole.
    assert tokenizer.decode(tokenizer.encode("\u00c4 \u4e2d")) == "\u00c4 \u4e2d"


def test_damaged_folders_are_refused(tokenizers_by_kind, tmp_path, edit_json):
    save_processor(Processor(tokenizers_by_kind["bpe"]), tmp_path / "whole")
    for name, spoil, named in (
        ("lost", lambda folder: (folder / "tokenizer.model").unlink(), "tokenizer"),
        ("kind", lambda folder: edit_json(folder / "bigfoot_tokenizer.json", kind="runes"), "runes"),
        ("twice", lambda f: edit_json(f / "bigfoot_tokenizer.json", vocabulary=["<pad>", "A", "A"]), "twice"),
        ("torn", lambda f: (f / "bigfoot_tokenizer.json").write_text("{"), "bigfoot_tokenizer.json"),
    ):
        shutil.copytree(tmp_path / "whole", tmp_path / name)
        spoil(tmp_path / name)
        with refused(ModelError, named):
            load_processor(tmp_path / name)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": 1}))
    with refused(ModelError, "tokenizer.json"):
        load_huggingface_tokenizer(tmp_path)


def test_a_vocabulary_and_a_head_of_another_size(tokenizers_by_kind):
    assert tokenizers_by_kind["bpe"].fits(45) and not tokenizers_by_kind["bpe"].fits(46)
    characters = CharTokenizer(("<pad>", "A"))
    # Rows that no vocabulary names are usual there; missing ones are not.
    assert characters.fits(2) and characters.fits(3) and not characters.fits(1)


def test_tokens_are_found_in_the_same_vocabulary_only(tokenizers_by_kind):
    bpe, phonemes = tokenizers_by_kind["bpe"], tokenizers_by_kind["phonemes"]
    assert bpe.find_in(bpe) == list(range(45))
    with pytest.raises(ValueError):
        bpe.find_in(phonemes)
    with pytest.raises(ValueError):
        CharTokenizer(("<pad>", "|", "Q")).find_in(phonemes)


def test_reading_needs_no_package(tokenizers_by_kind, tmp_path, monkeypatch):
    import sys

    save_processor(Processor(tokenizers_by_kind["bpe"]), tmp_path)
    ids = tokenizers_by_kind["bpe"].encode("THE FOX")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    again = load_processor(tmp_path).tokenizer
    assert again.decode(ids) == "THE FOX"
    with refused(MissingExtraError, install_hint('text')):
        again.encode("THE FOX")
