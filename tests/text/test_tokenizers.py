import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.errors import ModelError
from bigfoot.text.tokenizers import CharTokenizer, Processor, build_char_tokenizer, load_processor, save_processor
from bigfoot.text.vocabulary_files import MAX_VOCABULARY_BYTES
from tests.refusals import refused

ENGLISH = build_char_tokenizer(["THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG'S"])
TORCHAUDIO = CharTokenizer(("-", "|", *"ETAOIN"), blank_token="-")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """Tokenizers as transformers opens them from our files."""
    from transformers import Wav2Vec2CTCTokenizer

    def open_one(tokenizer):
        folder = tmp_path_factory.mktemp("tokenizer")
        save_processor(Processor(tokenizer), folder)
        return Wav2Vec2CTCTokenizer.from_pretrained(folder)

    return {tokenizer: open_one(tokenizer) for tokenizer in (ENGLISH, TORCHAUDIO)}


@pytest.mark.parametrize("tokenizer", [ENGLISH, TORCHAUDIO], ids=["english", "torchaudio"])
@given(data=st.data())
def test_decodes_as_transformers_does(opened, tokenizer, data):
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=30))
    expected = opened[tokenizer].batch_decode([ids])[0]
    assert tokenizer.decode_ctc(ids) == " ".join(expected.split())


@given(st.lists(st.integers(0, len(ENGLISH) + 1), max_size=30))
def test_without_special_tokens_a_hypothesis_is_a_transcript(ids):
    text = ENGLISH.drop_specials(ENGLISH.decode_ctc(ids))
    merged = [index for index, _ in itertools.groupby(ENGLISH._settle(ids)) if index >= 4]
    assert text == ENGLISH.decode(merged) == ENGLISH.decode(ENGLISH.encode(text))


@given(st.lists(st.integers(4, len(ENGLISH) - 1), max_size=30))
def test_without_doubled_spaces_the_text_is_transformers_own(opened, ids):
    expected = opened[ENGLISH].batch_decode([ids])[0]
    assert ENGLISH.decode_ctc(ids) == expected


@given(st.lists(st.integers(-1, len(ENGLISH) + 1), max_size=60))
def test_words_stand_where_their_tokens_do(ids):
    words = ENGLISH.decode_words(ids)
    assert " ".join(word.text for word in words) == ENGLISH.decode_ctc(ids)
    # Each word is what its own frames give; between words there are blanks alone.
    assert all(ENGLISH.decode_ctc(ids[word.start_frame : word.end_frame]) == word.text for word in words)
    edges = [0, *(frame for word in words for frame in (word.start_frame, word.end_frame)), len(ids)]
    assert edges == sorted(edges)
    gaps = zip(edges[::2], edges[1::2], strict=True)
    assert all(ENGLISH.decode_ctc(ids[start:end]) == "" for start, end in gaps)


def test_a_token_of_several_letters_and_one_with_a_space():
    tokenizer = CharTokenizer(("<pad>", "a b", "sch", "|"))
    found = [(word.text, word.start_frame, word.end_frame) for word in tokenizer.decode_words([2, 1, 1, 0, 2, 3])]
    assert found == [("scha", 0, 3), ("bsch", 1, 5)]


@given(st.text(alphabet=sorted(ENGLISH.characters)))
def test_what_is_encoded_comes_back(text):
    text = " ".join(text.split())
    spread = [index for label in ENGLISH.encode(text) for index in (label, label, ENGLISH.blank_id)]
    assert ENGLISH.decode_ctc(spread) == text


def test_encodes_as_transformers_does(opened):
    text = "THE DOG'S FOX"
    assert ENGLISH.encode(text) == opened[ENGLISH](text).input_ids


def test_characters_leave_specials_out_and_hold_the_space():
    tokenizer = CharTokenizer(("<pad>", "<s>", "|", "A", "sch"))
    assert tokenizer.characters == {"A", " "}
    assert CharTokenizer(("<pad>", "A")).characters == {"A"}
    assert CharTokenizer(("<pad>", " ", "A")).encode("A A") == [2, 1, 2]


def test_refuses_what_it_cannot_encode_and_vocabularies_that_make_no_sense():
    with refused(ValueError, "!", "1", "A1!"):
        ENGLISH.encode("A1!")
    with pytest.raises(ValueError):
        CharTokenizer(("A", "B"))
    with pytest.raises(ValueError):
        CharTokenizer(("<pad>", "A", "A"))


