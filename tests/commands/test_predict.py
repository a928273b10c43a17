import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

import segtricks
from segtricks.backbones.descriptor import DescriptorBackbone
from segtricks.cli import main
from segtricks.commands.prediction import _EqualSizes
from segtricks.data.label_store import Store
from segtricks.pseudo_labels.writer import MaskWriter


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


@pytest.fixture
def predict(trained, photos, tmp_path, monkeypatch):
    """Predict the photographs into ``tmp_path/out`` with further words; return the index."""
    monkeypatch.chdir(trained)

    def predict(*words, output="out", status=0):
        given = ["--run", "runs/small", "--images", str(photos), "--output", str(tmp_path / output), *words]
        assert main(["predict", *given]) == status
        index = tmp_path / output / "index.json"
        return json.loads(index.read_text()) if index.is_file() else None

    return predict


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*g") if path.is_file()}


def test_a_second_call_makes_what_is_missing_and_overwrite_makes_all(predict, tmp_path):
    index = predict()
    before = contents(tmp_path / "out")
    of_all = {key: index[key] for key in ("masks", "empty", "full")}
    (tmp_path / "out/soft/gray.png").unlink()
    (tmp_path / "out/binary/cmyk.png").write_bytes((tmp_path / "out/binary/gray.png").read_bytes())
    index = predict()
    assert (index["written"], index["already_there"]) == (["gray.png"], 8)
    assert {key: index[key] for key in of_all} == of_all, "those that were there count too"
    assert contents(tmp_path / "out").keys() == before.keys()
    assert predict("--overwrite")["images"] == 9
    assert contents(tmp_path / "out") == before


def test_overwriting_that_is_stopped_leaves_no_mask_of_other_options(predict, trained, photos, tmp_path, monkeypatch):
    other = ["--model.refine_at", "full"]
    predict()
    predict(*other, output="fresh")
    write, calls = MaskWriter.write, iter(range(9))
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(MaskWriter, "write", lambda self, *given: write(self, *given) if next(calls) < 3 else 1 / 0)
        predict(*other, "--overwrite")
    assert len(list((tmp_path / "out/overlay").rglob("*.jpg"))) <= 3
    assert predict(*other)["images"] >= 6
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_cached_features_give_the_same_masks(predict, tmp_path, monkeypatch, capsys):
    predict(output="plain")
    words = ["--cache-features", "--cache_dir", str(tmp_path / "cache")]
    predict(*words, output="cold")
    monkeypatch.setattr(DescriptorBackbone, "extract", lambda self, images: 1 / 0)
    capsys.readouterr()
    predict(*words, output="warm")
    assert contents(tmp_path / "plain") == contents(tmp_path / "cold") == contents(tmp_path / "warm")
    assert re.search(r"9 of 12 photographs written to .*warm in \d+ s, [\d.]+ images/s: soft/", capsys.readouterr().out)


def test_the_output_is_a_store_that_says_what_it_is_of_and_has_a_page_if_asked(predict, photos, tmp_path):
    index = predict("--page", "--limit", "2")
    settings = json.loads((tmp_path / "out/settings.json").read_text())
    assert index["settings"] == settings and index["masks"] == 9 - len(index["empty"])
    assert index["source"]["method"] == "Sempart" and index["source"]["checkpoint"] == "checkpoints/best.ckpt"
    store = Store.open(tmp_path / "out")
    assert len(store) == 9 and store.index == index
    for name in ("plain", "sub/plain", "rotated"):
        binary = np.asarray(Image.open(tmp_path / "out/binary" / f"{name}.png"))
        assert (store.entry(name).arrays().any(0) == (binary > 0)).all()
    assert (tmp_path / "out/page.html").read_text().count("<section") == 2
    predict(output="plain")
    assert not (tmp_path / "plain/page.html").exists()


def test_shards_share_the_photographs_and_the_last_one_joins_the_index(predict, tmp_path):
    whole = predict(output="whole")
    assert predict("--shard", "2/3") is None
    assert predict("--shard", "1/3") is None
    joined = predict("--shard", "3/3")
    assert joined == whole | {key: sorted(whole[key], key=str) for key in ("written", "skipped")}
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_part_made_again_with_other_options_leaves_no_mask_of_before_and_the_next_part_keeps_its_masks(
    predict, tmp_path
):
    other = ["--model.refine_at", "full"]
    predict()
    predict(*other, output="fresh")
    predict(*other, "--overwrite", "--shard", "1/2")
    part = contents(tmp_path / "out")
    fresh = contents(tmp_path / "fresh")
    assert 0 < len(part) < len(fresh) and part.items() <= fresh.items()
    predict(*other, "--overwrite", "--shard", "2/2")
    assert contents(tmp_path / "out") == fresh
    assert predict(*other)["already_there"] == 9


def test_parts_of_another_list_of_photographs_are_not_joined(predict, photos, tmp_path):
    assert predict("--shard", "1/2") is None
    Image.new("RGB", (40, 30)).save(photos / "added.png")
    try:
        assert predict("--shard", "2/2") is None
        assert predict("--shard", "1/2")["already_there"] > 0
    finally:
        (photos / "added.png").unlink()


def test_a_folder_of_another_models_masks_is_not_taken_for_ours(predict, tmp_path, capsys):
    predict()
    predict("--model.refine_at", "full", status=2)
    assert "--overwrite" in capsys.readouterr().err
    (tmp_path / "out/settings.json").unlink()
    predict(status=2)
    assert "made by another command" in capsys.readouterr().err


def test_soft_masks_are_those_of_the_module_in_python(trained, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(trained)
    assert main(["predict", "--run", "runs/small", "--images", str(photos), "--output", str(tmp_path)]) == 0
    module = segtricks.load_run("small")
    path = photos / "sub/plain.png"
    written = np.asarray(Image.open(tmp_path / "soft/sub/plain.png"))
    np.testing.assert_allclose(module.masks(path) * 255, written, atol=0.51)
    (from_list,) = module.masks([Image.open(path)])
    np.testing.assert_array_equal(from_list, module.masks(np.asarray(Image.open(path))))


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
        (["--images", "runs", "--output", "o", "--limit", "0"], "'0' is not a number from 1"),
        (["--images", "runs", "--output", "o", "--shard", "0/2"], "--shard '0/2' is not a part"),
    ],
)
def test_mistakes_are_named(trained, monkeypatch, capsys, words, said):
    monkeypatch.chdir(trained)
    assert main(["predict", "--run", "runs/small", *words]) == 2
    assert said in capsys.readouterr().err


def test_frames_of_a_film_stay_in_order_where_sizes_change():
    sizes = [8, 8, 8, 16, 8, 8]
    loader = [
        {"skipped": [], "image": [torch.zeros(3, side, side)], "photo": [torch.zeros(3, 2, 2)], "path": [number]}
        for number, side in enumerate(sizes)
    ]
    found = [batch["path"] for batch in _EqualSizes(loader, 2, in_order=True)]
    assert found == [[0, 1], [2], [3], [4, 5]]
