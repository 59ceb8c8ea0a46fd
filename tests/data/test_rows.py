"""Tables by anybody: any characters, any line ends, any quoting; every row is there or named."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigfoot.data.rows import read_rows
from bigfoot.data.tables import list_table
from bigfoot.errors import DataError
from tests.refusals import names

ANY = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
ONE_LINE = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n\t"), max_size=20)
ENDS = st.sampled_from(["\n", "\r\n"])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")

    def write(content, suffix, encoding="utf-8"):
        path = folder / f"t.{suffix}"
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return path

    return write


def texts_of(path):
    return [(row.values.get("path"), row.values.get("text")) for row in read_rows(path)[1]]


def words(rows):
    return [(path, (text or "").split()) for path, text in rows]


@pytest.mark.slow
@given(
    st.lists(ANY, min_size=1, max_size=6), ENDS, st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    st.sampled_from(",;\t"),
)  # fmt: skip
def test_what_csv_writes_is_read(table, texts, end, quoting, between):
    rows = [(f"{number}.wav", text) for number, text in enumerate(texts)]
    # Text that names audio behind a line end cannot be distinguished from a row that a lone quotation mark swallows.
    file = io.StringIO(newline="")
    writer = csv.writer(file, quoting=quoting, lineterminator=end, delimiter=between)
    writer.writerows([("path", "text"), *rows])
    # The writer does not quote a lone \r, which some systems end lines with.
    if quoting == csv.QUOTE_ALL or not any("\r" in text for text in texts):
        assert words(texts_of(table(file.getvalue(), "csv"))) == words(rows)


@pytest.mark.slow
@given(st.lists(ONE_LINE | st.sampled_from(['"', '"a', 'a"', '""', '"""', '"a"b', ' "a"']), max_size=8), ENDS)
def test_no_quotation_mark_swallows_a_row_of_csv(table, texts, end):
    texts = [text.replace(",", "") for text in texts]
    lines = ["path,text", *(f"{number}.wav,{text}" for number, text in enumerate(texts))]
    rows = texts_of(table("".join(line + end for line in lines), "csv"))
    assert [path for path, _ in rows] == [f"{number}.wav" for number in range(len(texts))]
    for (_, read), text in zip(rows, texts, strict=True):
        whole = len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1].replace('""', "")
        assert read == (text[1:-1].replace('""', '"') if whole else text)


@pytest.mark.slow
@given(st.lists(ONE_LINE, max_size=6), ENDS | st.just("\r"), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_tabs_part_fields_and_nothing_else_does(table, texts, end, encoding):
    lines = ["path\ttext", *(f"{number}.wav\t{text}" for number, text in enumerate(texts))]
    rows = texts_of(table("".join(line + end for line in lines), "tsv", encoding))
    assert rows == [(f"{number}.wav", text) for number, text in enumerate(texts)]


@pytest.mark.slow
@given(st.lists(ANY, max_size=6), ENDS, st.booleans())
def test_json_lines(table, texts, end, ascii_only):
    rows = [{"path": f"{number}.wav", "text": text} for number, text in enumerate(texts)]
    content = end.join(json.dumps(row, ensure_ascii=ascii_only) for row in rows)
    assert [row.values for row in read_rows(table(content, "jsonl"))[1]] == rows


@given(st.binary(max_size=200), st.sampled_from(["tsv", "csv", "jsonl"]))
def test_any_bytes_are_rows_or_one_error(table, content, suffix):
    path = table(content, suffix)
    try:
        listed = list_table(path)
    except DataError:
        return
    assert all(item.problem or item.path.name for item in listed)


def test_rows_in_are_rows_out(table):
    content = 'path,text\na.wav,ONE\nb.wav\n\nc.wav,"TWO\nLINES"\nd.wav,"NO, END\ne.wav,THREE,4\nf.wav,FOUR\n'
    rows = read_rows(table(content, "csv"))[1]
    assert [(row.line, row.values.get("text"), bool(row.problem)) for row in rows] == [
        (2, "ONE", False), (3, None, True), (5, "TWO\nLINES", False), (7, None, True), (8, None, True),
        (9, "FOUR", False),
    ]  # fmt: skip


def test_a_quotation_mark_in_a_large_table(table):
    lines = ["path,text", "a.wav,ONE", 'b.wav,"TWO', *(f"{n}.wav,THREE FOUR FIVE" for n in range(9000))]
    rows = texts_of(table("\n".join(lines), "csv"))
    assert len(rows) == 9002 and rows[1] == ("b.wav", '"TWO')


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        ("tsv", "path\ttext\ttext\na.wav\tA\tB\n"),
        ("csv", "path, text ,text\na.wav,A,B\n"),
        ("csv", "path,words\na.wav,A\n"),
        ("csv", "path:text\na.wav:A\n"),
        ("jsonl", '{"path": "a.wav"}\n'),
        ("tsv", "path\ttext\na.wav\tA\n".encode("utf-16-be")),
        ("tsv", "pa\0th\ttext\na.wav\tA\n"),
    ],
)
def test_tables_without_the_columns_are_refused(table, suffix, content):
    with pytest.raises(DataError):
        list_table(table(content, suffix))


