import json

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image
from torch import nn
from torch.nn.functional import interpolate

from segtricks.backbones import create_backbone
from segtricks.data import DetectionDataModule, SaliencyDataModule
from segtricks.data.transforms import denormalize
from segtricks.errors import UserError
from segtricks.methods.base import PLAIN, REFINED, SegmentationModule, batch_statistics
from segtricks.refine import GuidedFilter, guided_filter


class Red(SegmentationModule):
    """Foreground is red; counts the batches it is shown."""

    def __init__(self, **options):
        super().__init__(refiner=GuidedFilter(radius=2), **options)
        self.shapes = []

    def soft_masks(self, images):
        self.shapes.append(tuple(images.shape))
        return images[:, :1].sigmoid()


def batch(*sizes):
    generator = torch.Generator().manual_seed(0)
    images = [torch.randn(3, *size, generator=generator) - 1 for size in sizes]
    photos = [torch.randint(0, 255, (3, 2 * h, 2 * w), dtype=torch.uint8, generator=generator) for h, w in sizes]
    return {"image": images, "photo": photos, "skipped": [], "path": [str(i) for i in range(len(sizes))]}


def test_images_of_one_size_run_together_and_come_back_in_order():
    module, data = Red(), batch((8, 8), (8, 12), (8, 8))
    masks = module._masks_at(data, [(8, 8), (8, 12), (8, 8)], "none", only=PLAIN)[PLAIN]
    assert sorted(module.shapes) == [(1, 3, 8, 12), (2, 3, 8, 8)]
    for mask, image in zip(masks, data["image"], strict=True):
        torch.testing.assert_close(mask, image[:1].sigmoid())


def test_filter_acts_at_the_models_resolution_and_then_enlarges():
    module, data = Red(refine_at="model"), batch((16, 16))
    (mask,) = module._masks_at(data, [(32, 32)], "none", only=REFINED)[REFINED]
    image = data["image"][0][None]
    filtered = guided_filter(image[:, :1].sigmoid(), denormalize(image), 2).clamp(0, 1)
    torch.testing.assert_close(mask[None], interpolate(filtered, size=(32, 32), mode="bilinear"))


def test_filter_acts_on_the_photograph_at_full_resolution():
    module, data = Red(refine_at="full"), batch((16, 16))
    (mask,) = module._masks_at(data, [(32, 32)], "none", only=REFINED)[REFINED]
    large = interpolate(data["image"][0][None, :1].sigmoid(), size=(32, 32), mode="bilinear")
    torch.testing.assert_close(mask[None], guided_filter(large, data["photo"][0][None] / 255, 2).clamp(0, 1))


def test_both_rows_come_from_one_forward_pass():
    module, data = Red(), batch((8, 8), (8, 8))
    rows = module._masks_at(data, [(8, 8), (8, 8)], "image")
    assert set(rows) == {PLAIN, REFINED}
    assert len(module.shapes) == 1


def test_batch_statistics_are_used_and_the_running_ones_left_alone():
    norm = nn.BatchNorm2d(2).eval()
    norm.running_mean.fill_(5.0)
    x = torch.randn(4, 2, 3, 3)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    with batch_statistics(norm):
        torch.testing.assert_close(norm(x), nn.functional.batch_norm(x, None, None, training=True))
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    assert not norm.training
    assert norm(x).mean() < -3, "eval mode uses the running mean again"


def test_refine_at_must_be_one_of_two():
    with pytest.raises(ValueError, match="model or full"):
        Red(refine_at="photo")


@pytest.fixture
def rectangles(tmp_path):
    """Photographs of one red rectangle each, with a right, a wrong and no box, and masks of the rectangle."""
    for folder in ("photos", "masks"):
        (tmp_path / folder).mkdir()
    boxes = []
    for number, annotated in enumerate([[[8, 8, 16, 12]], [[0, 0, 6, 6]], []]):
        mask = np.zeros((32, 40), bool)
        mask[8:20, 8:24] = True
        Image.fromarray(mask[..., None] * np.array([255, 0, 0], np.uint8)).save(tmp_path / f"photos/{number}.png")
        Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / f"masks/{number}.png")
        boxes += [{"image_id": number, "bbox": box} for box in annotated]
    images = [{"id": i, "file_name": f"{i}.png", "width": 40, "height": 32} for i in range(3)]
    (tmp_path / "boxes.json").write_text(json.dumps({"images": images, "annotations": boxes}))
    return tmp_path


