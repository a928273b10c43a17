import json

import pytest
import torch

from segtricks.backbones import create_backbone
from segtricks.cli import main
from segtricks.data.transforms import denormalize
from segtricks.discovery import tokencut
from segtricks.errors import UserError
from segtricks.methods import Discovery
from segtricks.refine import bilateral_solver, guided_filter


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
    assert main(["test", "--config", "demo"]) == 2
    assert "Which model? Pass --run" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_there_is_nothing_to_fit():
    with pytest.raises(UserError, match="segtricks test --config tokencut"):
        Discovery("tokencut", "descriptor").configure_optimizers()
