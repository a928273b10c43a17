import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import WandbLogger
from PIL import Image

from segtricks.metrics import SaliencyScores, get_protocol, image_scores
from segtricks.reports import test_images
from segtricks.reports.test_images import (
    TestDashboard,
    TestExamples,
    TestPanels,
    image_table,
    is_chosen,
    section,
    small_jpeg,
)
from segtricks.scoring.evaluation import Evaluation, Score

for callback in (TestDashboard, TestExamples, TestPanels):
    callback.__test__ = False
ROWS = ("mask", "mask + guided filter")


@pytest.fixture
def written(monkeypatch):
    """The panels of each figure that is written, by file name."""
    figures, last = {}, []
    monkeypatch.setattr(test_images, "panel_figure", lambda panels: last.append(panels))
    monkeypatch.setattr(test_images, "save_figure", lambda figure, path: figures.update({path.name: last[-1]}))
    monkeypatch.setattr(test_images, "log_panels", lambda *of_figure: None)
    return figures


def pass_over(panels, value, checkpoint, paths=("a/x.jpg", "b/x.jpg"), target=True):
    """Show a pass over one test set to the callback: every mask is ``value``, the later ones a little more."""
    owner = SimpleNamespace(
        datamodule=SimpleNamespace(test_names=["set"]), ckpt_path=checkpoint, is_global_zero=True, loggers=[]
    )
    module = SimpleNamespace(needs_checkpoint=True)
    masks = [torch.full((1, 2, 2), value + i / 100) for i in range(len(paths))]
    batch = {"path": list(paths), "photo": [torch.zeros(3, 2, 2, dtype=torch.uint8)] * len(paths)}
    if target:
        batch["mask"] = [torch.full((1, 2, 2), 255, dtype=torch.uint8)] * len(paths)
    panels.on_test_batch_end(owner, module, {"mask": masks, "mask + guided filter": masks}, batch, 0)
    panels.on_test_end(owner, module)


def shown(panel):
    return {column: round(float(mask.mean()), 2) for column, mask in panel.masks.items()}


def test_masks_of_before_training_stand_next_to_those_of_after(written, tmp_path):
    panels = TestPanels(tmp_path, 8)
    pass_over(panels, 0.1, None)
    assert [list(shown(panel)) for panel in written["test-set.png"]] == [["mask", "mask + guided filter", "target"]] * 2
    pass_over(panels, 0.8, "best.ckpt")
    first, second = written["test-set.png"]
    assert shown(first) == {"before": 0.1, "after": 0.8, "after + guided filter": 0.8, "target": 1}
    assert shown(second)["before"] == 0.11, "of two images of one name, each has its own"


def test_without_a_pass_before_training_the_columns_are_the_rows_of_the_table(written, tmp_path):
    pass_over(TestPanels(tmp_path, 1), 0.8, "best.ckpt", target=False)
    assert [shown(panel) for panel in written["test-set.png"]] == [{"mask": 0.8, "mask + guided filter": 0.8}]


def test_a_second_pass_after_training_has_no_stale_masks(written, tmp_path):
    panels = TestPanels(tmp_path, 8)
    for value, checkpoint in ((0.1, None), (0.8, "best.ckpt"), (0.9, "best.ckpt")):
        pass_over(panels, value, checkpoint)
    assert list(shown(written["test-set.png"][0])) == ["mask", "mask + guided filter", "target"]


def test_no_panels_no_figure(written, tmp_path):
    pass_over(TestPanels(tmp_path, 0), 0.8, "best.ckpt")
    assert written == {}