@pytest.mark.parametrize("masks", [None, "masks"])
def test_boxes_give_corloc_beside_the_figures_of_masks(rectangles, masks):
    data = DetectionDataModule(
        test=str(rectangles / "photos"),
        boxes=str(rectangles / "boxes.json"),
        masks=masks and str(rectangles / masks),
        size=32,
        multiple=8,
        eval_batch_size=2,
        num_workers=0,
    )
    module = Red()
    quiet = {name: False for name in ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary")}
    Trainer(accelerator="cpu", **quiet).test(module, data, verbose=False)
    plain = module.evaluations[0].rows["mask"]
    assert plain.row == PLAIN
    assert plain.metrics["corloc"] == pytest.approx(1 / 3)
    assert [plain.hits[path] for path in sorted(plain.hits)] == [True, False, False]
    assert plain.images == 3
    assert ("iou" in plain.metrics) == (masks is not None)
    if masks:
        assert plain.metrics["iou"] == 1
        assert len(plain.per_image) == 3


class OwnMethod(SegmentationModule):
    """As in CONTRIBUTING: no word about its identity."""

    def __init__(self, backbone, trained=False):
        super().__init__()
        self.backbone = create_backbone(backbone).requires_grad_(trained)
        self.scale = torch.nn.Parameter(torch.ones(()))


def test_a_method_of_the_users_names_its_backbone_and_keeps_what_it_trains():
    assert OwnMethod("descriptor").identity() == {
        "method": "OwnMethod",
        "backbone": "descriptor",
        "feature_dim": create_backbone("descriptor").feature_dim,
    }
    module = OwnMethod("descriptor")
    module.backbone.weight = torch.nn.Parameter(torch.ones(2), requires_grad=False)
    for trained, kept in ((False, {"scale"}), (True, {"scale", "backbone.weight"})):
        module.backbone.weight.requires_grad_(trained)
        checkpoint = {"state_dict": module.state_dict()}
        module.on_save_checkpoint(checkpoint)
        assert kept <= set(checkpoint["state_dict"])
        assert ("backbone.weight" in checkpoint["state_dict"]) is trained
    with pytest.raises(UserError, match=r"backbone 'descriptor' \(here 'descriptor4'\)"):
        OwnMethod("descriptor4").on_load_checkpoint(checkpoint)


class Broken(Red):
    """What a loss that became no number, or a network in float16, leaves behind."""

    def soft_masks(self, images):
        return super().soft_masks(images) * torch.nan


def test_masks_that_are_no_numbers_are_told_with_the_photograph_and_the_way_out(rectangles):
    data = SaliencyDataModule(
        test=str(rectangles / "photos"), masks=str(rectangles / "masks"), size=32, multiple=8, num_workers=0
    )
    quiet = {name: False for name in ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary")}
    with pytest.raises(UserError, match=r"^The mask of .*photos/0\.png holds nan or infinity\.\nNext: .*32-true"):
        Trainer(accelerator="cpu", **quiet).test(Broken(), data, verbose=False)


def test_metal_which_has_no_float64_leaves_the_scores_to_the_cpu(monkeypatch):
    data = SaliencyDataModule("synthetic[:4]", ["synthetic[4:6]"], size=32, held_out=1)
    module, (dataset,) = Red(), data.test_datasets
    assert module.scoring_device == module.device
    monkeypatch.setattr(Red, "device", torch.device("mps"))
    evaluator = module.make_evaluator(dataset, "synthetic")
    states = evaluator.sums(PLAIN).metric_state.values()
    assert {state.device.type for state in states if isinstance(state, torch.Tensor)} == {"cpu"}
