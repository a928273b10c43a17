import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import cross_entropy, grid_sample, interpolate, normalize

from segtricks import load_run
from segtricks.cli import main
from segtricks.data import read_image
from segtricks.data.label_store import Store
from segtricks.data.transforms import to_input
from segtricks.errors import UserError
from segtricks.methods import Stego
from segtricks.methods.stego import PRESETS, largest_of, others_of
from segtricks.refine import dense_crf_labels
from segtricks.scoring.label_maps import LabelMapProtocol

TINY = {"backbone": "vit_tiny_patch16_224", "pretrained": False}


def _small(**options):
    return Stego(**(TINY | {"code_dim": 6, "num_clusters": 4, "test_size": 32} | options))


def test_losses_equal_the_first_implementation(golden, monkeypatch):
    given = {name: torch.from_numpy(array) for name, array in np.load(golden / "u2seg_stego.npz").items()}
    module = Stego("descriptor", dropout=0.0, negatives=3, preset="own")
    assert PRESETS["own"] == (module.weights, module.shifts) == ((0.67, 0.25, 0.63), (0.18, 0.12, 0.46))
    codes = torch.cat([given["code"], given["code_pos"]])
    monkeypatch.setattr(module.head, "forward", lambda features: codes)
    points, orders = iter([given["coords"], given["coords_pos"]]), iter(given["permutations"])
    monkeypatch.setattr(module, "_points", lambda *_: next(points))
    monkeypatch.setattr("segtricks.methods.stego.others_of", lambda *_: next(orders))
    terms, cosines, code = module.losses(given["features"], given["features_pos"])
    for pair, name in {"self": "intra", "knn": "inter", "rand": "neg"}.items():
        torch.testing.assert_close(terms[pair], given[name], rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(cosines[f"codes_{pair}"], given[f"{name}_similarity_mean"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(module.total(terms), given["total"], rtol=1e-5, atol=1e-7)
    assert torch.equal(code, given["code"])


def test_probes_teach_the_head_nothing_and_ignore_pixels_without_a_class():
    module = _small(linear_probe=True, semantic=LabelMapProtocol(3))
    code = torch.randn(2, 6, 4, 4, requires_grad=True)
    labels = torch.randint(3, (2, 8, 8))
    labels[0] = 255
    terms = module.probe_losses(code, labels)
    logits = interpolate(module.linear_probe(code), (8, 8), mode="bilinear")
    torch.testing.assert_close(terms["linear"], cross_entropy(logits[1:], labels[1:]))
    module.total(terms).backward()
    assert code.grad is None
    assert module.cluster_probe.clusters.grad is not None and module.linear_probe.weight.grad is not None
    assert module.probe_losses(code, labels.fill_(255))["linear"] == 0  # not nan
    assert set(module.probe_losses(code, None)) == {"cluster"}


def test_no_photograph_is_its_own_random_other():
    orders = torch.stack([others_of(5, torch.Generator().manual_seed(seed)) for seed in range(50)])
    assert not (orders == torch.arange(5)).any()
    assert len(orders.unique(dim=0)) > 20
    assert others_of(1).tolist() == [0]


def test_codes_that_are_all_alike_are_a_warning_with_the_cosines_of_the_features(caplog):
    module = _small(preset="own")
    module.on_train_end()  # no step was taken
    module._cosines = {"codes_rand": torch.tensor(0.5), "features_rand": torch.tensor(0.5)}
    module.on_train_end()
    assert caplog.text == ""
    module._cosines["codes_rand"] = torch.tensor(0.97)
    module.on_train_end()
    assert "0.97" in caplog.text and "it is 0.46, and that of the features is 0.5" in caplog.text


def test_measured_shifts_are_exceeded_by_their_shares_of_the_centred_cosines(monkeypatch):
    module = _small()
    features = torch.randn(24, 8, 6, 6) + torch.randn(24, 8, 1, 1)
    table = torch.stack([torch.arange(24).roll(3), torch.arange(24)], dim=1)
    table[5] = 5  # a photograph that cannot be read
    monkeypatch.setattr(module, "_features_at", lambda data, places: features[places])
    shifts = module.find_shifts(None, table)

    places = [place for place in range(24) if place != 5]
    generator = torch.Generator().manual_seed(0)
    here, there = (2 * torch.rand(23, 11, 11, 2, generator=generator) - 1 for _ in range(2))
    own = _points(features[places], here)
    others = (own, _points(features[table[places, 0]], there), _points(features[places].roll(1, 0), there))
    for shift, other, share in zip(shifts, others, (0.5, 0.5, 0.05), strict=True):
        cosines = np.einsum("bnc,bmc->bnm", own, other)
        centred = cosines - cosines.mean(axis=2, keepdims=True)
        centred = centred - centred.mean() + cosines.mean()
        assert (centred > shift).mean() == pytest.approx(share, abs=1e-3)


def _points(maps, points):
    """Unit vectors (B, n, C) of maps at points."""
    found = grid_sample(maps, points, align_corners=True, padding_mode="border").flatten(2)
    return normalize(found, dim=1).mT.numpy()


def test_rates_are_the_published_ones_and_the_backbone_is_frozen():
    module = _small(linear_probe=True)
    head, probes = module.new_optimizer().param_groups
    assert (head["lr"], probes["lr"]) == (5e-4, 5e-3)
    assert len(head["params"]) == 6 and len(probes["params"]) == 3
    assert not any(part.requires_grad for part in module.backbone.parameters())


def test_a_map_is_the_nearest_centre_of_the_enlarged_mean_of_code_and_mirrored_code():
    module = _small(linear_probe=True, semantic=LabelMapProtocol(3)).eval()
    photo = torch.randint(256, (3, 32, 48), dtype=torch.uint8)
    image = to_input(photo)[None]
    code = (module(image) + module(image.flip(-1)).flip(-1)) / 2
    large = interpolate(code, (50, 70), mode="bilinear", align_corners=False)
    cosines = torch.einsum("bchw,kc->bkhw", normalize(large, dim=1), normalize(module.cluster_probe.clusters, dim=1))
    found, classes = module.segment(photo, (50, 70))
    best = cosines[0].topk(2, dim=0).values
    clear = best[0] - best[1] > 1e-5
    assert torch.equal(found[clear].long(), cosines[0].argmax(dim=0)[clear]) and clear.float().mean() > 0.9
    assert (classes == module.linear_probe(large)[0].argmax(dim=0)).float().mean() > 0.99
    assert found.dtype == torch.uint8
    assert largest_of(torch.randn(300, 2, 2), (4, 4)).dtype == torch.int32


@pytest.mark.parametrize("crf", [False, True])
def test_mixed_precision_gives_equal_codes_equal_maps(crf, monkeypatch):
    module = _small(linear_probe=True, semantic=LabelMapProtocol(3), crf=crf).eval()
    photo, codes = torch.randint(256, (3, 32, 48), dtype=torch.uint8), torch.randn(2, 6, 8, 12)
    monkeypatch.setattr(module, "forward", lambda images: codes)
    exact = module.segment(photo, (200, 300))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = module.segment(photo, (200, 300))
    assert torch.equal(mixed.clusters, exact.clusters)
    assert torch.equal(mixed.classes, exact.classes)


def test_with_the_crf_a_map_is_that_of_the_enlarged_codes_and_the_photograph():
    module = _small(linear_probe=True, semantic=LabelMapProtocol(3), crf=True).eval()
    photo = torch.randint(256, (3, 32, 48), dtype=torch.uint8)
    image = to_input(photo)[None]
    code = (module(image) + module(image.flip(-1)).flip(-1)) / 2
    large = interpolate(code, (32, 48), mode="bilinear", align_corners=False)
    found, classes = module.segment(photo, (64, 96))
    cosines = torch.einsum("bchw,kc->bkhw", normalize(large, dim=1), normalize(module.cluster_probe.clusters, dim=1))
    for ours, likely in ((found, 2 * cosines), (classes, module.linear_probe(large))):
        expected = dense_crf_labels(likely[0].log_softmax(dim=0), photo.flip(0) / 255)  # BGR
        assert ours.dtype == torch.uint8
        assert torch.equal(ours.long(), expected.repeat_interleave(2, dim=0).repeat_interleave(2, dim=1))


@pytest.mark.parametrize(
    "options", [{"weights": [1.0]}, {"num_clusters": 0}, {"dropout": 1.0}, {"probe_lr": -1.0}, {"points": 0}]
)
def test_impossible_options_are_refused(options):
    with pytest.raises(UserError, match="model"):
        Stego("descriptor", **options)


def _texture(kind, size, rng):
    """One of three textures (size, size, 3), of a random place and brightness."""
    y, x = np.mgrid[:size, :size] + rng.integers(0, 8, 2)[:, None, None]
    gray = [(x // 2) % 2, ((x + y) // 4) % 2, 0.5 + 0 * x][kind] * 90 + rng.integers(60, 90)
    colour = np.array([[1, 0.9, 0.7], [0.7, 1, 0.8], [0.8, 0.8, 1]])[kind]
    return (gray[..., None] * colour + rng.normal(0, 5, (size, size, 3))).clip(0, 255)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Photographs of two of three textures, and their label maps."""
    folder = tmp_path_factory.mktemp("data")
    for name in ("photos", "labels"):
        (folder / name).mkdir()
    rng = np.random.default_rng(0)
    for number in range(18):
        first, second = rng.permutation(3)[:2]
        cut = int(rng.integers(24, 40))
        labels = np.full((64, 64), first, np.uint8)
        labels[:, cut:] = second
        photo = np.where(labels[..., None] == first, _texture(first, 64, rng), _texture(second, 64, rng))
        Image.fromarray(photo.astype(np.uint8)).save(folder / f"photos/{number:02}.png")
        Image.fromarray(labels).save(folder / f"labels/{number:02}.png")
    return folder


def _words(data, *more):
    words = ["--config", "stego", "--name", "run", "--data.train", str(data / "photos"), "--test", "none"]
    words += ["--data.size", "64", "--data.resize", "64", "--data.held_out", "2", "--data.num_workers", "0"]
    words += ["--data.batch_size", "4", "--model.backbone", "descriptor", "--model.num_clusters", "3"]
    words += ["--model.code_dim", "8", "--model.test_size", "64", "--model.semantic.num_classes", "3"]
    words += ["--model.points", "7", "--model.negatives", "2"]
    return [*words, "--trainer.accelerator", "cpu", "--trainer.log_every_n_steps", "1", *more]


def test_textures_become_clusters_without_a_label(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--trainer.max_steps", "60", "--model.shifts", "[0.6,0.5,0.75]", "--model.optimizer.lr", "2e-3"]
    assert main(["fit", *_words(data, *words)]) == 0
    run = tmp_path / "runs/run"
    header, *lines = (run / "metrics.csv").read_text().splitlines()
    names = {"train/self", "train/knn", "train/rand", "train/cluster", "val/loss"}
    names |= {f"train/{of}_{pair}" for of in ("codes", "features") for pair in ("self", "knn", "rand")}
    assert names <= set(header.split(",")) and "train/linear" not in header
    assert "nan" not in "".join(lines)
    photos = sorted((data / "photos").glob("*.png"))
    words = ["--run", str(run), "--images", str(data / "photos"), "--output", str(tmp_path / "maps"), "--page"]
    assert main(["predict", *words]) == 0
    store = Store.open(tmp_path / "maps")
    module = load_run(run)
    for photo in photos:
        labels = store.entry(photo.stem).read_labels()
        np.testing.assert_array_equal(labels, module.prediction_of(read_image(photo)).numpy())
        assert labels.shape == (64, 64) and labels.max() < 3
        assert (tmp_path / f"maps/overlay/{photo.stem}.jpg").is_file()
    assert len(store.check(photos).usable) == len(photos)  # what merging needs
    with pytest.raises(UserError, match="prediction_of"):
        module.masks(photos[0])
    words = ["--run", str(run), "--data", str(data / "photos")]
    assert main(["test", *words]) == 2
    assert "--data.labels" in capsys.readouterr().err
    assert main(["test", *words, "--data.labels", str(data / "labels")]) == 0
    result = json.loads((run / "test/photos-labels.json").read_text())
    assert result["metrics"]["cluster_accuracy"] > 0.85
    assert result["protocol"]["by"] == "count"


def test_a_run_stopped_within_an_epoch_ends_with_the_weights_of_one_in_one_go(data, whole_and_resumed, monkeypatch):
    words = _words(data, "--trainer.max_epochs", "2", "--trainer.max_steps", "-1", "--save_every", "1")
    words += ["--model.linear_probe", "true", "--data.masks", str(data / "labels")]
    find, found = Stego.find_neighbours, []
    monkeypatch.setattr(Stego, "find_neighbours", lambda module, data: found.append(1) or find(module, data))
    measure = Stego.find_shifts
    monkeypatch.setattr(Stego, "find_shifts", lambda *args: found.append(2) or measure(*args))
    whole, resumed = whole_and_resumed(Stego, words)
    assert found == [1, 2, 1, 2]  # once in each run, before its first step
    assert resumed["global_step"] == whole["global_step"] == 8
    assert not any(name.startswith("backbone.") for name in whole["state_dict"])
    for name, tensor in whole["state_dict"].items():
        assert torch.equal(resumed["state_dict"][name], tensor), name


def test_other_data_and_single_photographs_are_refused(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *_words(data, "--data", "segtricks.data.SaliencyDataModule"), "--trainer.max_steps", "1"]) == 2
    assert "NeighbourDataModule" in capsys.readouterr().err
    words = _words(data, "--data.batch_size", "1", "--trainer.max_steps", "1", "--name", "other")
    assert main(["fit", *words]) == 2
    assert "batch_size 2" in capsys.readouterr().err
