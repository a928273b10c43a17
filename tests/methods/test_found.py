import json

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from segtricks.cli import main
from segtricks.data.transforms import denormalize
from segtricks.discovery import found_background
from segtricks.methods import Found
from segtricks.methods.found import refined_target


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    return Found("vit_tiny_patch16_224", pretrained=False, threshold=0.3)


def test_terms_are_the_cross_entropies_of_the_definition(module):
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    keys, attention = module.backbone(images)
    logits, rgb01 = module.head(keys), denormalize(images)
    own = (logits.sigmoid() > 0.5).float()
    mask = found_background(keys, attention).mask
    early, _ = module.loss_terms(images, background=True)
    late, _ = module.loss_terms(images, background=False)
    solver = 1.5 * binary_cross_entropy_with_logits(logits, refined_target(own, rgb01))
    expected = {"solver": solver, "background": binary_cross_entropy_with_logits(logits, refined_target(mask, rgb01))}
    torch.testing.assert_close(early, expected)
    torch.testing.assert_close(late, {"solver": solver, "self": 4 * binary_cross_entropy_with_logits(logits, own)})


def test_the_box_is_the_component_of_most_pixels_unless_the_protocol_says_otherwise(module):
    assert module.protocol.select == "largest_area"
    for protocol, rule in (("found-single", "largest_area"), ("fullres:select=largest_bbox", "largest_bbox")):
        assert Found("vit_tiny_patch16_224", pretrained=False, protocol=protocol).protocol.select == rule


def test_only_the_head_gets_gradients(module):
    terms, _ = module.loss_terms(torch.randn(1, 3, 32, 32), background=True)
    sum(terms.values()).backward()
    assert all(parameter.grad is not None for parameter in module.head.parameters())
    assert not any(parameter.requires_grad for parameter in module.backbone.parameters())


def test_target_moves_to_the_edge_of_the_image_and_fills_its_holes():
    image = torch.zeros(1, 3, 64, 64)
    image[..., 16:48, 16:48] = 0.8
    truth = torch.zeros(1, 1, 8, 8)
    truth[..., 2:6, 2:6] = 1
    mask = truth.clone()
    mask[..., 2, 2] = mask[..., 3, 3] = 0
    assert torch.equal(refined_target(mask, image), truth)


def test_a_target_that_the_solver_would_lose_stays_as_it_is():
    image = torch.zeros(1, 3, 64, 64)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 0, 0] = 1
    assert torch.equal(refined_target(mask, image), mask)


def test_fit_runs_from_the_packaged_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["--config", "found", "--name", "small", "--model.backbone", "vit_tiny_patch16_224"]
    words += ["--model.pretrained", "false", "--data.train", "synthetic[:10]", "--data.held_out", "2"]
    words += ["--data.test", "['synthetic[10:13]']", "--data.size", "64", "--data.batch_size", "4"]
    words += ["--data.num_workers", "0", "--trainer.max_steps", "3", "--model.background_steps", "2"]
    words += ["--trainer.accelerator", "cpu", "--trainer.log_every_n_steps", "1"]
    assert main(["fit", *words]) == 0
    result = json.loads((tmp_path / "runs/small/test/synthetic-10-13.json").read_text())
    assert result["metrics"] == result["rows"]["mask"]
    header, *lines = (tmp_path / "runs/small/metrics.csv").read_text().splitlines()
    assert {"train/solver", "train/background", "train/self", "val/loss"} <= set(header.split(","))
    assert lines
