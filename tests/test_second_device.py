"""Code for a GPU, run without one: see second_device.py."""

import copy
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch.accelerators import AcceleratorRegistry, CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy, StrategyRegistry
from PIL import Image
from torch import Tensor
from torch.utils._pytree import tree_map

from segtricks.cli import main
from segtricks.commands import stuff_labels
from segtricks.data import SaliencyDataModule
from segtricks.data.transforms import denormalize
from segtricks.discovery.methods import METHODS
from segtricks.discovery.predictor import Discoverer
from segtricks.discovery.spectral_voting import SpectralVoting
from segtricks.losses import normalized_cut_loss
from segtricks.methods import Discovery, Found, MaskContrast, SelfMask, Sempart
from segtricks.metrics import (
    CorLoc,
    EnhancedAlignmentMeasure,
    MaskIoU,
    MaxFBeta,
    MeanAbsoluteError,
    PixelAccuracy,
    SaliencyScores,
    SaliencySums,
    StructureMeasure,
    WeightedFBeta,
    get_protocol,
    image_scores,
)
from segtricks.pseudo_labels import Entry, encode_mask, write_entry
from segtricks.pseudo_labels.instance_features import InstanceEncoder
from segtricks.refine import BILATERAL_PRESETS, guided_filter

from .second_device import DEVICE, FarTensor, SecondDevice

BACKBONE = "vit_tiny_patch16_224"


@pytest.fixture(autouse=True)
def autocast_takes_the_device(monkeypatch):
    ours = torch.autocast
    monkeypatch.setattr(torch, "autocast", lambda kind, *rest, **named: ours(_kind(kind), *rest, **named))


def _kind(kind):
    return "cpu" if kind == DEVICE.type else kind


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (3, 3, 64, 64), dtype=torch.uint8, generator=generator)
    draws = [[0, 1.3], [1, 0.8], [2, 1.2], [3, 0.05], [4, 1]]
    colors = np.array([draws, draws[::-1], draws], dtype=np.float32)
    return {"image": images, "colors": colors, "path": ["a", "b", "c"]}


def far(batch):
    return {name: value.to(DEVICE) if isinstance(value, Tensor) else value for name, value in batch.items()}


def test_the_second_device_tells_waiting_and_mixing_from_work():
    with SecondDevice() as device:
        x = torch.arange(6.0, device=DEVICE).view(2, 3)
        assert isinstance(x, FarTensor)
        y = (x * 2 + torch.tensor(1.0)).sum(1)
        assert not device.waits
        with pytest.raises(AssertionError, match="two devices"):
            x + torch.ones(3)
        assert y.tolist() == [9, 27]
        assert [wait.split()[0] for wait in device.waits] == ["download"]
        assert y[0] > 8
        assert x[x > 1].shape == (4,)
        assert len(device.waits) == 3
        torch.ones(3).to(DEVICE, non_blocking=True)
        assert len(device.waits) == 3
        torch.ones(3).to(DEVICE)
        assert device.waits[-1].startswith("upload at ")


@pytest.mark.parametrize("options", [{}, {"teacher": "ema"}, {"crop": False}, {"guided_filter": False}])
def test_a_training_step_never_waits_for_the_device_and_gives_what_the_cpu_gives(batch, options):
    # A share would be settled by the first batch. In float32 the two devices' memory formats round a gradient apart.
    here = Sempart(BACKBONE, pretrained=False, tau=0.4, **options).double()
    there = copy.deepcopy(here)
    data = SaliencyDataModule("synthetic", [])

    def step(module, batch):
        optimizer = module.configure_optimizers()
        images = data.on_after_batch_transfer(batch, 0)["image"].double()
        loss = module.total(module.loss_terms(images, torch.Generator().manual_seed(0))[0])
        loss.backward()
        optimizer.step()
        if module.ema is not None:
            module.ema.update_parameters(module.head)
        return loss

    expected = step(here, batch)
    with SecondDevice() as device:
        there.to(DEVICE)
        uploaded = far(batch)
        if there.ema is not None:
            there.ema.update_parameters(there.head)  # the first waits, once
        device.waits.clear()
        loss = step(there, uploaded)
        assert device.waits == []
        torch.testing.assert_close(loss.cpu(), expected, rtol=1e-7, atol=1e-9)
        for ours, theirs in zip(there.head.parameters(), here.head.parameters(), strict=True):
            assert (ours.grad.cpu() - theirs.grad).norm() <= 1e-5 * theirs.grad.norm() + 1e-9


