import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segtricks.data.images import read_mask
from segtricks.data.label_store import Store
from segtricks.errors import UserError
from segtricks.pseudo_labels import writer as writer_module
from segtricks.pseudo_labels.instances import InstanceWriter
from segtricks.pseudo_labels.mask_files import count_one_sided, overlay, warn_one_sided
from segtricks.pseudo_labels.writer import MaskWriter


def test_files_keep_names_folders_and_size(tmp_path):
    photos = tmp_path / "photos"
    paths = [photos / "a.jpg", photos / "sub" / "b.PNG"]
    writer = MaskWriter(photos, tmp_path / "out", paths)
    mask = torch.tensor([[[0.0, 0.5, 0.502, 1.0]]]).expand(1, 3, 4)
    for path in paths:
        writer.write(mask, torch.zeros(3, 3, 4, dtype=torch.uint8), path)
    soft = np.asarray(Image.open(tmp_path / "out/soft/sub/b.png"))
    assert soft.shape == (3, 4)
    assert soft[0].tolist() == [0, 128, 128, 255]
    assert np.asarray(Image.open(tmp_path / "out/binary/a.png"))[0].tolist() == [0, 0, 255, 255]
    assert Image.open(tmp_path / "out/overlay/a.jpg").size == (4, 3)


def test_photographs_that_differ_in_their_suffix_alone_get_two_masks(tmp_path):
    paths = [Path("photos/a.jpg"), Path("photos/a.png"), Path("photos/b.png")]
    writer = MaskWriter(Path("photos"), tmp_path, paths)
    for path in paths:
        writer.write(torch.zeros(1, 2, 2), torch.zeros(3, 2, 2, dtype=torch.uint8), path)
    assert sorted(path.name for path in (tmp_path / "soft").iterdir()) == ["a.jpg.png", "a.png.png", "b.png"]


def test_index_lists_what_was_written_and_what_was_skipped(tmp_path):
    writer = MaskWriter(Path("photos"), tmp_path, [Path("photos/a.jpg")])
    writer.on_predict_batch_end(
        None,
        None,
        [torch.zeros(1, 2, 2)],
        {
            "photo": [torch.zeros(3, 2, 2, dtype=torch.uint8)],
            "path": ["photos/a.jpg"],
            "skipped": [("photos/x.jpg", "truncated")],
        },
        0,
    )
    assert writer.index(already_there=3) == {
        "format": "segtricks pseudo-labels 1",
        "images": 1,
        "masks": 3,
        "written": ["a.jpg"],
        "already_there": 3,
        "empty": ["a.jpg"],
        "full": [],
        "skipped": [{"path": "photos/x.jpg", "reason": "truncated"}],
    }


def test_photographs_of_an_earlier_call_are_listed_too_where_nothing_or_everything_is_foreground(tmp_path):
    paths = [Path(f"photos/{name}.jpg") for name in ("part", "none", "all", "damaged")]
    before, now = (MaskWriter(Path("photos"), tmp_path, paths) for _ in range(2))
    for path, values in zip(paths, ([0, 1], [0, 0], [1, 1], [0, 0]), strict=True):
        before.write(torch.tensor([[values]]), torch.zeros(3, 1, 2, dtype=torch.uint8), path)
    (tmp_path / "entries/damaged.json").write_text("{")
    now.recall(paths)
    assert now.index(0)["empty"] == ["none.jpg"] and now.index(0)["full"] == ["all.jpg"]


def _photos(count):
    return [Path(f"photos/{i}.jpg") for i in range(count)]


def test_threads_write_the_same_files_and_the_index_is_in_the_order_of_the_photographs(tmp_path):
    paths, generator = _photos(9), torch.Generator().manual_seed(0)
    given = {
        path: (torch.rand(1, 40, 30, generator=generator), torch.zeros(3, 40, 30, dtype=torch.uint8)) for path in paths
    }
    at_once, later = (MaskWriter(Path("photos"), tmp_path / name, paths) for name in ("a", "b"))
    for path in paths:
        at_once.write(*given[path], path)
    with later.at_work(len(paths), "test", bar=False):
        later.skip("photos/x.jpg", "empty")
        for path in reversed(paths):
            later.write(*given[path], path)
    assert later.index(0)["written"] == at_once.index(0)["written"] == [f"{i}.jpg" for i in range(9)]
    assert later.seconds > 0 and later.pace().endswith("images/s")
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*g")]
    assert len(files) == 27
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


def test_a_photograph_counts_only_with_all_its_files_and_the_first_error_ends_the_work(tmp_path):
    paths = _photos(50)
    writer = MaskWriter(Path("photos"), tmp_path, paths)
    writer.file(paths[3], "overlay").mkdir(parents=True)  # so that nothing can be renamed to it
    picture = torch.zeros(1, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8)
    with pytest.raises(UserError, match=r"photos/3\.jpg could not be written"), writer.at_work(50, "test", bar=False):
        for path in paths:
            writer.write(*picture, path)
    assert writer.index(0)["written"] == ["0.jpg", "1.jpg", "2.jpg"]
    assert not writer.exists(paths[3]) and not writer.exists(paths[-1])
    assert [path for path in tmp_path.rglob(".*")] == [], "no temporary file stays"
    writer.file(paths[3], "overlay").rmdir()
    again = MaskWriter(Path("photos"), tmp_path, paths)
    with again.at_work(50, "test", bar=False):
        for path in paths:
            if not again.exists(path):
                again.write(*picture, path)
    assert all(again.exists(path) for path in paths)


