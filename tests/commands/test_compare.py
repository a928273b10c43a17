import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from segtricks.cli import main


@pytest.fixture(scope="module")
def tested(trained, tmp_path_factory):
    """The trained run, scored by two protocols."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(trained)
        for protocol in ("fullres", "sod"):
            assert main(["test", "--run", "small", "--protocol", protocol]) == 0
    return trained


def test_compare_prints_and_writes_what_the_results_hold(tested, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tested)
    words = ["compare", "runs/small", "runs/small/test/synthetic-14-18-sod.json", "--metric", "iou", "mae"]
    assert main([*words, "--output", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "### synthetic[14:18], protocol fullres" in out
    assert "### synthetic[14:18], protocol sod" in out
    assert (tmp_path / "compare.md").read_text(encoding="utf-8").startswith("### synthetic[14:18]")
    with (tmp_path / "compare.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["protocol"] == "fullres"]
    with (tested / "runs/small/test/synthetic-14-18-per-image.csv").open(newline="") as file:
        ious = [float(row["iou"]) for row in csv.DictReader(file) if row["mask"] == "mask"]
    assert float(rows[0]["iou"]) == pytest.approx(sum(ious) / 4, abs=1e-6)
    with Image.open(tmp_path / "compare.png") as picture:
        assert picture.width > 300


def test_sets_that_the_figure_leaves_out_are_named_on_the_screen_and_in_the_file(tested, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tested)
    other = json.loads(Path("runs/small/test/synthetic-14-18.json").read_text()) | {"dataset": "ecssd[:4]"}
    (tmp_path / "other.json").write_text(json.dumps(other))
    words = ["compare", "runs/small", str(tmp_path / "other.json"), "--baseline", "runs/small"]
    assert main([*words, "--output", str(tmp_path)]) == 0
    said = "No figure of ecssd[:4], protocol fullres: no row is the baseline runs/small"
    assert said in capsys.readouterr().out
    assert said in (tmp_path / "compare.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Usage"),
        (["nine"], "runs/small"),
        (["small", "--metric", "miou"], "acc, iou"),
        (["small", "--baseline", "nine"], "Runs: small"),
    ],
)
def test_mistakes_are_told_with_what_is_allowed(tested, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tested)
    assert main(["compare", *words]) == 2
    assert said in capsys.readouterr().err
