import csv
import json
from pathlib import Path

import numpy as np
import pytest

from segtricks.experiments.grid import read_grid
from segtricks.experiments.plan import expand
from segtricks.experiments.run import Experiment
from segtricks.experiments.table import collect
from segtricks.packaged import find_grid

from .experiment_fake import GRID, make_fake

fake = pytest.fixture(make_fake)

PAPER = """
title: Some rows of table 3
paper: 3
protocol: two-tricks
data: [ecssd]
metrics: [iou]
runs:
  vit: {command: fit, config: sempart}
cells:
  - {labels: {backbone: dino_vits8, crop: false, guided_filter: false}, run: vit, row: mask}
  - {labels: {backbone: dino_vits16, crop: false, guided_filter: false}}
"""


def rows_of(fake):
    lines = (fake.folder / "runs/mine/table.md").read_text().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]


def test_figures_are_mean_and_standard_deviation_over_seeds(fake):
    assert fake.run("--axis", "backbone=a", "--seeds", "0", "1", "3") == 0
    header, _, plain, _, filtered, tokencut = rows_of(fake)
    assert header == ["backbone", "crop", "filter", "method", "ecssd IoU", "voc12 IoU"]
    values = np.array([0.5, 0.51, 0.59])  # the fake's, for seeds 0, 1 and 3
    assert plain == [
        *("a", "no", "no", ""),
        f"{values.mean():.4f} ± {values.std(ddof=1):.4f} (3)",
        f"{values.mean() + 0.1:.4f} ± {values.std(ddof=1):.4f} (3)",
    ]
    assert filtered[4] == "0.7500 ± 0.0000 (3)"
    assert tokencut == ["", "", "", "TokenCut", "0.5000", "0.5000"], "no spread where there is no chance"


