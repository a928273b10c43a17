import pytest
import torch
import torch.distributed as dist
from PIL import Image

from segtricks.data import IMAGENET_MEAN, IMAGENET_STD
from segtricks.data.sample import SegmentationDataset
from segtricks.scoring.linear_probe import ProbeRecipe, _ProbeItems, score_linear_probe, train_linear_probe

COLOURS = ((20, 20, 20), (220, 30, 30), (30, 220, 30))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Squares of the two kinds' colours on gray, and a last photograph that is damaged."""
    folder = tmp_path_factory.mktemp("probe")
    images, masks = [], []
    for number in range(8):
        kind = 1 + number % 2
        image, labels = Image.new("RGB", (48, 40), COLOURS[0]), Image.new("L", (48, 40), 0)
        box = (8 + number, 10, 32 + number, 30)
        image.paste(COLOURS[kind], box)
        labels.paste(kind, box)
        labels.putpixel((0, 0), 255)
        images.append(folder / f"{number}.png")
        masks.append(folder / f"{number}-labels.png")
        image.save(images[-1])
        labels.save(masks[-1])
    images[-1].write_bytes(b"")
    return SegmentationDataset("squares", images, masks)


def _colours(images):
    """Features that hold the class: the colours of blocks of 4 pixels."""
    rgb = images * torch.tensor(IMAGENET_STD)[:, None, None] + torch.tensor(IMAGENET_MEAN)[:, None, None]
    return torch.nn.functional.avg_pool2d(rgb, 4)


RECIPE = ProbeRecipe(size=64, epochs=12, decay_after=9, batch_size=4, lr=2.0)


def test_classes_that_the_features_hold_are_found(dataset):
    left_out = {}
    with pytest.warns(UserWarning, match=r"squares: photographs left out, empty file: 1 \(.*7\.png\)"):
        probe = train_linear_probe(_colours, 3, dataset, 3, RECIPE, left_out=left_out)
    scores, skipped = score_linear_probe(_colours, probe, dataset, 64)
    assert scores["miou"] > 0.85
    assert skipped == list(left_out.items()) == [(str(dataset.images[-1]), "empty file")]


def test_a_crf_gives_single_wrong_pixels_the_class_of_those_around(dataset):
    def noisy(images):
        generator = torch.Generator().manual_seed(0)
        return _colours(images) + torch.randn(1, 3, 16, 16, generator=generator) * 0.3

    probe = train_linear_probe(_colours, 3, dataset, 3, RECIPE)
    plain, _ = score_linear_probe(noisy, probe, dataset, 64)
    refined, skipped = score_linear_probe(noisy, probe, dataset, 64, crf=True)
    assert refined["miou"] > plain["miou"] + 0.05
    assert len(skipped) == 1


def test_features_of_nothing_find_the_background_alone(dataset):
    probe = train_linear_probe(lambda images: torch.zeros(len(images), 3, 4, 4), 3, dataset, 3, RECIPE)
    assert score_linear_probe(lambda images: torch.zeros(1, 3, 4, 4), probe, dataset, 64)[0]["per_class"][1:].sum() == 0


def test_a_probe_is_scored_on_the_whole_set_without_waiting_for_other_processes(dataset, tmp_path, monkeypatch):
    if not dist.is_gloo_available():
        pytest.skip("this torch has no gloo")

    def refuse(*args, **options):
        raise RuntimeError("No backend type associated with device type cpu")

    probe = torch.nn.Conv2d(3, 3, 1)
    alone, _ = score_linear_probe(_colours, probe, dataset, 64)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        monkeypatch.setattr(dist, "all_gather", refuse)
        among_others, _ = score_linear_probe(_colours, probe, dataset, 64)
    finally:
        dist.destroy_process_group()
    assert torch.equal(among_others["per_class"], alone["per_class"])


def test_two_trainings_with_one_seed_are_equal_and_with_another_are_not(dataset):
    recipes = [ProbeRecipe(size=32, epochs=1, seed=seed) for seed in (0, 0, 1)]
    first, again, other = (train_linear_probe(_colours, 3, dataset, 3, recipe).weight for recipe in recipes)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_what_comes_in_from_outside_is_black_background_and_views_change_with_the_epoch(dataset):
    items = _ProbeItems(dataset, 64, ProbeRecipe(scales=(0.5, 0.5), angle=0.0))
    item = items[1]
    assert item["image"][:, 0, 0].tolist() == [0, 0, 0]
    assert item["labels"][0].unique().tolist() == [0]
    assert set(item["labels"].unique().tolist()) <= {0, 2, 255}
    items = _ProbeItems(dataset, 64, ProbeRecipe())
    before = items[1]["image"]
    items.epoch = 1
    assert not torch.equal(items[1]["image"], before)


def test_image_and_labels_of_a_view_fit(dataset):
    items = _ProbeItems(dataset, 64, ProbeRecipe())
    for epoch in range(4):
        items.epoch = epoch
        item = items[0]
        red = item["image"][0] > 120
        assert ((item["labels"] == 1) == red).float().mean() > 0.95