def test_cut_of_many_patches_never_waits_either():
    features, mask = torch.randn(1, 16, 40, 40), torch.rand(1, 1, 40, 40)
    near = mask.clone().requires_grad_()
    normalized_cut_loss(features, near).backward()
    with SecondDevice() as device:
        moved, own = features.to(DEVICE), mask.to(DEVICE).requires_grad_()
        device.waits.clear()
        normalized_cut_loss(moved, own).backward()
        assert device.waits == []
        torch.testing.assert_close(own.grad.cpu(), near.grad)


@pytest.mark.parametrize("background", [True, False])
def test_founds_training_step_gives_what_the_cpu_gives(batch, background):
    module = Found(BACKBONE, pretrained=False)
    images = SaliencyDataModule("synthetic", []).on_after_batch_transfer(batch, 0)["image"]
    expected, _ = module.loss_terms(images, background)
    with SecondDevice():
        terms, _ = module.to(DEVICE).loss_terms(images.to(DEVICE), background)
        for name, term in terms.items():
            torch.testing.assert_close(term.cpu(), expected[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("refine_at", ["model", "full"])
def test_predictions_and_their_scores_are_those_of_the_cpu(batch, refine_at):
    module = Sempart(BACKBONE, pretrained=False, bilateral_preset="tokencut", refine_at=refine_at).eval()
    photos = [photo[:, :50] for photo in batch["image"]]
    targets = [(photo[:1] > 100).to(torch.uint8) * 255 for photo in photos]
    images = SaliencyDataModule("synthetic", []).on_after_batch_transfer({"image": batch["image"]}, 0)["image"]
    protocol = get_protocol("fullres")

    @torch.no_grad()
    def rows(module, device):
        item = {"image": list(images.to(device)), "photo": [photo.to(device) for photo in photos]}
        sizes = [tuple(photo.shape[-2:]) for photo in photos]
        found = {}
        for row, masks in module._masks_at(item, sizes, "image").items():
            sums = SaliencyScores(protocol).to(device)
            for mask, target in zip(masks, targets, strict=True):
                sums.add(image_scores(mask[None], target.to(device)[None], protocol))
            found[row] = [mask.cpu() for mask in masks], {name: float(value) for name, value in sums.compute().items()}
        return found

    expected = rows(module, "cpu")
    with SecondDevice():
        found = rows(module.to(DEVICE), DEVICE)
    assert found.keys() == expected.keys()
    for row, (masks, scores) in found.items():
        torch.testing.assert_close(masks, expected[row][0], rtol=1e-4, atol=1e-4)
        assert scores == pytest.approx(expected[row][1], abs=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_training_free_methods_find_what_the_cpu_finds(method, batch):
    discoverer = Discoverer(method, BACKBONE, pretrained=False)
    images = torch.rand(2, 3, 96, 96)
    images[:, :, 32:64, 32:80] += 2
    images[1] = images[1].flip(-1)
    expected = discoverer.enlarge(discoverer(images), (90, 90))
    with SecondDevice():
        discoverer.to(DEVICE)
        found = discoverer.enlarge(discoverer(images.to(DEVICE)), (90, 90)).cpu()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("preset", [*BILATERAL_PRESETS, None])
def test_refinement_is_that_of_the_cpu(preset):
    refine = BILATERAL_PRESETS[preset] if preset else guided_filter
    masks, images = torch.rand(2, 1, 48, 40), torch.rand(2, 3, 48, 40)
    with SecondDevice():
        found = refine(masks.to(DEVICE), images.to(DEVICE)).cpu()
    torch.testing.assert_close(found, refine(masks, images), rtol=1e-4, atol=1e-5)


METRICS = (
    EnhancedAlignmentMeasure,
    MaskIoU,
    MaxFBeta,
    MeanAbsoluteError,
    PixelAccuracy,
    SaliencyScores,
    StructureMeasure,
    WeightedFBeta,
)


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_are_those_of_the_cpu(metric):
    pred, truth = torch.rand(2, 1, 40, 30), (torch.rand(2, 1, 40, 30) > 0.6).to(torch.uint8) * 255
    here = metric()
    here.update(pred, truth)
    with SecondDevice():
        there = metric().to(DEVICE)
        there.update(pred.to(DEVICE), truth.to(DEVICE))
        found = tree_map(torch.Tensor.cpu, there.compute())
    torch.testing.assert_close(found, here.compute())


def test_sums_on_the_cpu_take_masks_of_the_device():
    pred, truth = torch.rand(2, 1, 40, 30), torch.rand(2, 1, 40, 30) > 0.6
    here, there = SaliencySums(), SaliencySums()
    here.update(pred, truth)
    with SecondDevice():
        there.update(pred.to(DEVICE), truth.to(DEVICE))
    torch.testing.assert_close(there.compute(), here.compute())


def test_boxes_are_those_of_the_cpu():
    mask, boxes = torch.zeros(1, 20, 20), torch.tensor([[4.0, 4, 12, 12]])
    mask[:, 4:12, 4:12] = 1
    with SecondDevice():
        metric = CorLoc().to(DEVICE)
        assert metric.is_hit(mask.to(DEVICE), boxes)
        metric.add(True)
        assert float(metric.compute()) == 1


def test_the_test_loop_of_training_free_methods_runs_there(batch):
    module = Discovery("lost", BACKBONE, pretrained=False)
    images = denormalize(torch.randn(2, 3, 64, 64))
    expected = module.soft_masks(images)
    with SecondDevice():
        torch.testing.assert_close(module.to(DEVICE).soft_masks(images.to(DEVICE)).cpu(), expected)


class FarAccelerator(CPUAccelerator):
    """Lets the trainer put a model on the second device."""

    def setup_device(self, device):
        """Nothing to do."""

    @staticmethod
    def get_parallel_devices(devices):
        return [DEVICE] * devices


@pytest.fixture
def trainer_knows_it():
    AcceleratorRegistry.register("far", FarAccelerator)
    StrategyRegistry.register("single_far", SingleDeviceStrategy, device=DEVICE)
    yield ["--trainer.accelerator", "far", "--trainer.strategy", "single_far", "--trainer.devices", "1"]
    AcceleratorRegistry.remove("far")
    StrategyRegistry.remove("single_far")


@pytest.mark.parametrize("teacher", ["shared", "ema"])
def test_a_fit_waits_for_the_device_only_in_steps_that_are_logged(tmp_path, monkeypatch, teacher, trainer_knows_it):
    monkeypatch.chdir(tmp_path)
    waits, own = [], Sempart.training_step

    def step(module, *batch):
        waits.append(list(device.waits))
        return own(module, *batch)

    monkeypatch.setattr(Sempart, "training_step", step)
    words = ["--config", "sempart_tricks", "--model.backbone", BACKBONE, "--model.pretrained", "false"]
    words += ["--model.teacher", teacher, "--data.train", "synthetic[:17]", "--data.test", "[]", "--data.size", "64"]
    words += ["--data.batch_size", "2", "--data.num_workers", "0", "--name", "far"]
    words += ["--trainer.max_steps", "16", "--trainer.log_every_n_steps", "5"]
    with SecondDevice() as device:
        assert main(["fit", *words, *trainer_knows_it]) == 0
    by_step = [after[len(before) :] for before, after in pairwise(waits)]
    waiting = [step for step, own in enumerate(by_step, 1) if own]
    assert waiting == [1, 5, 8, 10, 15], "the first for the bar, the eighth ends an epoch"


def test_commands_end_to_end_with_the_model_there(tmp_path, monkeypatch, trainer_knows_it, capsys):
    monkeypatch.chdir(tmp_path)
    whole = [*trainer_knows_it, "--trainer.inference_mode", "false"]
    data, photos = ["--data.test", "synthetic[300:304]", "--data.num_workers", "0"], tmp_path / "photos"
    photos.mkdir()
    for name, size in (("a", (70, 90)), ("b", (90, 64))):
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)).save(photos / f"{name}.jpg")
    with SecondDevice() as device:
        assert main(["fit", "--config", "synthetic", "--name", "far", "--trainer.max_steps", "2", *data, *whole]) == 0
        assert main(["fit", "--resume", "--name", "far", "--trainer.max_steps", "3", *data]) == 0
        assert (
            main(["test", "--config", "tokencut", "--model.backbone", "descriptor", "--data", "synthetic[:2]", *whole])
            == 0
        )
        device.waits.clear()
        assert main(["predict", "--run", "runs/far", "--images", str(photos), "--output", "masks", *whole]) == 0
    assert "Trained to step 3" in capsys.readouterr().out
    assert sorted(path.name for path in Path("masks", "soft").iterdir()) == ["a.png", "b.png"]
    assert sum("pseudo_labels/writer.py" in wait for wait in device.waits) == 2, (
        "a mask each; photographs stay on the host"
    )


def test_selfmasks_losses_and_masks_are_those_of_the_cpu(batch):
    module = SelfMask(BACKBONE, pretrained=False, num_queries=3, num_layers=2)
    images = SaliencyDataModule("synthetic", []).on_after_batch_transfer(batch, 0)["image"]
    target = (images[:, :1] > 0).float()
    expected, prob = module.losses(images, target)
    with SecondDevice():
        losses, found = module.to(DEVICE).losses(images.to(DEVICE), target.to(DEVICE))
        torch.testing.assert_close(losses.total.cpu(), expected.total, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.cpu(), prob, rtol=1e-4, atol=1e-5)


def test_maskcontrasts_step_is_that_of_the_cpu_and_waits_for_the_number_of_its_pixels_alone():
    module = MaskContrast(BACKBONE, pretrained=False, freeze="stem", queue=4)
    there = copy.deepcopy(module)
    images, masks = torch.randn(4, 3, 32, 32), torch.zeros(4, 1, 8, 8)
    masks[..., 2:6, 3:7] = 1

    def step(module, images, masks):
        terms, keys, _ = module.losses(images, masks)
        module.queue.push(keys)
        return terms, keys

    expected, prototypes = step(module, images, masks)
    with SecondDevice() as device:
        there.to(DEVICE)
        far_images, far_masks = images.to(DEVICE), masks.to(DEVICE)
        device.waits.clear()
        terms, keys = step(there, far_images, far_masks)
        assert len(device.waits) == 1 and "losses/prototypes.py" in device.waits[0]
        torch.testing.assert_close(keys.cpu(), prototypes, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(there.queue.entries[:2].cpu(), prototypes, rtol=1e-4, atol=1e-5)
        for name, term in terms.items():
            torch.testing.assert_close(term.cpu(), expected[name], rtol=1e-4, atol=1e-5)


def test_spectral_voting_finds_what_the_cpu_finds():
    voting = SpectralVoting(f"{BACKBONE},descriptor", pretrained=False)
    images = torch.rand(2, 3, 90, 96)
    images[:, :, 32:64, 32:80] += 2
    expected = voting(images)
    with SecondDevice():
        assert torch.equal(voting.to(DEVICE)(images.to(DEVICE)).cpu(), expected)


@pytest.mark.parametrize(("backbone", "feature"), [("descriptor", "mask"), (BACKBONE, "class_token")])
def test_vectors_of_masks_are_those_of_the_cpu(backbone, feature):
    torch.manual_seed(0)
    encoder = InstanceEncoder(backbone, pretrained=False, feature=feature, size=48, blank=True)
    photo = torch.randint(256, (3, 60, 100), dtype=torch.uint8)
    mask = np.zeros((60, 100), bool)
    mask[10:30, 40:60] = True
    entry = Entry("a", 60, 100, (encode_mask(mask),))
    expected = encoder(photo, entry)
    with SecondDevice():
        torch.testing.assert_close(copy.deepcopy(encoder).to(DEVICE)(photo, entry), expected)


def test_maps_of_stuff_are_those_of_the_cpu(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for name in "abc":
        mask = np.zeros((60, 100), bool)
        mask[10:30, 40:60] = True
        write_entry(tmp_path / "store", name, f"{name}.png", mask.shape, [encode_mask(mask, 1.0, 1)])
        image = generator.integers(256, size=(*mask.shape, 3), dtype=np.uint8)
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / f"photos/{name}.png")
    words = [
        "stuff",
        "--images",
        "photos",
        "--masks",
        "store",
        "--stuff",
        "2",
        "--size",
        "56",
        "--backbone",
        "descriptor",
    ]
    assert main([*words, "--output", "near"]) == 0
    monkeypatch.setattr(stuff_labels, "checked_device", lambda device: DEVICE)
    with SecondDevice():
        assert main([*words, "--output", "far"]) == 0
    for near in sorted((tmp_path / "near/labels").iterdir()):
        assert near.read_bytes() == (tmp_path / "far/labels" / near.name).read_bytes()
