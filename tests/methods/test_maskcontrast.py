import json
import math
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import interpolate, normalize
from torchvision.transforms.v2.functional import to_pil_image

from segtricks import load_run
from segtricks.cli import main
from segtricks.data.transforms import to_input
from segtricks.errors import UserError
from segtricks.heads import MaskContrastHead, MaskContrastOutput, MaskContrastViTHead
from segtricks.methods import MaskContrast
from segtricks.training.checkpoints import read_checkpoint


def _small(backbone="vit_tiny_patch16_224", freeze="frozen", **options):
    return MaskContrast(backbone, pretrained=False, freeze=freeze, queue=8, **options)


class _Given(nn.Module):
    """A head that gives its parameters, whatever the features are."""

    def __init__(self, embedding, saliency):
        super().__init__()
        self.embedding, self.saliency = nn.Parameter(embedding), nn.Parameter(saliency)

    def forward(self, features):
        return MaskContrastOutput(self.embedding, self.saliency)


def test_two_steps_equal_the_first_implementation(golden):
    """Its order: query, saliency, the copy moves, key, logits with the queue of before, and then the queue."""
    content = np.load(golden / "maskcontrast_losses.npz")
    arrays = {name: torch.from_numpy(np.asarray(value)) for name, value in content.items()}
    module = _small("descriptor", embedding_dim=16)
    module.head = _Given(arrays["query_embedding"], arrays["saliency_logits"][:, None])
    module.key_head = _Given(arrays["key_embedding_before_momentum"], arrays["saliency_logits"][:, None])
    module.queue.load_state_dict({"entries": arrays["queue_before"], "position": arrays["pointer_before"]})
    masks = torch.cat([arrays["query_mask"], arrays["key_mask"]])[:, None]
    terms, keys, _ = module.losses(torch.zeros(8, 3, 16, 16), masks)
    sum(terms.values()).backward()
    assert terms["contrast"].item() == pytest.approx(float(arrays["contrastive_loss"]), abs=1e-5)
    assert terms["saliency"].item() == pytest.approx(float(arrays["saliency_loss"]), abs=1e-5)
    torch.testing.assert_close(module.key_head.embedding.data, arrays["key_embedding"], rtol=0, atol=1e-6)
    torch.testing.assert_close(keys, arrays["prototypes"], rtol=0, atol=1e-5)
    torch.testing.assert_close(module.head.embedding.grad, arrays["grad_query_embedding"], rtol=0, atol=1e-7)
    assert module.key_head.embedding.grad is None
    module.queue.push(keys)
    module.queue.push(module.losses(torch.zeros(8, 3, 16, 16), masks)[1])
    torch.testing.assert_close(module.queue.entries, arrays["queue_after_two"], rtol=0, atol=1e-5)
    assert module.queue.position == arrays["pointer_after_two"]


@pytest.mark.parametrize(
    ("backbone", "head"), [("supervised_resnet50", MaskContrastHead), ("vit_tiny_patch16_224", MaskContrastViTHead)]
)
def test_the_head_is_chosen_by_the_kind_of_backbone(backbone, head):
    assert isinstance(_small(backbone).head, head)


def test_losses_are_taken_on_the_pixels_of_the_masks():
    module = _small("descriptor")
    images, masks = torch.randn(4, 3, 16, 16), torch.zeros(4, 1, 8, 8)
    masks[..., 2:6, 2:6] = 1
    terms, keys, saliency = module.losses(images, masks)
    expected = interpolate(module(images[:2]).saliency, (8, 8), mode="bilinear")
    torch.testing.assert_close(saliency, expected)
    assert keys.shape == (2, 32) and terms["contrast"].requires_grad and not keys.requires_grad


def test_a_saliency_map_is_the_enlarged_saliency_head():
    module = _small().eval()
    images = torch.randn(2, 3, 32, 48)
    expected = interpolate(module.head(module.backbone(images)).saliency, (32, 48), mode="bilinear").sigmoid()
    torch.testing.assert_close(module.soft_masks(images), expected)