def test_csv_holds_a_line_for_each_cell_set_and_seed(fake):
    fake.run("--axis", "backbone=a")
    with (fake.folder / "runs/mine/results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 2 + 2
    assert rows[3] == {
        **{"run": "a", "backbone": "a", "crop": "false", "filter": "false", "method": "", "seed": "1"},
        **{"dataset": "voc12", "protocol": "fullres", "row": "mask", "images": "4", "iou": "0.610000"},
    }
    assert rows[-1]["seed"] == ""
    assert (fake.folder / "runs/mine/figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("images", "shown"), [("1000", ["0.853", "0.784"]), ("999", ["-", "-"])])
def test_published_number_stands_only_next_to_the_whole_test_set(fake, images, shown):
    fake.write(PAPER)
    fake.order("images", images)
    assert fake.run() == 0
    header, _, measured, published = rows_of(fake)
    assert header[-2:] == ["ecssd IoU", "published"]
    assert measured[-2:] == ["0.5000", shown[0]]
    assert published[-2:] == ["-", shown[1]]
    assert "0.853" not in (fake.folder / "runs/mine/results.csv").read_text()


def test_subset_has_no_published_numbers_even_before_it_is_scored(fake):
    fake.write(PAPER)
    fake.order("fail", "vit-s0")
    assert fake.run("--subset", "10") == 1
    assert [row[-1] for row in rows_of(fake)[2:]] == ["-", "-"]


@pytest.mark.parametrize(
    ("words", "images", "note"),
    [
        (("--subset", "40"), "40", "\nTest sets cut: ecssd to 40 images, photos to 40 images.\n"),
        (("--data.test_limit=1",), "1", "\nTest sets cut: ecssd to 1 image, photos to 1 image.\n"),
        (("--subset", "1000"), "1000", "\nTest sets cut: photos to 1000 images.\n"),  # ECSSD has 1000
        (("--subset", "40"), "39", None),  # sets of 39
        (("--data.test_limit", "null"), "40", None),
        ((), "40", None),
    ],
)
def test_sets_that_were_cut_are_named_below_the_table(fake, words, images, note):
    fake.order("images", images)
    assert fake.run("--axis", "backbone=a", "--seeds", "0", "--data", "ecssd", "photos", *words) == 0
    table = (fake.folder / "runs/mine/table.md").read_text()
    assert note in table if note else "cut" not in table


def test_sets_cut_by_the_grid_in_one_run_are_named(fake):
    fake.write(GRID.replace("config: tokencut}", "config: tokencut, options: {data.test_limit: 4}}"))
    assert fake.run("--axis", "backbone=a", "--seeds", "0", "--data", "ecssd") == 0
    assert "Test sets cut: ecssd to 4 images." in (fake.folder / "runs/mine/table.md").read_text()


def test_missing_row_of_a_result_is_a_failure_that_names_it(fake, capsys):
    fake.write(GRID.replace("run: tokencut, row: mask", "run: tokencut, row: mask + bilateral solver"))
    assert fake.run("--axis", "backbone=a", "--seeds", "0", "--data", "ecssd") == 1
    assert "no result on ecssd with the rows 'mask + bilateral solver'" in capsys.readouterr().err


BY_HAND = """
title: Written by hand
paper: 3
protocol: two-tricks
data: [ecssd, voc12]
metrics: [iou, corloc]
seeds: [0, 1]
axes: {backbone: [dino_vits8, dino_vits16]}
runs:
  "{backbone}": {command: fit, config: sempart}
  tokencut: {command: test, config: tokencut, protocol: fullres}
cells:
  - {labels: {backbone: "{backbone}", crop: false, guided_filter: false}, run: "{backbone}", row: mask}
  - {labels: {backbone: "{backbone}", crop: false, guided_filter: true}, run: "{backbone}", row: mask + guided filter}
  - {labels: {method: TokenCut}, run: tokencut, row: mask}
  - {labels: {method: MOVE}}
"""
TABLE = """\
# Written by hand

| backbone | crop | guided_filter | method | ecssd IoU | published | voc12 CorLoc | published |
| --- | --- | --- | --- | ---: | ---: | ---: | ---: |
| dino_vits8 | no | no |  | 0.5062 ± 0.0087 (2) | 0.853 | 0.6100 ± 0.0141 (2) | - |
| dino_vits8 | no | yes |  | 0.5562 ± 0.0087 (2) | 0.869 | 0.6600 ± 0.0141 (2) | - |
|  |  |  | TokenCut | 0.6100 | - | - | - |
|  |  |  | MOVE | - | - | - | - |
| dino_vits16 | no | no |  | - | 0.784 | - | - |
| dino_vits16 | no | yes |  | - | 0.788 | - | - |

3 of 6 runs finished. Protocol: two-tricks; tokencut: fullres.
Mean over seeds ± standard deviation (number of seeds).
Published: arXiv 2404.03392, tables 1 to 5, measured by the authors' code; shown next to whole published test sets only.
"""
CSV = """\
run,backbone,crop,guided_filter,method,seed,dataset,protocol,row,images,iou,mae,corloc
dino_vits8,dino_vits8,false,false,,0,ecssd,two-tricks,mask,1000,0.500000,0.100000,
dino_vits8,dino_vits8,false,false,,0,voc12,two-tricks,mask,50,,,0.600000
dino_vits8,dino_vits8,false,false,,1,ecssd,two-tricks,mask,1000,0.512346,0.110000,
dino_vits8,dino_vits8,false,false,,1,voc12,two-tricks,mask,50,,,0.620000
dino_vits8,dino_vits8,false,true,,0,ecssd,two-tricks,mask + guided filter,1000,0.550000,0.050000,
dino_vits8,dino_vits8,false,true,,0,voc12,two-tricks,mask + guided filter,50,,,0.650000
dino_vits8,dino_vits8,false,true,,1,ecssd,two-tricks,mask + guided filter,1000,0.562346,0.055000,
dino_vits8,dino_vits8,false,true,,1,voc12,two-tricks,mask + guided filter,50,,,0.670000
tokencut,,,,TokenCut,,ecssd,fullres,mask,1000,0.610000,0.090000,
"""


def write_result(run, data, protocol, images, rows):
    folder = Path("runs/mine") / run
    (folder / "test").mkdir(parents=True, exist_ok=True)
    (folder / "finished").touch()
    content = {"dataset": data, "protocol": {"name": protocol}, "images": images, "rows": rows}
    name = f"{len(list((folder / 'test').iterdir()))}.json"
    (folder / "test" / name).write_text(json.dumps({**content, "metrics": {}}))


def scores(iou, mae):
    return {"mask": {"iou": iou, "mae": mae}, "mask + guided filter": {"iou": iou + 0.05, "mae": mae / 2}}


def test_results_written_by_hand_give_the_table_that_was_made_without_pandas(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text(BY_HAND)
    for run, iou, mae, corloc in [("dino_vits8-s0", 0.5, 0.1, 0.6), ("dino_vits8-s1", 0.512345678, 0.11, 0.62)]:
        write_result(run, "ecssd", "two-tricks", 1000, scores(iou, mae))
        boxes = {"mask": {"corloc": corloc}, "mask + guided filter": {"corloc": corloc + 0.05, "iou": None}}
        write_result(run, "voc12", "two-tricks", 50, boxes)
    write_result("tokencut-ecssd", "ecssd", "fullres", 1000, scores(0.61, 0.09))
    assert collect(Experiment("mine", expand(read_grid(Path("grid.yaml")))))[:2] == ["table.md", "results.csv"]
    assert Path("runs/mine/table.md").read_text(encoding="utf-8") == TABLE
    assert Path("runs/mine/results.csv").read_bytes().decode() == CSV.replace("\n", "\r\n")


def test_committed_table_is_what_its_committed_results_give(tmp_path, monkeypatch):
    committed = Path(__file__).parents[2] / "experiments/mini_synthetic"
    monkeypatch.chdir(tmp_path)
    plan = expand(read_grid(find_grid("mini_synthetic")))
    with (committed / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    own = ("run", "method", "crop", "refiner", "seed", "dataset", "protocol", "row", "images")
    for run in plan.runs.values():
        seed = "" if run.seed is None else str(run.seed)
        mine = [line for line in lines if (line["run"], line["seed"]) == (run.base, seed)]
        rows = {line["row"]: {key: float(value) for key, value in line.items() if key not in own} for line in mine}
        write_result(run.name, "synthetic[232:296]", "fullres", 64, rows)
    collect(Experiment("mine", plan))
    assert Path("runs/mine/table.md").read_text() == (committed / "table.md").read_text()
    assert Path("runs/mine/results.csv").read_bytes() == (committed / "results.csv").read_bytes()
