from types import SimpleNamespace

import pytest

from segtricks.errors import UserError
from segtricks.training.bad_files import BadFiles


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
    assert "allow more with --max_bad_share 0.02 or above, and --resume." in str(error.value)
    with pytest.raises(UserError, match=r"--max_bad_share 0\.43 or above"):
        BadFiles(0.4).on_train_batch_end(trainer(7), None, None, batch("a.jpg", "b.jpg", "c.jpg"), 0)
    BadFiles(0.43).on_train_batch_end(trainer(7), None, None, batch("a.jpg", "b.jpg", "c.jpg"), 0)
