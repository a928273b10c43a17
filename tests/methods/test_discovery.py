import json
from typing import get_args

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from segtricks.backbones import create_backbone
from segtricks.cli import main
from segtricks.data.transforms import denormalize
from segtricks.discovery import lost, tokencut
from segtricks.errors import UserError
from segtricks.methods import Discovery
from segtricks.metrics import mask_box
from segtricks.packaged import find_config
from segtricks.refine import bilateral_solver, guided_filter
from segtricks.words import Select


def test_three_rows_are_the_mask_and_its_two_refinements():
    module = Discovery("tokencut", "descriptor", bilateral_preset="tokencut")
    image = torch.randn(3, 32, 48, generator=torch.Generator().manual_seed(0))
    photo = torch.zeros(3, 32, 48, dtype=torch.uint8)
    rows = module._masks_at({"image": [image], "photo": [photo]}, [(32, 48)], "none")
    mask = tokencut(create_backbone("descriptor")(image[None])).mask
    mask = mask.repeat_interleave(8, 2).repeat_interleave(8, 3)
    rgb01 = denormalize(image[None])
    expected = {
        "mask": mask,
        "mask + guided filter": guided_filter(mask, rgb01).clamp(0, 1),
        "mask + bilateral solver": bilateral_solver(mask, rgb01, 16, 16, 8).clamp(0, 1),
    }
    assert list(rows) == list(expected)
    for row, (result,) in rows.items():
        torch.testing.assert_close(result[None], expected[row])


def test_test_runs_from_the_packaged_config_without_a_checkpoint(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--config", "tokencut", "--data", "synthetic[:3]", "--model.backbone", "descriptor", "--data.size", "32"]
    assert main(["test", *words, "--data.num_workers", "0"]) == 0
    result = json.loads((tmp_path / "runs/test-tokencut-1/test/synthetic-0-3.json").read_text())
    assert list(result["rows"]) == ["mask", "mask + guided filter", "mask + bilateral solver"]
    assert result["metrics"] == result["rows"]["mask"]
    assert (tmp_path / "runs/test-tokencut-1/config.yaml").is_file()
    assert "mask + bilateral solver" in capsys.readouterr().out


def test_a_trained_method_still_needs_its_checkpoint(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["test", "--config", "synthetic"]) == 2
    assert "Which model? Pass --run" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_there_is_nothing_to_fit():
    with pytest.raises(UserError, match="segtricks test --config tokencut"):
        Discovery("tokencut", "descriptor").configure_optimizers()


def _bar_and_block(folder):
    """A photograph of a thin bar that spans it and a block of more pixels, and a COCO file with the block's box."""
    (folder / "photos").mkdir()
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[4:8, :] = pixels[24:56, 24:40] = 255
    Image.fromarray(pixels).save(folder / "photos/a.png")
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [24, 24, 16, 32], "area": 512, "iscrowd": 0}
    image = {"id": 1, "file_name": "a.png", "width": 64, "height": 64}
    categories = [{"id": 1, "name": "object"}]
    (folder / "boxes.json").write_text(json.dumps({"images": [image], "annotations": [box], "categories": categories}))


@pytest.mark.parametrize(
    ("protocol", "rule", "hit"),
    [
        ("fullres", "largest_area", 1),
        ("fullres:polarity=none", "largest_area", 1),
        ("fullres:select=largest_bbox", "largest_bbox", 0),
    ],
)
def test_the_box_is_the_component_of_most_pixels_unless_the_protocol_says_otherwise(
    tmp_path, monkeypatch, protocol, rule, hit
):
    """The bar's box is larger than the block's (64 x 12 against 16 x 32 pixels), its area smaller."""
    monkeypatch.chdir(tmp_path)
    _bar_and_block(tmp_path)
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 4:8, :] = mask[..., 8:16, :2] = mask[..., 24:56, 24:40] = 1  # an L of 272 pixels, and 512
    monkeypatch.setattr(Discovery, "soft_masks", lambda self, images: mask)
    words = ["--config", "deep_spectral", "--model.backbone", "descriptor", "--name", "one"]
    words += ["--data", "photos", "--data.boxes", "boxes.json", "--data.size", "64", "--data.num_workers", "0"]
    assert main(["test", *words, "--protocol", protocol]) == 0
    (path,) = (tmp_path / "runs/one/test").glob("*.json")
    result = json.loads(path.read_text())
    assert result["protocol"]["select"] == rule
    assert result["rows"]["mask"]["corloc"] == hit


@pytest.mark.parametrize("method", ["tokencut", "lost", "deep_spectral"])
def test_every_method_takes_the_component_of_most_pixels(method):
    assert Discovery(method, "descriptor").protocol.select == "largest_area"


def test_an_image_in_which_nothing_is_found_is_named(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    _bar_and_block(tmp_path)
    Image.new("RGB", (64, 64), "gray").save(tmp_path / "photos/flat.png")
    (tmp_path / "masks").mkdir()
    for name in ("a.png", "flat.png"):
        Image.new("L", (64, 64), 255).save(tmp_path / "masks" / name)
    words = ["--config", "tokencut", "--model.backbone", "descriptor", "--data", "photos", "--data.masks", "masks"]
    assert main(["test", *words, "--data.size", "64", "--data.num_workers", "0"]) == 0
    told = [record.getMessage() for record in caplog.records if "empty mask" in record.message]
    assert [line.partition(": ")[0] for line in told] == ["photos/flat.png"]


@pytest.mark.parametrize("method", [tokencut, lost])
def test_masks_of_tokencut_and_lost_are_one_component_so_that_every_rule_gives_their_box(method):
    features = torch.randn(4, 6, 9, 12, generator=torch.Generator().manual_seed(0))
    result = method(features)
    assert (result.seed >= 0).all()
    for mask, box in zip(result.mask, result.box, strict=True):
        assert [mask_box(mask, rule).tolist() for rule in get_args(Select)] == [box.tolist()] * 3


@pytest.mark.parametrize("name", ["tokencut", "lost", "deep_spectral"])
def test_each_method_has_a_config_of_its_name(name):
    config = yaml.safe_load(find_config(name).read_text())
    assert config["model"] == {
        "class_path": "segtricks.methods.Discovery",
        "init_args": {"method": name, "backbone": "dino_vits16"},
    }