@pytest.mark.parametrize(("freeze", "trained"), [("frozen", 0), ("stem", 3), ("none", 12)])
def test_the_backbone_is_trained_whole_in_part_or_not_at_all(freeze, trained):
    module = _small(freeze=freeze, trained_blocks=3)
    masks = torch.zeros(4, 1, 4, 4)
    masks[..., 1:3] = 1
    terms, _, _ = module.losses(torch.randn(4, 3, 32, 32), masks)
    sum(terms.values()).backward()
    blocks = [any(part.grad is not None for part in block.parameters()) for block in module.backbone.model.blocks]
    assert blocks == [False] * (12 - trained) + [True] * trained
    assert all(part.grad is not None for part in module.parameters() if part.requires_grad)
    in_optimizer = {id(part) for group in module.new_optimizer().param_groups for part in group["params"]}
    assert in_optimizer == {id(part) for part in module.parameters() if part.requires_grad}


def test_the_copy_starts_alike_moves_a_thousandth_and_shares_what_is_frozen():
    module = _small(freeze="stem", trained_blocks=1)
    trained, copied = module.backbone.model, module.key_backbone.model
    assert copied.blocks[0].attn.qkv.weight is trained.blocks[0].attn.qkv.weight
    before = trained.blocks[-1].attn.qkv.weight.detach().clone()
    assert torch.equal(copied.blocks[-1].attn.qkv.weight, before)
    for part in module.parameters():
        if part.requires_grad:
            part.data += 1
    module.move_copy()
    torch.testing.assert_close(copied.blocks[-1].attn.qkv.weight, before + 0.001)
    torch.testing.assert_close(module.key_head.saliency.weight, module.head.saliency.weight - 0.999)


def test_batch_norms_of_the_copy_see_the_keys_alone():
    module = _small("supervised_resnet50", freeze="stem")
    module.train()
    images, masks = torch.randn(4, 3, 16, 16), torch.zeros(4, 1, 16, 16)
    masks[..., 4:12] = 1
    images[2:] = 0
    module.losses(images, masks)
    query, key = (network.model.layer4[0].bn1 for network in (module.backbone, module.key_backbone))
    assert query.num_batches_tracked == key.num_batches_tracked == 1
    assert not torch.allclose(query.running_mean, key.running_mean)
    frozen = [network.model.layer2[0].bn1 for network in (module.backbone, module.key_backbone)]
    assert [norm.num_batches_tracked.item() for norm in frozen] == [0, 0]