def test_ids_beyond_the_vocabulary_add_nothing():
    assert TORCHAUDIO.decode_ctc([2, 99, 2, -1]) == "EE"


def test_english_vocabulary_is_in_the_usual_order():
    assert ENGLISH.vocabulary[:6] == ("<pad>", "<s>", "</s>", "<unk>", "|", "'")
    assert len(ENGLISH) == 5 + 27


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("tokenizer", [ENGLISH, TORCHAUDIO], ids=["english", "torchaudio"])
def test_transformers_opens_the_folder(tmp_path, tokenizer, mask):
    from transformers import AutoProcessor, Wav2Vec2Processor

    processor = Processor(tokenizer, do_normalize=False, return_attention_mask=mask)
    save_processor(processor, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wav2vec2"}))
    assert load_processor(tmp_path) == processor
    for opener in (Wav2Vec2Processor, AutoProcessor):
        theirs = opener.from_pretrained(tmp_path)
        assert isinstance(theirs, Wav2Vec2Processor)
        assert theirs.feature_extractor.do_normalize is False
        assert theirs.feature_extractor.return_attention_mask is mask
        assert len(theirs.tokenizer) == len(tokenizer)
        assert theirs.tokenizer.pad_token_id == tokenizer.blank_id
        ids = [3, 3, 0, 3, 1, 5]
        assert tokenizer.decode_ctc(ids) == theirs.batch_decode([ids])[0]


def test_opens_a_folder_of_another_model_type(tmp_path):
    from transformers import Wav2Vec2Processor

    save_processor(Processor(ENGLISH), tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bigfoot"}))
    assert len(Wav2Vec2Processor.from_pretrained(tmp_path).tokenizer) == len(ENGLISH)


@pytest.mark.parametrize("layout", ["transformers 5", "preprocessor_config.json only"])
def test_reads_what_transformers_writes(tmp_path, layout):
    from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

    vocab = tmp_path / "v.json"
    vocab.write_text(json.dumps({"A": 0, "|": 1, "[UNK]": 2, "[PAD]": 3}))
    tokenizer = Wav2Vec2CTCTokenizer(str(vocab), pad_token="[PAD]", unk_token="[UNK]")
    extractor = Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True)
    folder = tmp_path / "saved"
    if layout == "transformers 5":
        Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
    else:
        extractor.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    ours = load_processor(folder)
    assert (ours.do_normalize, ours.return_attention_mask) == (False, True)
    # transformers itself appends <s> and </s>, as many published folders hold them.
    assert ours.tokenizer.vocabulary == ("A", "|", "[UNK]", "[PAD]", "<s>", "</s>")
    assert ours.tokenizer.blank_id == 3
    assert ours.tokenizer.characters == {"A", " "}


def test_reads_old_files(tmp_path):
    (tmp_path / "vocab.json").write_text(json.dumps({"<pad>": 0, "|": 2, "A": 1, "B": 4}))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<s>": 5}))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"pad_token": {"content": "<pad>", "lstrip": False}}))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False, "sampling_rate": 8000}))
    processor = load_processor(tmp_path)
    # transformers reads an id without a token as the unknown one.
    assert processor.tokenizer.vocabulary == ("<pad>", "A", "|", "<unk>", "B", "<s>")
    assert processor.tokenizer.decode_ctc([1, 3, 5, 4]) == "A<unk><s>B"
    assert processor == Processor(processor.tokenizer, do_normalize=False, sample_rate=8000)


def test_a_folder_without_files_has_defaults(tmp_path):
    assert load_processor(tmp_path) == Processor(None, do_normalize=True, sample_rate=16000)
    save_processor(Processor(None, do_normalize=False), tmp_path)
    assert load_processor(tmp_path) == Processor(None, do_normalize=False)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('{"eng": {"a": 0}, "deu": {"a": 0}}', ()),
        ('{"A": 0', ("JSON",)),
        ('{"A": 0, "B": 0, "<pad>": 1}', ()),
        ('{"A": 0}', ()),
        ('{"A": 1000000000000}', ("1000000000000",)),
        ("[" * 100_000, ("JSON",)),
        ('{"A": "' + "A" * MAX_VOCABULARY_BYTES + '"}', (MAX_VOCABULARY_BYTES,)),
        ('["A"]', ("JSON",)),
    ],
)
def test_says_what_is_wrong_with_a_vocabulary(tmp_path, content, named):
    (tmp_path / "vocab.json").write_text(content)
    with refused(ModelError, *named):
        load_processor(tmp_path)
