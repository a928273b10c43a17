import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from segtricks.cli import main

from ..conftest import result


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


def test_files_of_runs_written_by_hand_are_those_worked_out_by_hand(make_run, tmp_path, monkeypatch, capsys):
    """Two runs, a third of two seeds, on the whole of ECSSD, whose published IoUs for these rows are as below."""
    monkeypatch.chdir(tmp_path)
    rows = {
        "a": (0, False, {"iou": 0.5, "mae": 0.25}, {"iou": 0.75, "mae": 0.125}),
        "b": (0, True, {"iou": 0.625}, {"iou": 0.7654321}),
        "c": (1, True, {"iou": 0.875}, {"iou": 0.7654321}),
    }
    for name, (seed, crop, mask, refined) in rows.items():
        content = result("ecssd", images=1000, mask=mask, refined=refined)
        make_run(name, {"ecssd": content}, seed, crop=crop, guided_filter=crop)
    make_run("d", {"ecssd": result("ecssd[:4]", mask={"iou": 1 / 3})}, crop=False, guided_filter=False)
    words = ["a", "b", "c", "d", "--average-seeds", "--metric", "iou", "mae", "--output", "out"]
    assert main(["compare", *words]) == 0
    assert Path("out/compare.csv").read_text().splitlines() == [
        "run,dataset,protocol,model.crop,model.guided_filter,row,images,seeds,"
        "iou,iou_std,iou_difference,iou_published,mae,mae_std,mae_difference,mae_published",
        "a,ecssd,fullres,false,false,mask,1000,1,0.5,,,0.853,0.25,,,",
        "a,ecssd,fullres,false,false,mask + guided filter,1000,1,0.75,,0.25,0.869,0.125,,-0.125,",
        '"b, c",ecssd,fullres,true,true,mask,1000,2,0.75,0.176777,0.25,,,,,',
        '"b, c",ecssd,fullres,true,true,mask + guided filter,1000,2,0.765432,0.0,0.265432,0.862,,,,',
        "d,ecssd[:4],fullres,false,false,mask,4,1,0.333333,,,,,,,",
    ]
    assert Path("out/compare.md").read_text(encoding="utf-8").splitlines() == [
        "### ecssd, protocol fullres",
        "",
        "| run | crop | guided_filter | row | images | iou | Δ iou | published iou | mae | Δ mae |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| a | false | false | mask | 1,000 | 0.5000 |  | 0.853 | 0.2500 |  |",
        "| a | false | false | mask + guided filter | 1,000 | 0.7500 | +0.2500 | 0.869 | 0.1250 | -0.1250 |",
        "| b, c | true | true | mask | 1,000 | 0.7500 ± 0.1768 (n = 2) | +0.2500 |  |  |  |",
        "| b, c | true | true | mask + guided filter | 1,000 | 0.7654 ± 0.0000 (n = 2) | +0.2654 | 0.862 |  |  |",
        "",
        "Δ: difference to a, mask.",
        "",
        "### ecssd[:4], protocol fullres",
        "",
        "| run | row | images | iou |",
        "| --- | --- | ---: | ---: |",
        "| d | mask | 4 | 0.3333 |",
        "",
        "2 tables: figures of different data sets or protocols cannot be compared.",
        "",
        "Published: arXiv 2404.03392, measured by its own protocol (two-tricks).",
        "",
        "No figure of ecssd[:4], protocol fullres: its only row is the baseline, and it has no published number.",
    ]
    assert capsys.readouterr().out.count("±") == 2


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
