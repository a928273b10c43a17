from types import SimpleNamespace

import pytest
import torch

from segtricks.errors import UserError
from segtricks.reports import callbacks
from segtricks.reports.callbacks import BadFiles


def trainer(images):
    return SimpleNamespace(datamodule=SimpleNamespace(counts={"train": images}))


def batch(*names):
    return {"skipped": [(name, "truncated") for name in names]}


def test_one_bad_file_never_stops_a_run_however_small():
    BadFiles(0.01).on_train_batch_end(trainer(3), None, None, batch("a.jpg"), 0)


def test_files_are_counted_once_however_often_they_are_read():
    callback = BadFiles(0.01)
    for step in range(20):
        callback.on_train_batch_end(trainer(300), None, None, batch("a.jpg", "b.jpg"), step)


def test_past_the_share_the_run_stops_and_names_file_and_option():
    callback = BadFiles(0.01)
    callback.on_train_batch_end(trainer(200), None, None, batch("a.jpg", "b.jpg"), 0)
    with pytest.raises(UserError, match=r"3 of 200 .* more than the 2 allowed; the last: c\.jpg") as error:
        callback.on_train_batch_end(trainer(200), None, None, batch("c.jpg"), 1)
    assert "--max_bad_share" in str(error.value)


@pytest.fixture
def written(monkeypatch):
    """The panels of each figure that is written, by file name."""
    figures, last = {}, []
    monkeypatch.setattr(callbacks, "panel_figure", lambda panels: last.append(panels))
    monkeypatch.setattr(callbacks, "save_figure", lambda figure, path: figures.update({path.name: last[-1]}))
    monkeypatch.setattr(callbacks, "log_panels", lambda *of_figure: None)
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


def test_masks_of_before_training_stand_beside_those_of_after(written, tmp_path):
    panels = callbacks.TestPanels(tmp_path, 8)
    pass_over(panels, 0.1, None)
    assert [list(shown(panel)) for panel in written["test-set.png"]] == [["mask", "mask + guided filter", "target"]] * 2
    pass_over(panels, 0.8, "best.ckpt")
    first, second = written["test-set.png"]
    assert shown(first) == {"before": 0.1, "after": 0.8, "after + guided filter": 0.8, "target": 1}
    assert shown(second)["before"] == 0.11, "of two images of one name, each has its own"


def test_without_a_pass_before_training_the_columns_are_the_rows_of_the_table(written, tmp_path):
    pass_over(callbacks.TestPanels(tmp_path, 1), 0.8, "best.ckpt", target=False)
    assert [shown(panel) for panel in written["test-set.png"]] == [{"mask": 0.8, "mask + guided filter": 0.8}]


def test_a_second_pass_after_training_has_no_stale_masks(written, tmp_path):
    panels = callbacks.TestPanels(tmp_path, 8)
    for value, checkpoint in ((0.1, None), (0.8, "best.ckpt"), (0.9, "best.ckpt")):
        pass_over(panels, value, checkpoint)
    assert list(shown(written["test-set.png"][0])) == ["mask", "mask + guided filter", "target"]


def test_no_panels_no_figure(written, tmp_path):
    pass_over(callbacks.TestPanels(tmp_path, 0), 0.8, "best.ckpt")
    assert written == {}
