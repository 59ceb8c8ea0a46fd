import pytest

from bigfoot.text.ngram import read_arpa, train_ngram
from tests.refusals import names
from tools.train_ngram import main


def test_a_model_out_of_a_text_file(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("One two, three.\nthree one\n")
    out = tmp_path / "out.arpa"
    main([str(tmp_path / "text.txt"), str(out), "--order", "2", "--own"])
    assert names(capsys.readouterr().out, "2-grams", "3 words", "2 lines")
    expected = train_ngram(["ONE TWO THREE", "THREE ONE"], 2)
    assert read_arpa(out).score("ONE TWO THREE") == pytest.approx(expected.score("ONE TWO THREE"), abs=1e-5)


def test_bad_arguments_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main([str(tmp_path / "nowhere.txt"), str(tmp_path / "out.arpa")])
    with pytest.raises(SystemExit):
        main(["a", "b", "--order", "1"])
    assert names(capsys.readouterr().err, "--order", 2)


def test_what_a_test_split_says_is_left_out(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("1-2-0000 ONE TWO THREE\n1-2-0001 TWO NINE\n1-2-0002 ONE FOUR\n")
    (tmp_path / "test.txt").write_text("two, nine\n")
    out = tmp_path / "out.arpa"
    main([str(tmp_path / "text.txt"), str(out), "--order", "2", "--own", "--without", str(tmp_path / "test.txt")])
    assert names(capsys.readouterr().out, "2 lines", "1 lines")
    expected = train_ngram(["ONE TWO THREE", "ONE FOUR"], 2)
    assert read_arpa(out).score("TWO NINE") == pytest.approx(expected.score("TWO NINE"), abs=1e-5)
