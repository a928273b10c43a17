import re
from pathlib import Path

import pytest

from segtricks.cli import main


def test_page_of_a_trained_run_holds_its_scores_and_no_folder_of_the_machine(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    assert main(["test", "--run", "small"]) == 0
    table = next(line for line in capsys.readouterr().out.splitlines() if "guided filter" in line).split()
    assert main(["report", "runs/small"]) == 0
    path = trained / "runs/small/report.html"
    page = path.read_text(encoding="utf-8")
    assert f">{table[-3]}<" in page  # the IoU that test printed
    assert "everything foreground" in page
    assert "loss over steps" in page
    words = re.sub(r'src="data:[^"]*"', "", page)  # the letters of a picture may spell anything
    assert str(Path.home()) not in words
    assert str(trained) not in words
    assert path.stat().st_size < 3e6


def test_page_goes_where_it_is_asked_to(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(trained)
    assert main(["report", "small", "--output", str(tmp_path / "new" / "a.html")]) == 0
    assert (tmp_path / "new" / "a.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(("words", "said"), [([], "Usage"), (["nine"], "runs/small")])
def test_mistakes_are_told_with_what_is_allowed(trained, monkeypatch, capsys, words, said):
    monkeypatch.chdir(trained)
    assert main(["report", *words]) == 2
    assert said in capsys.readouterr().err
