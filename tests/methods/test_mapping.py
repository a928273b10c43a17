"""``segtricks test`` on the layouts of COCO 2017, COCO-Stuff and Cityscapes, and classes found on training images."""

import json

import pytest

from segtricks.cli import main
from segtricks.data.label_entry import encode_mask, write_entry, write_labels

from ..data.datasets import layouts

pytestmark = pytest.mark.filterwarnings("ignore:.*were published:UserWarning")

TINY = {"depth": 18, "channels": 32, "semantic_channels": 32, "hidden": 16, "anchor": 8}
TINY |= {"level_proposals": 20, "proposals": 20, "samples": 16, "detections": 5}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Train and val of all layouts, of different scenes."""
    root = tmp_path_factory.mktemp("sets")
    for split, start in (("train", 4), ("val", 0)):
        for write in (layouts.coco17, layouts.coco17_panoptic, layouts.coco_stuff27, layouts.cityscapes):
            write(root, split, layouts.scenes(4, start))
    return root


def _fit(folder, root, config, *words):
    """A run that was trained for a moment."""
    common = ["--config", config, "--data.train", str(root / "coco/train2017"), "--test", "none", "--name", config]
    common += ["--data.size", "64", "--data.resize", "64", "--data.held_out", "1", "--data.batch_size", "2"]
    common += ["--trainer.max_steps", "2", "--trainer.accelerator", "cpu", "--data.num_workers", "0"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["fit", *common, *words]) == 0
    return folder / "runs" / config


@pytest.fixture(scope="module")
def u2seg(tmp_path_factory, root):
    """A run of U2Seg with 3 kinds of things and of stuff, of the true masks and maps of its photographs."""
    folder = tmp_path_factory.mktemp("u2seg")
    drawn = layouts.scenes(4, 4)
    for index, name in enumerate(layouts.stems(4)):
        instances, semantic, _ = drawn.read_panoptic(index)
        pairs = zip(instances.masks.numpy(), instances.labels.tolist(), strict=True)
        write_labels(folder / "store", name, semantic[0].numpy())
        write_entry(
            folder / "store", name, f"{name}.jpg", (64, 64), [encode_mask(mask, 1, kind) for mask, kind in pairs]
        )
    words = ["--model.num_things", "3", "--model.num_stuff", "3", "--model.size", json.dumps(TINY)]
    words += ["--data.masks", str(folder / "store"), "--model.min_stuff_area", "1", "--model.warmup_steps", "0"]
    return _fit(folder, root, "u2seg_small", *words)


@pytest.fixture(scope="module")
def stego(tmp_path_factory, root):
    """A run of STEGO with 4 clusters."""
    words = ["--model.backbone", "descriptor", "--model.num_clusters", "4", "--model.code_dim", "8"]
    return _fit(tmp_path_factory.mktemp("stego"), root, "stego", *words, "--model.test_size", "64")


def _test(run, root, *words):
    return main(["test", "--run", str(run), "--data.root", str(root), "--data.num_workers", "0", "--data", *words])


def _result(run, name):
    return json.loads((run / f"test/{name}.json").read_text())


def test_u2seg_is_scored_on_every_layout(u2seg, root, capsys):
    assert _test(u2seg, root, "coco17-val", "coco17-panoptic-val", "coco-stuff27-val", "cityscapes-val") == 0
    quality = {"pq", "sq", "rq", "pq_stuff", "semantic_miou", "semantic_accuracy"}
    detected = {"box_ap", "box_ap50", "box_ar100", "mask_ap", "mask_ap50", "mask_ar100"}
    assert set(_result(u2seg, "coco17-val-strict")["metrics"]) == detected
    for name in ("coco17-panoptic-val", "cityscapes-val"):
        assert quality | detected <= set(_result(u2seg, f"{name}-strict")["metrics"])
    stuff = _result(u2seg, "coco-stuff27-val-labels")
    assert {"cluster_miou", "cluster_miou_majority"} <= set(stuff["metrics"])
    assert "cluster_miou_published" not in stuff["metrics"]
    assert (stuff["protocol"]["num_classes"], stuff["images"]) == (27, 3)
    out = capsys.readouterr().out
    assert "PQ stuff" in out and "cluster mIoU" in out


def test_classes_of_u2seg_are_found_on_training_images(u2seg, root, capsys):
    words = ["--protocol", "train", "--data.mapping", "coco17-panoptic-train[:3]"]
    assert _test(u2seg, root, "coco17-panoptic-val", *words) == 0
    protocol = _result(u2seg, "coco17-panoptic-val-train")["protocol"]
    assert (protocol["mapped_on"], protocol["mapping_set"]) == ("train", "coco17-panoptic-train[:3]")
    assert _test(u2seg, root, "coco-stuff27-val", "--data.mapping", "coco-stuff27-train") == 0
    found = _result(u2seg, "coco-stuff27-val-labels")
    assert "cluster_miou_train" in found["metrics"]
    assert found["protocol"]["mapping_set"] == "coco-stuff27-train"
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["coco17-panoptic-val", "--protocol", "train"], "--data.mapping, for example coco17-panoptic-train"),
        (["coco17-panoptic-val", "--data.mapping", "coco17-panoptic-train"], "pass --protocol train"),
        (
            ["cityscapes-val", "--protocol", "train", "--data.mapping", "coco17-panoptic-train"],
            "does not have the classes of cityscapes-val",
        ),
        (
            ["coco17-panoptic-val", "--protocol", "train", "--data.mapping", "coco17-panoptic-val[:2]"],
            "2 of the 2 images of coco17-panoptic-val[:2] are also scored",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_with_what_to_type(u2seg, root, capsys, words, said):
    assert _test(u2seg, root, *words) == 2
    assert said in capsys.readouterr().err


def test_stego_is_scored_with_the_classes_of_the_set(stego, root, capsys):
    words = ["coco-stuff27-val", "--data.mapping", "coco-stuff27-train"]
    assert _test(stego, root, *words) == 0
    found = _result(stego, "coco-stuff27-val-labels")
    names = {f"cluster_miou{suffix}" for suffix in ("", "_majority", "_train", "_published")}
    assert names <= set(found["metrics"])
    assert found["protocol"]["num_classes"] == 27
    assert found["metrics"]["cluster_miou_majority"] >= found["metrics"]["cluster_miou"]
    assert "cluster mIoU, train" in capsys.readouterr().out
    assert _test(stego, root, "cityscapes-val") == 0
    assert "cluster_miou_train" not in _result(stego, "cityscapes-val-labels")["metrics"]