def test_learning_rates_fall_towards_the_stem():
    module = _small(freeze="stem", trained_blocks=2, backbone_lr=0.1, layer_decay=0.5)
    rates = {}
    for group in module.new_optimizer().param_groups:
        rates |= dict.fromkeys(map(id, group["params"]), group["lr"])
    assert rates[id(module.head.saliency.weight)] == 0.004
    norm, last, former = module.backbone.model.norm, *module.backbone.model.blocks[:-3:-1]
    assert rates[id(norm.weight)] == rates[id(last.attn.qkv.weight)] == pytest.approx(0.0004)
    assert rates[id(former.attn.qkv.weight)] == pytest.approx(0.0002)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("poly", lambda e: (1 - e / 40) ** 0.9), ("cosine", lambda e: (1 + math.cos(math.pi * e / 40)) / 2)],
)
def test_learning_rate_of_every_epoch(schedule, expected):
    from lightning import Trainer

    module = _small("descriptor", schedule=schedule)
    module.trainer = Trainer(max_epochs=40, accelerator="cpu", logger=False, enable_checkpointing=False)
    (optimizer,), (scheduler,) = module.configure_optimizers()
    rates = []
    for _ in range(40):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([0.004 * expected(epoch) for epoch in range(40)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"momentum": 1.0}, "momentum at least 0 and below 1"),
        ({"embedding_dim": 0}, "embedding_dim and model"),
        ({"test_size": 0}, "test_size at least 1"),
        ({"layer_decay": 1.5}, "layer_decay must be above 0 and at most 1"),
        ({"backbone_lr": -1.0}, "backbone_lr at least 0"),
        ({"freeze": "stem"}, r"leave out --model\.trained_blocks, or pass --model\.freeze frozen"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        _small("descriptor", **options)


def test_batches_of_single_views_are_refused_with_the_data_module_to_use():
    with pytest.raises(UserError, match=r"segtricks\.data\.PairDataModule"):
        _small("descriptor").training_step({"image": torch.zeros(2, 3, 16, 16), "path": ["a", "b"], "skipped": []}, 0)


def test_one_image_is_refused_where_batch_norms_need_two():
    batch = {"image": torch.zeros(2, 3, 16, 16), "path": ["a"], "skipped": [], "replaced": []}
    with pytest.raises(UserError, match="two images"):
        _small("supervised_resnet50").training_step(batch, 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Photographs of a bright square, their masks, of which three are empty, full, and of another shape, and labels.

    Labels are 1 for half of the squares and 2 for the others.
    """
    folder = tmp_path_factory.mktemp("data")
    for name in ("photos", "masks", "labels"):
        (folder / name).mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        mask = np.zeros((64, 64), np.uint8)
        top, left = rng.integers(8, 32, 2)
        mask[top : top + 24, left : left + 24] = 255
        photo = rng.integers(0, 60, (64, 64, 3), dtype=np.uint8) + (mask // 2)[..., None]
        Image.fromarray(photo).save(folder / f"photos/{number:02}.png")
        Image.fromarray(mask // 255 * np.uint8(1 + number % 2)).save(folder / f"labels/{number:02}.png")
        bad = {9: mask * 0, 10: mask * 0 + 255, 11: mask[:32]}
        Image.fromarray(bad.get(number, mask)).save(folder / f"masks/{number:02}.png")
    return folder


def _words(data, *more):
    words = ["--config", "maskcontrast_vit", "--name", "run", "--data.train", str(data / "photos"), "--test", "none"]
    words += ["--data.masks", str(data / "masks"), "--data.size", "32", "--data.resize", "64", "--data.held_out", "2"]
    words += ["--data.num_workers", "0", "--data.batch_size", "4", "--model.queue", "8"]
    words += ["--model.backbone", "vit_tiny_patch16_224", "--model.pretrained", "false"]
    words += ["--trainer.accelerator", "cpu", "--max_bad_share", "0.5", "--trainer.log_every_n_steps", "1"]
    return [*words, *more]


def test_fit_replaces_photographs_without_a_view_and_predict_and_test_follow(
    data, tmp_path, monkeypatch, caplog, capsys
):
    monkeypatch.chdir(tmp_path)
    words = _words(data, "--trainer.max_epochs", "3", "--trainer.check_val_every_n_epoch", "1")
    assert main(["fit", *words]) == 0
    run = tmp_path / "runs/run"
    header, *lines = (run / "metrics.csv").read_text().splitlines()
    assert {"train/contrast", "train/saliency", "val/contrast", "val/saliency", "health/replaced"} <= set(
        header.split(",")
    )
    assert lines
    assert "photographs of an epoch were replaced by others" in caplog.text
    assert "09.png" in caplog.text or "10.png" in caplog.text
    assert "11.png: its target" in caplog.text
    best = read_checkpoint(run / "checkpoints/best.ckpt")["state_dict"]
    assert not any(name.startswith("backbone.") for name in best)
    torch.testing.assert_close(normalize(best["queue.entries"], dim=1), best["queue.entries"])
    words = ["--run", str(run), "--images", str(data / "photos"), "--output", str(tmp_path / "out")]
    assert main(["predict", *words]) == 0
    written = np.asarray(Image.open(tmp_path / "out/soft/00.png")) / 255
    np.testing.assert_allclose(load_run(run).masks(data / "photos/00.png"), written, rtol=0, atol=1 / 255)
    _test_prints_figures_of_five_seeds(data, run, capsys)


def _test_prints_figures_of_five_seeds(data, run, capsys):
    words = ["--run", str(run), "--data", str(data / "photos"), "--data.labels", str(data / "labels")]
    words += ["--model.semantic.num_classes", "3", "--model.test_size", "64"]
    words += ["--data.bank", str(data / "bank"), "--data.probe", str(data / "bank"), "--model.probe.epochs", "2"]
    words += ["--model.semantic.overclusters", "6", "--model.probe.crf", "true"]
    shutil.copytree(data / "photos", data / "bank")
    (data / "bank/11.png").write_bytes(b"")
    capsys.readouterr()
    with pytest.warns(UserWarning, match="photographs left out") as warned:
        assert main(["test", *words]) == 0
    left_out = f"photographs left out, empty file: 1 ({data / 'bank/11.png'})"
    assert sum(left_out in str(each.message) for each in warned) == 2  # of the bank and of the probe
    assert "k-means mIoU" in capsys.readouterr().out
    result = json.loads((run / "test/photos-maskcontrast.json").read_text())
    assert result["images"] == 12 and result["protocol"]["clusters"] == 2
    assert result["protocol"]["overclusters"] == 6
    assert result["protocol"]["seeds"] == [1234, 1235, 1236, 1237, 1238]
    for row in ("mask", "untrained features"):
        assert 0 < result["rows"][row]["kmeans_miou"] <= 1
        assert 0 < result["rows"][row]["overclustering_miou_matched"] < result["rows"][row]["overclustering_miou"] <= 1
        # Every photograph is its own nearest one in the bank, so that labels are wrong where masks are.
        assert result["rows"][row]["retrieval_miou"] == result["rows"][row]["retrieval_miou_present"]
    assert 0 < result["rows"]["mask"]["linear_miou"] <= 1
    assert 0 < result["rows"]["mask"]["linear_crf_miou"] <= 1
    empty = {"path": str(data / "bank/11.png"), "reason": "empty file"}
    assert result["skipped"] == [empty | {"of": "data.bank"}, empty | {"of": "data.probe"}]
    assert result["metrics"] == result["rows"]["mask"]
    assert main(["test", *words[:4], "--data.masks", str(data / "masks"), "--max_bad_share", "0.5"]) == 0
    assert "iou" in json.loads((run / "test/photos.json").read_text())["metrics"]


def test_a_run_stopped_within_an_epoch_ends_with_the_weights_of_one_in_one_go(data, whole_and_resumed):
    more = ["--model.freeze", "stem", "--model.trained_blocks", "1", "--model.backbone_lr", "0.1"]
    words = _words(data, "--trainer.max_epochs", "2", "--save_every", "1", *more)
    whole, resumed = whole_and_resumed(MaskContrast, words)
    assert resumed["state_dict"].keys() == whole["state_dict"].keys()
    assert all(torch.equal(value, resumed["state_dict"][name]) for name, value in whole["state_dict"].items())
    assert resumed["lr_schedulers"] == whole["lr_schedulers"]
    assert resumed["global_step"] == whole["global_step"] == 4


def test_features_of_a_photograph_are_those_of_its_square_with_whole_patches():
    module = _small(test_size=40).eval()
    photo = torch.randint(256, (3, 60, 90), dtype=torch.uint8)
    square = torch.from_numpy(np.array(to_pil_image(photo).resize((48, 48), Image.Resampling.BICUBIC)))
    output = module(to_input(square.permute(2, 0, 1)[None]))
    rows = module.embedded(photo)
    torch.testing.assert_close(rows["mask"].features, output.embedding[0], rtol=0, atol=0.02)
    torch.testing.assert_close(rows["mask"].saliency, output.enlarged(48, 48).saliency[0], rtol=0, atol=0.02)
    assert torch.equal(rows["untrained features"].saliency, rows["mask"].saliency > 0.5)
    assert rows["untrained features"].features.shape == (192, 3, 3)
    assert list(_small(freeze="stem").eval().embedded(photo)) == ["mask"]


@pytest.mark.parametrize("value", [0, 255])
def test_a_run_whose_masks_are_all_empty_or_full_stops(tmp_path, monkeypatch, capsys, value):
    monkeypatch.chdir(tmp_path)
    for folder, gray in (("photos", 90), ("masks", value)):
        (tmp_path / folder).mkdir()
        for number in range(5):
            Image.new("RGB" if folder == "photos" else "L", (40, 32), gray).save(tmp_path / folder / f"{number}.png")
    words = ["--model.backbone", "descriptor", "--data.train", "photos", "--data.masks", "masks", "--test", "none"]
    words += ["--data.size", "32", "--data.resize", "32", "--data.batch_size", "2", "--model.queue", "4"]
    words += ["--data.num_workers", "0", "--trainer.max_epochs", "2"]
    assert main(["fit", "--config", "maskcontrast_vit", *words]) == 2
    assert "Nothing to learn: no mask of the 4 photographs of an epoch" in capsys.readouterr().err