SWALLOWING = [
    "path,text\na.wav,\"1\nb.wav,2\nc.wav,3\"\nd.wav,4\n",
    "wav,text\na.wav,\"1\nb.wav,2\nc.wav,3\"\nd.wav,4\n",
    "text,wav\n\"1,a.wav\n2,b.wav\n3\",c.wav\n4,d.wav\n",
    "path,text\nx/a,\"1\nx/b,2\nx/c,3\"\nx/d,4\n",
    'path,text\n"a.wav","1\n"b.wav","2"\n"c.wav","3"\nd.wav,4\n',
]


@pytest.mark.parametrize("content", SWALLOWING)
def test_a_quotation_mark_swallows_no_row_whatever_the_column_of_paths_is_called(table, content):
    rows = [row.values for row in read_rows(table(content, "csv"))[1]]
    assert [row["text"].strip('"') for row in rows] == ["1", "2", "3", "4"]
    assert [str(row.get("path") or row.get("wav")).strip("x/").removesuffix(".wav") for row in rows] == [*"abcd"]


def test_quoted_lines_stay_one_row_where_they_are_none_of_their_own(table):
    content = 'wav,text\na.wav,"ONE, TWO\nTHREE, FOUR\nsee b.wav"\nc.wav,FIVE\n'
    assert [row.values["wav"] for row in read_rows(table(content, "csv"))[1]] == ["a.wav", "c.wav"]


@pytest.mark.parametrize("path", [".", "..", "/", " ", "x/.."])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_a_path_that_names_no_file_costs_its_row(table, path, suffix):
    row = {"csv": "%s,A", "tsv": "%s\tA", "jsonl": '{"path": "%s", "text": "A"}'}[suffix]
    lines = [row % "path" if suffix == "jsonl" else (row % "path").replace("A", "text"), row % path, row % "b.wav"]
    listed = list_table(table("\n".join(lines), suffix))
    assert [item.problem is None for item in listed][-2:] == [False, True]


def test_json_that_is_no_row_is_named(table):
    lines = ["[" * 100_000, '{"path": "a.wav", "text": "A", "text": "B"}', "[]", "7", '{"path": "a.wav", "text": "A"}']
    assert [bool(item.problem) for item in list_table(table("\n".join(lines), "jsonl"))] == [True] * 4 + [False]


@pytest.mark.parametrize("suffix", ["tsv", "jsonl"])
def test_paths_alone_where_nobody_learns_from_texts(table, suffix):
    content = {"tsv": "path\na.wav\nb.wav\n", "jsonl": '{"audio_filepath": "a.wav"}\n{"path": "b.wav", "text": "B"}\n'}
    listed = list_table(table(content[suffix], suffix), untranscribed=True)
    assert [(item.path.name, item.problem) for item in listed] == [("a.wav", None), ("b.wav", None)]


BAD = [b"A\0", b"caf\xe9", b"\xff\xfe", b"\xed\xa0\x80", b"\xc3"]


@given(st.lists(st.sampled_from([*BAD, None]), max_size=5), st.sampled_from(["tsv", "csv", "jsonl"]), ENDS)
def test_a_row_that_is_no_text_costs_itself(table, bad, suffix, end):
    line = {"tsv": b"%b\t%b", "csv": b'%b,"%b"', "jsonl": b'{"path": "%b", "text": "%b"}'}[suffix]
    lines = [] if suffix == "jsonl" else [line.replace(b'"', b"") % (b"path", b"text")]
    lines += [line % (b"%d.wav" % number, broken or b"\xc3\xa9") for number, broken in enumerate(bad)]
    rows = list_table(table(b"".join(each + end.encode() for each in lines), suffix)) if bad else []
    assert [row.problem is None for row in rows] == [broken is None for broken in bad]
    assert all(row.text == "é" for row in rows if not row.problem)


def test_padding_of_a_cell_is_no_part_of_a_name_but_where_it_is(table):
    path = table("path , text\n a.wav , ONE\n b.wav ,TWO\n", "csv")
    assert [row.path.name for row in list_table(path)] == ["a.wav", "b.wav"]
    (path.parent / " b.wav ").touch()
    assert [row.path.name for row in list_table(path)] == ["a.wav", " b.wav "]


def test_escapes_of_json_and_headers_that_are_no_text(table):
    content = '{"path": "a.wav", "text": "\\udcff"}\n{"path": "\\u0000", "text": ""}\n{"path": "b.wav", "text": "B"}\n'
    assert [row.problem is None for row in list_table(table(content, "jsonl"))] == [False, False, True]
    for suffix in ("tsv", "csv"):
        with pytest.raises(DataError):
            read_rows(table("path\ttext\xe9\n".encode("latin-1"), suffix))


@pytest.mark.parametrize("content", ['path,text\na,"1\nb,2\nc,3"\nd,4\n', 'text,path\n"1,a\n2,b\n3",c\n4,d\n'])
@pytest.mark.parametrize("are_there", [True, False])
def test_rows_of_names_alone_are_kept_or_reported(table, content, are_there, caplog):
    """Without suffix and folder a name is a name where there is such a file; else the doubt is reported."""
    path = table(content, "csv")
    for name in "abcd":
        (path.parent / name).touch() if are_there else (path.parent / name).unlink(missing_ok=True)
    listed = list_table(path)
    assert [item.path.name for item in listed] == ([*"abcd"] if are_there else [listed[0].path.name, "d"])
    assert names(caplog.text, path, 2) is not are_there


def test_lines_of_prose_within_quotes_are_in_no_doubt(table, caplog):
    list_table(table('path,text\na,"1, 2\nand 3\n4, 5"\n', "csv"))
    assert not caplog.text