def show_examples(folder, coverages, count=1, refine=False, protocol="fullres"):
    """Let the callback see images whose mask covers so many of 100 columns of a full target."""
    callback = TestExamples(folder, count)
    choices = get_protocol(protocol)
    module = SimpleNamespace(protocol=choices, refine_predictions=refine)
    trainer = SimpleNamespace(is_global_zero=True, datamodule=SimpleNamespace(test_names=["ecssd[:9]"]))
    for i, covered in enumerate(coverages):
        mask = torch.zeros(1, 40, 100)
        mask[..., :covered] = 1
        target, photo = torch.full((1, 40, 100), 255).byte(), torch.full((3, 40, 100), 90).byte()
        batch = {"path": [f"images/{i}.jpg"], "photo": [photo], "mask": [target]}
        outputs = {"mask": [mask], "mask + guided filter": [1 - mask]}
        module.batch_scores = {row: [image_scores(m[0][None], target[None], choices)] for row, m in outputs.items()}
        callback.on_test_batch_end(trainer, module, outputs, batch, i)
    callback.on_test_end(trainer, module)


def index(folder, name="ecssd-0-9-examples"):
    return json.loads((folder / "test" / name / "index.json").read_text())["examples"]


def test_best_median_and_worst_are_written_with_their_pictures(tmp_path):
    show_examples(tmp_path, [30, 90, 50, 10, 70])
    found = index(tmp_path)
    assert [(e["group"], e["image"], e["iou"]) for e in found] == [
        ("best", "images/1.jpg", pytest.approx(0.9)),
        ("median", "images/2.jpg", pytest.approx(0.5)),
        ("worst", "images/3.jpg", pytest.approx(0.1)),
    ]
    folder = tmp_path / "test" / "ecssd-0-9-examples"
    assert set(found[0]["pictures"]) == {"photograph", "mask", "mask + guided filter", "target"}
    with Image.open(folder / found[0]["pictures"]["mask"]) as mask:
        assert mask.convert("L").getpixel((70, 20)) > 240
        assert mask.convert("L").getpixel((97, 20)) < 15


def test_choice_is_by_the_mask_that_the_model_predicts(tmp_path):
    show_examples(tmp_path, [30, 90, 50], refine=True)
    assert [e["image"] for e in index(tmp_path)] == ["images/0.jpg", "images/2.jpg", "images/1.jpg"]


def test_memory_is_bounded_and_the_choice_stays_right(tmp_path, monkeypatch):
    monkeypatch.setattr(test_images, "_NEAR_MEDIAN", 6)
    order = torch.randperm(101).tolist()
    show_examples(tmp_path, order, count=2)
    ious = [e["iou"] for e in index(tmp_path)]
    assert ious[:2] == [1, pytest.approx(0.99)]
    assert ious[2:4] == [pytest.approx(0.5, abs=0.1)] * 2
    assert ious[4:] == [pytest.approx(0.01), 0]


def test_another_test_replaces_the_pictures_and_another_protocol_does_not(tmp_path):
    show_examples(tmp_path, [10, 20, 30, 40, 50, 60], count=2)
    show_examples(tmp_path, [10, 20, 30])
    show_examples(tmp_path, [10], protocol="sod")
    assert len(index(tmp_path)) == 3
    names = {entry["pictures"]["mask"] for entry in index(tmp_path)}
    assert {path.name for path in (tmp_path / "test" / "ecssd-0-9-examples").glob("*-mask.jpg")} == names
    assert len(index(tmp_path, "ecssd-0-9-sod-examples")) == 1
    assert not list((tmp_path / "test").glob(".*"))


def test_pictures_are_small():
    with Image.open(io.BytesIO(small_jpeg(torch.rand(3, 900, 1800)))) as image:
        assert image.size == (320, 160)


class Logged:
    """What a W&B run was given."""

    def __init__(self):
        self.history, self.summary = {}, {}

    def log(self, values):
        self.history |= values


class Board(WandbLogger):
    def __init__(self):
        super().__init__(offline=True)
        self.run = Logged()

    @property
    def experiment(self):
        return self.run


def show_scores(folder, names, coverages, limit=200, trained=True, protocol="fullres"):
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
    kept = sum(map(len, callback.kept.values()))
    callback.on_test_end(trainer, module)
    return board.run, kept


def rows_of(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.data]