def test_discarded_photographs_have_no_files_and_others_keep_theirs(tmp_path):
    paths = _photos(2)
    writer = MaskWriter(Path("photos"), tmp_path, paths)
    for path in paths:
        writer.write(torch.zeros(1, 2, 2), torch.zeros(3, 2, 2, dtype=torch.uint8), path)
    InstanceWriter(Path("photos"), tmp_path, paths).discard([paths[0], Path("photos/never.jpg")])
    assert sorted(path.name for path in tmp_path.rglob("*.*g")) == ["1.jpg", "1.png", "1.png"]


def test_overlay_is_its_definition_and_sound_for_a_mask_that_is_not_finite(tmp_path):
    rng = np.random.default_rng(0)
    photo, soft = rng.integers(0, 256, (5, 256, 3), dtype=np.uint8), np.tile(np.arange(256, dtype=np.uint8), (5, 1))
    m = soft[..., None] / 255
    expected = photo * (0.55 + 0.45 * m) * (1 - 0.5 * m) + np.array([255, 63.75, 25.5]) * 0.5 * m
    picture = np.asarray(overlay(Image.fromarray(photo), Image.fromarray(soft)))
    assert np.abs(picture - expected).max() <= 2
    writer = MaskWriter(Path("photos"), tmp_path, _photos(1))
    writer.write(torch.full((1, 4, 4), torch.nan), torch.zeros(3, 4, 4, dtype=torch.uint8), Path("photos/0.jpg"))
    assert not np.asarray(Image.open(tmp_path / "soft/0.png")).any()


def test_pictures_have_the_rights_of_any_new_file(tmp_path):
    writer = MaskWriter(Path("photos"), tmp_path, _photos(1))
    writer.write(torch.zeros(1, 4, 4), torch.zeros(3, 4, 4, dtype=torch.uint8), Path("photos/0.jpg"))
    (tmp_path / "plain").touch()
    assert os.stat(writer.file(Path("photos/0.jpg"), "soft")).st_mode == os.stat(tmp_path / "plain").st_mode


def test_no_more_than_twice_as_many_photographs_as_threads_are_under_way(tmp_path, monkeypatch):
    paths, gate, begun = _photos(5), threading.Event(), []
    monkeypatch.setattr(writer_module, "THREADS", 2)
    writer = MaskWriter(Path("photos"), tmp_path, paths)
    monkeypatch.setattr(writer, "_write", lambda *job: (begun.append(job), gate.wait(10)))
    picture = torch.zeros(1, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8)
    with writer.at_work(5, "test", bar=False):
        fourth = threading.Thread(target=lambda: [writer.write(*picture, path) for path in paths])
        fourth.start()
        fourth.join(0.2)
        assert fourth.is_alive(), "the fourth is queued, and the caller waits until one has ended"
        assert len(begun) == 2
        gate.set()
        fourth.join(10)
    assert writer.index(0)["written"] == [path.name for path in paths]


def test_an_error_of_the_caller_is_not_hidden_by_that_of_a_photograph(tmp_path):
    writer = MaskWriter(Path("photos"), tmp_path, _photos(1))
    writer.file(_photos(1)[0], "overlay").mkdir(parents=True)
    with pytest.raises(KeyError, match="of the caller"), writer.at_work(1, "test", bar=False):
        writer.write(torch.zeros(1, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8), _photos(1)[0])
        raise KeyError("of the caller")


def test_counts_are_always_said():
    assert count_one_sided(1200, 3) == "1,200 empty masks, 3 of everything"


def test_the_reason_is_said_past_a_twentieth_of_the_masks(capsys):
    warn_one_sided(3, 2, 100, "Because.")
    assert not capsys.readouterr().out
    warn_one_sided(4, 2, 100, "Because.")
    assert capsys.readouterr().out == "segtricks: warning: 6% of the masks are empty or full. Because.\n"
    warn_one_sided(0, 0, 0, "Because.")
    assert not capsys.readouterr().out


def test_the_folder_is_a_store_of_pseudo_labels_and_an_entry_that_is_missing_is_made_again(tmp_path):
    paths = [Path("photos/a.jpg"), Path("photos/sub/a.png"), Path("photos/sub/a.jpg")]
    writer = MaskWriter(Path("photos"), tmp_path, paths)
    masks = torch.rand(3, 1, 6, 4).round()
    masks[2] = 0
    for mask, path in zip(masks, paths, strict=True):
        writer.write(mask, torch.zeros(3, 6, 4, dtype=torch.uint8), path)
    store = Store.open(tmp_path)
    assert store.names == ["a", "sub/a.jpg", "sub/a.png"]
    assert store.match(paths, Path("photos")) == dict(zip(paths, ("a", "sub/a.png", "sub/a.jpg"), strict=True))
    for mask, path in zip(masks[:2], paths, strict=False):
        entry = store.entry(store.match(paths)[path])
        assert entry.image == path.relative_to("photos").as_posix()
        assert (entry.arrays() == mask.bool().numpy()).all()
        assert (read_mask(entry.soft) == mask * 255).all()
    assert store.entry("sub/a.jpg").masks == ()
    (tmp_path / "entries/a.json").unlink()
    assert [writer.exists(path) for path in paths] == [False, True, True]
    writer.discard(paths)
    assert not list(tmp_path.rglob("*.json"))
