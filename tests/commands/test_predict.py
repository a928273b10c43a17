import json

import numpy as np
import pytest
from PIL import Image

from segtricks.cli import main


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photographs of every kind: name, then the size that the mask must have."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "sub").mkdir()
    rng = np.random.default_rng(0)
    color = rng.integers(0, 255, (30, 46, 3), dtype=np.uint8)
    Image.fromarray(color).save(folder / "plain.JPG")
    Image.fromarray(color).save(folder / "sub" / "plain.png")
    Image.fromarray(color[..., 0]).save(folder / "gray.png")
    Image.fromarray(color).convert("P").save(folder / "palette.png")
    Image.fromarray(color).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.dstack([color, color[..., :1]])).save(folder / "alpha.png")
    Image.fromarray(color[..., 0].astype(np.uint16) * 257).save(folder / "sixteen.png")
    rotated = Image.fromarray(color)
    exif = rotated.getexif()
    exif[0x0112] = 6
    rotated.save(folder / "rotated.jpg", exif=exif)
    Image.fromarray(color[:1, :1]).save(folder / "pixel.png")
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no picture")
    (folder / "cut.jpg").write_bytes((folder / "plain.JPG").read_bytes()[:300])
    return folder


def test_every_photograph_gets_masks_of_its_own_size_and_broken_ones_are_listed(trained, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(trained)
    assert main(["predict", "--run", "runs/small", "--images", str(photos), "--output", str(tmp_path)]) == 0
    index = json.loads((tmp_path / "index.json").read_text())
    assert {entry["path"].rsplit("/", 1)[-1] for entry in index["skipped"]} == {"empty.jpg", "text.jpg", "cut.jpg"}
    assert index["images"] == 9
    sizes = {"rotated": (30, 46), "pixel": (1, 1)}
    for name in ("plain", "sub/plain", "gray", "palette", "cmyk", "alpha", "sixteen", "rotated", "pixel"):
        soft, binary = (Image.open(tmp_path / kind / f"{name}.png") for kind in ("soft", "binary"))
        assert soft.size == binary.size == sizes.get(name, (46, 30)), name
        assert soft.mode == binary.mode == "L"
        assert set(np.unique(np.asarray(binary))) <= {0, 255}
        assert Image.open(tmp_path / "overlay" / f"{name}.jpg").size == soft.size


def test_no_mask_covers_more_than_half_of_its_photograph_before_filtering(trained, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(trained)
    words = ["--images", str(photos), "--output", str(tmp_path), "--model.guided_filter", "false"]
    assert main(["predict", "--run", "runs/small", *words]) == 0
    for path in (tmp_path / "soft").rglob("*.png"):
        assert np.asarray(Image.open(path)).mean() <= 128


def test_filter_at_full_resolution_follows_the_photograph_more_closely(trained, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(trained)
    masks = {}
    for place in ("model", "full"):
        words = ["--images", str(photos / "sub"), "--output", str(tmp_path / place), "--model.refine_at", place]
        assert main(["predict", "--run", "runs/small", *words]) == 0
        masks[place] = np.asarray(Image.open(tmp_path / place / "soft/plain.png")).astype(float)
    assert np.abs(masks["model"] - masks["full"]).max() > 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--images", "nowhere", "--output", "o"], "nowhere"),
        (["--images", ".", "--output", "."], "pass another one"),
        (["--images", ".", "--output", "runs/masks"], "lies among the photographs"),
        (["--images", "."], "Usage: segtricks predict"),
    ],
)
def test_mistakes_are_named(trained, monkeypatch, capsys, words, said):
    monkeypatch.chdir(trained)
    assert main(["predict", "--run", "runs/small", *words]) == 2
    assert said in capsys.readouterr().err