def test_table_of_images_holds_names_sizes_and_every_rows_iou(tmp_path):
    logged, _ = show_scores(tmp_path, ["ecssd[:9]"], [50, 25, 100])
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
    logged, _ = show_scores(tmp_path, ["ecssd"], [50, 25])
    assert logged.summary["test/ecssd/mask/iou"] == pytest.approx(0.75)
    assert logged.summary["test/ecssd/mask_guided_filter/iou"] == pytest.approx(0.125)
    rows = rows_of(logged.history["test/scores"])
    assert [(row["test set"], row["mask"], row["images"]) for row in rows] == [("ecssd", name, 2) for name in ROWS]
    assert rows[0]["iou"] == pytest.approx(0.75)
    assert logged.history["trainer/global_step"] == 7


def test_sets_of_one_name_have_keys_of_their_own_that_show_no_folders(tmp_path):
    names = [f"{tmp_path}/a/photos", f"{tmp_path}/b/photos"]
    logged, _ = show_scores(tmp_path, names, [50])
    keys = [*logged.history, *logged.summary]
    assert {"test/a_photos/images", "test/b_photos/images", "test/a_photos/mask/iou"} <= set(keys)
    assert not [key for key in keys if tmp_path.name in key]
    assert tmp_path.name not in json.dumps([row["image"] for row in rows_of(logged.history["test/a_photos/images"])])


def test_a_model_that_is_still_to_be_trained_gives_scores_alone(tmp_path):
    logged, kept = show_scores(tmp_path, ["ecssd"], [50], trained=False)
    assert kept == 0
    assert set(logged.history) == {"before/scores", "trainer/global_step"}
    assert logged.summary["before/ecssd/mask/iou"] == 1
    assert section(SimpleNamespace(ckpt_path=None), SimpleNamespace(needs_checkpoint=False)) == "test"


def test_a_large_set_is_shown_by_evenly_chosen_images(tmp_path):
    logged, kept = show_scores(tmp_path, ["ecssd"], [i % 100 for i in range(60)], limit=6)
    assert kept == 6
    names = [int(row["image"][:-4]) for row in rows_of(logged.history["test/ecssd/images"])]
    assert names == [0, 10, 20, 30, 40, 50]


@pytest.mark.parametrize(("total", "limit"), [(5019, 200), (201, 200), (200, 200), (3, 200), (1000, 7)])
def test_choice_is_bounded_and_even(total, limit):
    chosen = [place for place in range(total) if is_chosen(place, total, limit)]
    assert len(chosen) == min(total, limit)
    gaps = set(np.diff(chosen))
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_figure_of_sizes_is_written_for_each_protocol(tmp_path):
    logged, _ = show_scores(tmp_path, ["ecssd"], [50, 25])
    show_scores(tmp_path, ["ecssd"], [50, 25], protocol="sod")
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"test-ecssd-iou-by-size.png", "test-ecssd-sod-iou-by-size.png"}
    assert (
        logged.history["test/ecssd/iou_by_size"][0].image.size
        == Image.open(tmp_path / "figures/test-ecssd-iou-by-size.png").size
    )


def test_table_of_a_set_with_boxes_alone_holds_hits():
    entry = Score("voc07", "mask", 1, hits={"a/1.jpg": True})
    (row,) = image_table({"mask": entry}, {"a/1.jpg": {"photograph": b"x"}})
    assert row == {"image": "1.jpg", "corloc mask": 1.0, "photograph": b"x"}


def test_without_wandb_nothing_is_drawn(tmp_path):
    callback = TestDashboard(tmp_path)
    data = SimpleNamespace(test_names=["ecssd"])
    trainer = SimpleNamespace(is_global_zero=True, datamodule=data, loggers=[], ckpt_path="x")
    batch = {"path": ["a"], "photo": [torch.zeros(3, 2, 2)]}
    callback.on_test_batch_end(trainer, SimpleNamespace(needs_checkpoint=True), {}, batch, 0)
    assert callback.kept == {}
