"""Language models, lexicons and hot words in the cloud."""

import pytest

from bigfoot.decoding.choose import decoder_problems
from bigfoot.decoding.hot_words import list_hot_words
from bigfoot.decoding.settings import SearchConfig
from bigfoot.decoding.words import read_lexicon
from bigfoot.pipeline.fingerprints import digest_files

ARPA = b"\\data\\\nngram 1=3\n\n\\1-grams:\n-1 <s>\n-1 </s>\n-1 ONE\n\n\\end\\\n"


def test_files_are_read_where_they_lie(tmp_path, monkeypatch):
    memory = pytest.importorskip("fsspec").filesystem("memory")
    pytest.importorskip("flashlight")
    monkeypatch.setattr(memory, "store", {})
    monkeypatch.setenv("BIGFOOT_CACHE", str(tmp_path / "cache"))
    for name, content in (("lm.arpa", ARPA), ("words.txt", b"TWO\n"), ("hot.txt", b"THREE\n")):
        memory.pipe(f"/bucket/{name}", content)
    config = SearchConfig(
        "lm", lm_path="memory://bucket/lm.arpa", lexicon="memory://bucket/words.txt",
        hot_words_file="memory://bucket/hot.txt",
    )  # fmt: skip
    assert read_lexicon(config.lexicon, None) == ["TWO"] and list_hot_words(config) == ["THREE"]
    assert not list(decoder_problems(config))
    before = digest_files(config.lm_path, config.lexicon)
    memory.pipe("/bucket/words.txt", b"FOUR\n")
    assert digest_files(config.lm_path, config.lexicon)[0] == before[0] != before[1]
    assert digest_files(config.lexicon) != before[1:] and read_lexicon(config.lexicon, None) == ["FOUR"]
    absent = SearchConfig("lm", lm_path="memory://bucket/none.arpa")
    assert [problem.key for problem in decoder_problems(absent)] == ["lm_path"]
