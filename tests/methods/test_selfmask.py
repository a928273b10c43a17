import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate, pad

from segtricks import load_run
from segtricks.cli import main
from segtricks.data.transforms import to_input
from segtricks.errors import UserError
from segtricks.losses import query_dice_loss
from segtricks.methods import SelfMask
from segtricks.methods.selfmask import poly_factor
from segtricks.training.checkpoints import read_checkpoint


def _small(**options):
    return SelfMask("vit_tiny_patch16_224", pretrained=False, num_queries=3, num_layers=2, **options)


def test_learning_rate_equals_the_intended_schedule(golden):
    arrays = np.load(golden / "selfmask_schedule.npz")
    steps = len(arrays["intended"])
    factors = [poly_factor(step, steps) for step in range(steps)]
    np.testing.assert_allclose(np.array(factors) * arrays["lr"], arrays["intended"], rtol=1e-6)


def test_mask_is_the_best_query_of_the_last_layer_without_the_padding():
    module = _small().eval()
    images = torch.randn(1, 3, 40, 50)
    masks, objectness = module.head(module.backbone(pad(images, (0, 14, 0, 8))))
    best = masks[:, -1, objectness[0, -1].argmax()].sigmoid()
    expected = interpolate(best[:, None], scale_factor=8, mode="bilinear")[..., :40, :50]
    torch.testing.assert_close(module.soft_masks(images), expected)


def test_every_query_of_every_layer_learns_the_mask():
    module = _small(trained_blocks=0)
    images, target = torch.randn(2, 3, 32, 32), torch.zeros(2, 1, 32, 32)
    target[..., 8:24, 8:24] = 1
    losses, _ = module.losses(images, target)
    expected = query_dice_loss(module(images).masks.sigmoid(), target).sum((1, 2)).mean()
    torch.testing.assert_close(losses.dice, expected)


@pytest.mark.parametrize(("trained_blocks", "trained"), [(None, 12), (2, 2), (0, 0)])
def test_the_encoder_is_trained_whole_in_part_or_not_at_all(trained_blocks, trained):
    module = _small(trained_blocks=trained_blocks)
    module.losses(torch.randn(1, 3, 32, 32), torch.ones(1, 1, 32, 32))[0].total.backward()
    blocks = [any(part.grad is not None for part in block.parameters()) for block in module.backbone.model.blocks]
    assert blocks == [False] * (12 - trained) + [True] * trained
    assert all(part.grad is not None for part in module.parameters() if part.requires_grad)


def test_photographs_are_seen_at_their_own_size_up_to_the_longest_side():
    photo = torch.randint(256, (3, 50, 100), dtype=torch.uint8)
    assert torch.equal(_small(longest_side=100)._own_size(photo), to_input(photo))
    assert _small(longest_side=60)._own_size(photo).shape == (3, 30, 60)


@pytest.mark.parametrize("options", [{"num_queries": 0}, {"num_layers": 0}, {"longest_side": -1}])
def test_impossible_sizes_are_refused(options):
    with pytest.raises(UserError, match="at least 1"):
        SelfMask("descriptor", **options)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Photographs of a bright square, and their masks: three are empty, of everything, and of another shape."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("photos", "masks"):
        (folder / name).mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        mask = np.zeros((64, 64), np.uint8)
        top, left = rng.integers(8, 32, 2)
        mask[top : top + 24, left : left + 24] = 255
        photo = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8) + (mask // 2)[..., None]
        Image.fromarray(photo).save(folder / f"photos/{number:02}.png")
        bad = {9: mask * 0, 10: mask * 0 + 255, 11: mask[:32]}
        Image.fromarray(bad.get(number, mask)).save(folder / f"masks/{number:02}.png")
    return folder


def _words(data, *more):
    words = ["--config", "selfmask", "--name", "run", "--data.train", str(data / "photos"), "--test", "none"]
    words += ["--data.masks", str(data / "masks"), "--data.size", "64", "--data.resize", "64", "--data.held_out", "2"]
    words += ["--data.scale_range", "null", "--data.num_workers", "0", "--data.batch_size", "4"]
    words += ["--model.backbone", "vit_tiny_patch16_224", "--model.pretrained", "false", "--model.num_queries", "3"]
    words += ["--model.num_layers", "1", "--model.optimizer.lr", "1e-3", "--trainer.accelerator", "cpu"]
    return [*words, "--max_bad_share", "0.5", "--trainer.log_every_n_steps", "1", *more]


def test_fit_leaves_bad_masks_out_keeps_the_encoder_and_predicts(data, tmp_path, monkeypatch, caplog, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *_words(data, "--trainer.max_epochs", "3")]) == 0
    run = tmp_path / "runs/run"
    header, *lines = (run / "metrics.csv").read_text().splitlines()
    assert {"train/dice", "train/ranking", "val/loss", "health/empty_targets"} <= set(header.split(",")) and lines
    for name in ("09", "10"):
        assert caplog.text.count(f"{name}.png: its mask is empty or full") == 1
    assert "00.png" not in caplog.text
    assert "11.png: its target" in caplog.text
    best = read_checkpoint(run / "checkpoints/best.ckpt")
    assert any(name.startswith("backbone.model.blocks.0.") for name in best["state_dict"])
    words = ["--run", str(run), "--images", str(data / "photos"), "--output", str(tmp_path / "out")]
    assert main(["predict", *words]) == 0
    photo = data / "photos/00.png"
    written = np.asarray(Image.open(tmp_path / "out/soft/00.png")) / 255
    np.testing.assert_allclose(load_run(run).masks(photo), written, rtol=0, atol=1 / 255)
    words = ["--run", str(run), "--data", str(data / "photos")]
    assert main(["test", *words]) == 2
    assert "nothing to compare with" in capsys.readouterr().err
    words += ["--data.masks", str(data / "masks")]
    assert main(["test", *words, "--max_bad_share", "0.5", "--protocol", "selfmask"]) == 0
    (result,) = (run / "test").glob("*.json")
    assert list(json.loads(result.read_text())["rows"]) == ["mask", "mask + guided filter"]


def test_a_run_stopped_within_an_epoch_ends_with_the_weights_of_one_in_one_go(data, whole_and_resumed):
    words = _words(data, "--trainer.max_epochs", "2", "--save_every", "1")
    whole, resumed = whole_and_resumed(SelfMask, words)
    torch.testing.assert_close(resumed["state_dict"], whole["state_dict"])
    assert resumed["lr_schedulers"] == whole["lr_schedulers"]
    assert whole["lr_schedulers"][0]["_last_lr"] == [0]  # the schedule ends with the run
    assert resumed["global_step"] == whole["global_step"] == 4
