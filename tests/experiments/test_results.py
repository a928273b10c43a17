import csv

import numpy as np
import pytest

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
def test_published_number_stands_only_beside_the_whole_test_set(fake, images, shown):
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
    ("words", "images", "told"),
    [
        (("--subset", "40"), "40", "\nTest sets cut: ecssd to 40 images, photos to 40 images.\n"),
        (("--data.test_limit=1",), "1", "\nTest sets cut: ecssd to 1 image, photos to 1 image.\n"),
        (("--subset", "1000"), "1000", "\nTest sets cut: photos to 1000 images.\n"),  # ECSSD has 1000
        (("--subset", "40"), "39", None),  # sets of 39
        (("--data.test_limit", "null"), "40", None),
        ((), "40", None),
    ],
)
def test_sets_that_were_cut_are_named_below_the_table(fake, words, images, told):
    fake.order("images", images)
    assert fake.run("--axis", "backbone=a", "--seeds", "0", "--data", "ecssd", "photos", *words) == 0
    table = (fake.folder / "runs/mine/table.md").read_text()
    assert told in table if told else "cut" not in table


def test_sets_cut_by_the_grid_in_one_run_are_named(fake):
    fake.write(GRID.replace("config: tokencut}", "config: tokencut, options: {data.test_limit: 4}}"))
    assert fake.run("--axis", "backbone=a", "--seeds", "0", "--data", "ecssd") == 0
    assert "Test sets cut: ecssd to 4 images." in (fake.folder / "runs/mine/table.md").read_text()


def test_missing_row_of_a_result_is_a_failure_that_names_it(fake, capsys):
    fake.write(GRID.replace("run: tokencut, row: mask", "run: tokencut, row: mask + bilateral solver"))
    assert fake.run("--axis", "backbone=a", "--seeds", "0", "--data", "ecssd") == 1
    assert "no result on ecssd with the rows 'mask + bilateral solver'" in capsys.readouterr().err
