import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import WandbLogger
from PIL import Image

from segtricks.metrics import SaliencyScores, get_protocol, image_scores
from segtricks.reports.dashboard import TestDashboard, image_table, is_chosen
from segtricks.reports.media import section
from segtricks.scoring.evaluation import Evaluation, Score

TestDashboard.__test__ = False
ROWS = ("mask", "mask + guided filter")


class Logged:
    """What a W&B run is told."""

    def __init__(self):
        self.history, self.summary = {}, {}

    def log(self, values):
        self.history |= values


class Board(WandbLogger):
    def __init__(self):
        self.run = Logged()

    @property
    def experiment(self):
        return self.run


def run_test(folder, names, coverages, limit=200, trained=True, protocol="fullres"):
    """Let the callback see images whose mask covers so many of 100 columns of a target of 50, and the inverse."""
    board = Board()
    data = SimpleNamespace(test_names=names, counts={name: len(coverages) for name in names})
    trainer = SimpleNamespace(
        is_global_zero=True, world_size=1, global_step=7, datamodule=data, loggers=[board], ckpt_path="best.ckpt"
    )
    trainer.ckpt_path = "best.ckpt" if trained else None
    choices = get_protocol(protocol)
    module = SimpleNamespace(protocol=choices, needs_checkpoint=True, evaluations=[])
    callback = TestDashboard(folder, limit)
    target = torch.zeros(1, 40, 100, dtype=torch.uint8)
    target[..., :50] = 255
    for place, name in enumerate(names):
        sums = {row: SaliencyScores(choices) for row in ROWS}
        per_image = {row: {} for row in ROWS}
        for i, covered in enumerate(coverages):
            mask = torch.zeros(1, 40, 100)
            mask[..., :covered] = 1
            outputs = {"mask": [mask], "mask + guided filter": [1 - mask]}
            for row, masks in outputs.items():
                scores = image_scores(masks[0][None], target[None], choices)
                sums[row].add(scores)
                per_image[row][f"{name}/images/{i}.jpg"] = scores.brief()
            photo = torch.full((3, 40, 100), 90).byte()
            batch = {"path": [f"{name}/images/{i}.jpg"], "photo": [photo], "mask": [target]}
            callback.on_test_batch_end(trainer, module, outputs, batch, i, place)
        for row in ROWS:
            metrics = {key: float(value) for key, value in sums[row].compute().items()}
            entry = Score(name, row, len(coverages), metrics, 0, size_bins=sums[row].size_bins())
            entry.per_image = per_image[row]
            module.evaluations.append(Evaluation(name, choices, {row: entry}))
    kept = sum(map(len, callback._thumbnails.values()))
    callback.on_test_end(trainer, module)
    return board.run, kept


def rows_of(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.data]


def test_table_of_images_holds_names_sizes_and_every_rows_iou(tmp_path):
    logged, _ = run_test(tmp_path, ["ecssd[:9]"], [50, 25, 100])
    rows = rows_of(logged.history["test/ecssd_0_9/images"])
    assert [row["image"] for row in rows] == ["0.jpg", "1.jpg", "2.jpg"]
    assert [row["size"] for row in rows] == [0.5] * 3
    assert [row["iou mask"] for row in rows] == [1, 0.5, 0.5]
    # The inverse of 25 of 100 columns meets 25 of the target's 50, of 100 in the union.
    assert [row["iou mask + guided filter"] for row in rows] == [0, 0.25, 0]
    shown = {name: np.asarray(rows[1][name].image.convert("L")) for name in ("photograph", *ROWS, "target")}
    assert {array.shape for array in shown.values()} == {(40, 100)}
    assert shown["mask"][20, 10] > 240 > 15 > shown["mask"][20, 40]
    assert shown["target"][20, 40] > 240 > 15 > shown["target"][20, 60]


def test_scores_are_summary_values_and_one_table(tmp_path):
    logged, _ = run_test(tmp_path, ["ecssd"], [50, 25])
    assert logged.summary["test/ecssd/mask/iou"] == pytest.approx(0.75)
    assert logged.summary["test/ecssd/mask_guided_filter/iou"] == pytest.approx(0.125)
    rows = rows_of(logged.history["test/scores"])
    assert [(row["test set"], row["mask"], row["images"]) for row in rows] == [("ecssd", name, 2) for name in ROWS]
    assert rows[0]["iou"] == pytest.approx(0.75)
    assert logged.history["trainer/global_step"] == 7


def test_sets_of_one_name_have_keys_of_their_own_that_show_no_folders(tmp_path):
    names = [f"{tmp_path}/a/photos", f"{tmp_path}/b/photos"]
    logged, _ = run_test(tmp_path, names, [50])
    keys = [*logged.history, *logged.summary]
    assert {"test/a_photos/images", "test/b_photos/images", "test/a_photos/mask/iou"} <= set(keys)
    assert not [key for key in keys if tmp_path.name in key]
    assert tmp_path.name not in json.dumps([row["image"] for row in rows_of(logged.history["test/a_photos/images"])])


def test_a_model_that_is_still_to_be_trained_gives_scores_alone(tmp_path):
    logged, kept = run_test(tmp_path, ["ecssd"], [50], trained=False)
    assert kept == 0
    assert set(logged.history) == {"before/scores", "trainer/global_step"}
    assert logged.summary["before/ecssd/mask/iou"] == 1
    assert section(SimpleNamespace(ckpt_path=None), SimpleNamespace(needs_checkpoint=False)) == "test"


def test_a_large_set_is_shown_by_evenly_chosen_images(tmp_path):
    logged, kept = run_test(tmp_path, ["ecssd"], [i % 100 for i in range(60)], limit=6)
    assert kept == 6
    names = [int(row["image"][:-4]) for row in rows_of(logged.history["test/ecssd/images"])]
    assert names == [0, 10, 20, 30, 40, 50]


@pytest.mark.parametrize(("total", "limit"), [(5019, 200), (201, 200), (200, 200), (3, 200), (1000, 7)])
def test_choice_is_bounded_and_even(total, limit):
    chosen = [place for place in range(total) if is_chosen(place, total, limit)]
    assert len(chosen) == min(total, limit)
    gaps = set(np.diff(chosen))
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_figure_of_sizes_is_written_beside_the_results_of_its_protocol(tmp_path):
    logged, _ = run_test(tmp_path, ["ecssd"], [50, 25])
    run_test(tmp_path, ["ecssd"], [50, 25], protocol="sod")
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"test-ecssd-iou-by-size.png", "test-ecssd-sod-iou-by-size.png"}
    assert (
        logged.history["test/ecssd/iou_by_size"].image.size
        == Image.open(tmp_path / "figures/test-ecssd-iou-by-size.png").size
    )


def test_table_of_a_set_with_boxes_alone_holds_hits():
    entry = Score("voc07", "mask", 1, hits={"a/1.jpg": True})
    (row,) = image_table({"mask": entry}, {"a/1.jpg": {"photograph": b"x"}})
    assert row == {"image": "1.jpg", "corloc mask": 1.0, "photograph": b"x"}


def test_without_wandb_nothing_is_drawn(tmp_path):
    callback = TestDashboard(tmp_path)
    trainer = SimpleNamespace(is_global_zero=True, loggers=[], ckpt_path="x")
    callback.on_test_batch_end(trainer, SimpleNamespace(needs_checkpoint=True), {}, {"path": ["a"]}, 0)
    assert callback._thumbnails == {}
