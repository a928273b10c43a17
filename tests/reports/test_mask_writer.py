from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segtricks.reports.mask_writer import MaskWriter


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
        "images": 1,
        "written": ["a.jpg"],
        "already_there": 3,
        "skipped": [{"path": "photos/x.jpg", "reason": "truncated"}],
    }
