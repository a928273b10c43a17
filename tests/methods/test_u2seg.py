"""U2Seg: its schedule and draws, and a run from a store to scores and a store of predictions."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from segtricks import load_run
from segtricks.cli import main
from segtricks.data.datasets.scenes import DrawnScenes
from segtricks.data.label_entry import encode_mask, write_entry, write_labels
from segtricks.errors import UserError
from segtricks.heads.panoptic_fpn import NetworkSize
from segtricks.methods import U2Seg
from segtricks.methods.u2seg import decay, drawn_by
from segtricks.pseudo_labels import Store

SMALL = {
    "depth": 18,
    "channels": 32,
    "semantic_channels": 32,
    "hidden": 16,
    "anchor": 8,
    "level_proposals": 20,
    "proposals": 20,
    "samples": 16,
    "detections": 5,
}


def _module(**options):
    return U2Seg(3, 3, NetworkSize(**SMALL), "group", **options)


def test_the_rate_falls_where_the_published_one_does():
    steps = [0, 209_999, 210_000, 249_999, 250_000]
    assert [decay("steps", step / 270_000) for step in steps] == pytest.approx([1, 1, 0.02, 0.02, 0.0004])
    assert [decay("cosine", share) for share in (0, 0.5, 1, 1.1)] == pytest.approx([1, 0.5, 0, 0])
    assert decay("constant", 0.9) == 1


def test_draws_depend_on_their_numbers_alone_and_leave_the_generator_as_it_was():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    with drawn_by(0, 7, device=torch.device("cpu")):
        first = torch.rand(3)
    assert torch.equal(torch.rand(1), expected)
    with drawn_by(0, 7, device=torch.device("cpu")):
        assert torch.equal(torch.rand(3), first)
    with drawn_by(0, 8, device=torch.device("cpu")):
        assert not torch.equal(torch.rand(3), first)


def test_norms_are_spared_weight_decay():
    module = _module()
    groups = module.new_optimizer().param_groups
    assert [group["weight_decay"] for group in groups] == [5e-5, 0]
    norms = [part for each in module.modules() if isinstance(each, nn.GroupNorm) for part in each.parameters()]
    assert {id(part) for part in groups[1]["params"]} == {id(part) for part in norms}
    assert sum(len(group["params"]) for group in groups) == len(list(module.parameters()))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Photographs of drawn scenes, and their truth as a store; one has no instance, and one no label map."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "photos").mkdir()
    scenes = DrawnScenes(8, 64)
    for index in range(len(scenes)):
        name = f"{index:02}"
        Image.fromarray(scenes.read_image(index).permute(1, 2, 0).numpy()).save(folder / f"photos/{name}.png")
        instances, semantic, _ = scenes.read_panoptic(index)
        pairs = zip(instances.masks.numpy(), instances.labels.tolist(), strict=True)
        masks = [] if index == 1 else [encode_mask(mask, 1.0, label) for mask, label in pairs]
        if index != 2:
            write_labels(folder / "store", name, semantic[0].numpy())
        write_entry(folder / "store", name, f"{name}.png", (64, 64), masks)
    return folder


def _words(data, *more):
    words = ["--config", "u2seg_small", "--name", "run", "--data.train", str(data / "photos"), "--test", "none"]
    words += ["--data.masks", str(data / "store"), "--data.size", "64", "--data.resize", "64", "--data.held_out", "2"]
    words += ["--data.batch_size", "3", "--model.num_things", "3", "--model.num_stuff", "3"]
    words += ["--model.size", json.dumps(SMALL), "--model.min_stuff_area", "16", "--model.warmup_steps", "2"]
    return [*words, "--trainer.log_every_n_steps", "1", *more]


def test_fit_test_and_predict_from_a_store(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *_words(data, "--trainer.max_epochs", "2")]) == 0
    run = tmp_path / "runs/run"
    header = (run / "metrics.csv").read_text().splitlines()[0].split(",")
    terms = {"objectness", "proposals", "classes", "boxes", "masks", "semantic", "loss"}
    assert {f"{stage}/{term}" for stage in ("train", "val") for term in terms} <= set(header)

    words = ["--run", str(run), "--data", str(data / "photos"), "--data.masks", str(data / "store")]
    assert main(["test", *words]) == 0
    content = json.loads((run / "test/photos-strict.json").read_text())
    assert {"box_ap50", "mask_ar100", "pq", "pq_things", "pq_stuff"} <= set(content["metrics"])
    assert list(content["rows"]) == ["mask", "whole image", "ellipse", "twenty boxes"]
    assert content["protocol"]["mapping"] == "hungarian"
    assert "mask AP50" in capsys.readouterr().out
    assert main(["test", *words, "--protocol", "u2seg"]) == 0
    assert (run / "test/photos-u2seg.json").is_file()

    out = tmp_path / "out"
    assert main(["predict", "--run", str(run), "--images", str(data / "photos"), "--output", str(out), "--boxes"]) == 0
    module = load_run(run)
    prediction = module.prediction_of(DrawnScenes(8, 64).read_image(0))
    entry = Store.open(out).entry("00")
    np.testing.assert_array_equal(entry.arrays(), prediction.instances.masks.numpy())
    assert [mask.class_id for mask in entry.masks] == prediction.instances.labels.tolist()
    segments, categories = prediction.panoptic
    colours = np.asarray(Image.open(out / "panoptic/00.png")).astype(int) @ [1, 256, 65536]
    numbers = torch.cat([torch.zeros(1).long(), categories * 1000 + torch.arange(1, len(categories) + 1)])
    np.testing.assert_array_equal(colours, numbers[segments])
    labels = np.asarray(Image.open(out / "labels/00.png"))
    np.testing.assert_array_equal(labels == 255, segments == 0)
    boxes = json.loads((out / "boxes.json").read_text())
    used = {item["category_id"] for item in boxes["annotations"]}
    assert used <= {kind["id"] for kind in boxes["categories"]}


def test_classes_that_the_network_does_not_have_are_named(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("num_things", "num_stuff"):
        assert main(["fit", *_words(data, f"--model.{name}", "1", "--name", name)]) == 2
        assert f"Next: pass --model.{name}" in capsys.readouterr().err


def test_a_run_stopped_within_an_epoch_ends_with_the_weights_of_one_in_one_go(data, whole_and_resumed):
    words = _words(data, "--trainer.max_epochs", "2", "--save_every", "1")
    whole, resumed = whole_and_resumed(U2Seg, words)
    torch.testing.assert_close(resumed["state_dict"], whole["state_dict"], rtol=0, atol=0)


def test_unknown_choices_are_refused():
    with pytest.raises(UserError, match="strict, u2seg"):
        _module(protocol="fullres")
