"""Tar files made by the standard library, in WebDataset's layout, against the same files in folders."""

import io
import tarfile
from pathlib import Path

import pytest
import torch

from segtricks.cli import main
from segtricks.data import UnreadableImage, open_dataset
from segtricks.data.datasets.folder import ImageFolder
from segtricks.data.datasets.shards import TarShards
from segtricks.errors import UserError
from segtricks.training.metrics_file import MetricsFile


def pack(archive: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive, mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive


@pytest.fixture
def both(tmp_path, write):
    """Ten photographs and masks in folders, and the pattern of two shards of the same files."""
    for i in range(10):
        write(tmp_path / f"photos/{i:02}.jpg", size=(40, 32), seed=i)
        write(tmp_path / f"masks/{i:02}.png", mask=True, size=(40, 32))
    for number, part in enumerate((range(6), range(6, 10))):
        members = {}
        for i in part:
            members[f"{i:02}.jpg"] = (tmp_path / f"photos/{i:02}.jpg").read_bytes()
            members[f"{i:02}.json"] = b"{}"
            members[f"{i:02}.png"] = (tmp_path / f"masks/{i:02}.png").read_bytes()
        pack(tmp_path / f"shards/{number:04}.tar", members)
    return tmp_path


def test_samples_are_those_of_the_folders(both):
    shards, folder = TarShards(both / "shards/*.tar", masks=True), ImageFolder(both / "photos", both / "masks")
    assert len(shards) == len(folder) == 10
    for mine, theirs in zip(shards, folder, strict=True):
        assert torch.equal(mine["image"], theirs["image"])
        assert torch.equal(mine["target"], theirs["target"])
    assert str(shards.images[7]) == f"{both}/shards/0001.tar/07.jpg"


def test_parts_and_names_work_as_for_folders(both):
    assert [path.name for path in open_dataset(f"{both}/shards/*.tar[5:7]", require_masks=False).images] == [
        "05.jpg",
        "06.jpg",
    ]
    scored = open_dataset(f"{both}/shards/0001.tar")
    assert scored.masks is not None and len(scored) == 4


def test_training_on_shards_equals_training_on_the_folder(both, monkeypatch):
    monkeypatch.chdir(both)
    words = ["fit", "--config", "synthetic", "--data.size", "32", "--data.batch_size", "4", "--model.hidden_dim", "8"]
    words += ["--data.held_out", "2", "--test", "none", "--trainer.max_epochs", "2", "--panels", "0"]
    words += ["--trainer.enable_progress_bar", "false", "--trainer.log_every_n_steps", "1"]
    words += ["--data.num_workers", "2"]
    for name, train in (("folder", "photos"), ("shards", "shards/*.tar")):
        assert main([*words, "--name", name, "--data.train", train]) == 0
    folder, shards = (_numbers(Path("runs") / name) for name in ("folder", "shards"))
    assert folder == shards
    assert len(folder) == 4


def _numbers(run):
    """Rows of ``metrics.csv`` without what tells how fast the machine was."""
    rows = MetricsFile(run).rows()
    return [{key: value for key, value in row.items() if not key.startswith("health/")} for row in rows]


def test_photographs_of_the_same_suffix_as_masks_and_names_with_dots(tmp_path, both):
    photo, mask = ((both / name).read_bytes() for name in ("photos/00.jpg", "masks/00.png"))
    png = io.BytesIO()
    from PIL import Image

    Image.open(io.BytesIO(photo)).save(png, "png")
    members = {"sub/a.1.png": png.getvalue(), "sub/a.1.mask.png": mask, "sub/a.2.JPG": photo, "sub/a.2.png": mask}
    shards = TarShards(pack(tmp_path / "x.tar", members), masks=True)
    assert [path.name for path in shards.images] == ["a.1.png", "a.2.JPG"]
    assert [path.name for path in shards.masks or []] == ["a.1.mask.png", "a.2.png"]


def test_a_broken_member_is_named_and_a_cut_archive_too(both):
    archive = pack(both / "x.tar", {"good.jpg": (both / "photos/00.jpg").read_bytes(), "bad.jpg": b"no picture"})
    with pytest.raises(UnreadableImage, match=r"x\.tar/bad\.jpg"):
        TarShards(archive).read_image(0)
    shards = TarShards(both / "shards/0000.tar")
    with (both / "shards/0000.tar").open("r+b") as file:
        file.truncate(700)
    with pytest.raises(UnreadableImage, match=r"0000\.tar/00\.jpg"):
        shards.read_image(0)


def test_mistakes_are_named(tmp_path, both):
    with pytest.raises(UserError, match="No tar file"):
        TarShards(tmp_path / "none/*.tar")
    with pytest.raises(UserError, match=r"z\.tar is not an uncompressed tar"):
        TarShards(pack(tmp_path / "z.tar", {"a.jpg": b""}, "w:gz"))
    with pytest.raises(UserError, match="No images in"):
        TarShards(pack(tmp_path / "t.tar", {"a.txt": b""}))
    with pytest.raises(UserError, match="images have no mask"):
        TarShards(pack(tmp_path / "m.tar", {"a.jpg": b"", "b.jpg": b"", "b.png": b""}), masks=True)
