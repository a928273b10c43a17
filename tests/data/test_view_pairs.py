from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import InterpolationMode, resized_crop

from segtricks.data import view_pairs
from segtricks.data.loading import Emptied, Skipped, finished
from segtricks.data.sample import SegmentationDataset
from segtricks.data.transforms import TrainTransform
from segtricks.data.view_pairs import MARGIN, BoxView, PairItems, PairTransform, collate_pairs


@pytest.fixture
def photographs(tmp_path: Path) -> SegmentationDataset:
    """Photographs of 48 x 40 pixels; red is the row and green the column of the pixel, blue its mask.

    The masks of 0 to 3 are a square in the middle, 4 is empty, 5 is full, and 6 is too small for any view.
    """
    rows, columns = np.mgrid[:40, :48]
    for name in range(7):
        mask = np.zeros((40, 48), np.uint8)
        mask[10:30, 12:36] = 255
        if name >= 4:
            mask[:] = 255 if name == 5 else 0
        if name == 6:
            mask[20, 20] = 255
        pixels = np.stack([rows * 5, columns * 5, mask], axis=-1).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        Image.fromarray(mask).save(tmp_path / f"{name}-mask.png")
    images = [tmp_path / f"{name}.png" for name in range(7)]
    masks = [tmp_path / f"{name}-mask.png" for name in range(7)]
    return SegmentationDataset("made", images, masks)


def make_items(photographs: SegmentationDataset, seed: int = 0, side: int | None = None) -> PairItems:
    transform = PairTransform(TrainTransform(24, 40, jitter_p=0.0, grayscale_p=0.0))
    return PairItems(photographs, transform, seed, side=side)


def test_boxes_are_those_that_torchvision_draws() -> None:
    image = torch.zeros(3, 40, 48)
    transform = PairTransform(TrainTransform(24, 40), (0.1, 0.5), (0.5, 2.0))
    for seed in range(20):
        view = transform.draw(image, torch.Generator().manual_seed(seed))
        torch.manual_seed(seed)
        box = RandomResizedCrop.get_params(image, [0.1, 0.5], [0.5, 2.0])
        assert (view.top, view.left, view.height, view.width) == box
        assert view.mirrored == bool(torch.rand(1) < 0.5)


def test_the_callers_random_numbers_are_left_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    PairTransform(TrainTransform(24, 40)).draw(torch.zeros(3, 40, 48), torch.Generator().manual_seed(0))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("mirrored", [False, True])
def test_image_and_mask_are_resized_as_torchvision_does_it(mirrored: bool) -> None:
    photo = torch.randint(256, (3, 40, 48), dtype=torch.uint8)
    view = BoxView(24, 3, 5, 30, 21, mirrored)
    image = resized_crop(photo, 3, 5, 30, 21, [24, 24], InterpolationMode.BILINEAR, antialias=True)
    mask = resized_crop(photo[:1], 3, 5, 30, 21, [24, 24], InterpolationMode.NEAREST_EXACT)
    # torch rounds uint8 within, torchvision at the end
    torch.testing.assert_close(view.image(photo), image.flip(-1) if mirrored else image, rtol=0, atol=1)
    assert torch.equal(view.mask(photo[:1]), mask.flip(-1) if mirrored else mask)


def test_both_views_and_their_masks_show_the_same_part(photographs: SegmentationDataset) -> None:
    """The blue channel of a photograph is its mask."""
    item = make_items(photographs)[(0, 1)]
    assert isinstance(item, dict)
    assert item["image"].shape == (2, 3, 24, 24) and item["target"].shape == (2, 1, 24, 24)
    assert not torch.equal(item["image"][0], item["image"][1])
    blue = item["image"][:, 2:]
    sure = (blue == 0) | (blue == 255)  # away from the mask's border
    assert torch.equal((blue[sure] == 255).to(torch.uint8), item["target"][sure])
    assert sure.float().mean() > 0.7


def test_a_pair_is_a_function_of_seed_epoch_and_index(photographs: SegmentationDataset) -> None:
    first = make_items(photographs)[(2, 4)]  # one that another photograph takes the place of
    torch.manual_seed(123)
    again = make_items(photographs)[(2, 4)]
    assert isinstance(first, dict) and isinstance(again, dict)
    assert torch.equal(first["image"], again["image"]) and first["path"] == again["path"]
    others = [make_items(photographs)[(3, 4)], make_items(photographs, seed=1)[(2, 4)]]
    assert not any(torch.equal(first["image"], other["image"]) for other in others)  # type: ignore[call-overload]


@pytest.mark.parametrize("side", [None, 6])
def test_every_view_has_foreground_and_background(photographs: SegmentationDataset, side: int | None) -> None:
    items = make_items(photographs, side=side)
    for epoch in range(5):
        for index in range(7):
            item = items[(epoch, index)]
            assert isinstance(item, dict)
            assert item["target"].shape == (2, 1, side or 24, side or 24)
            shares = item["target"].float().mean((1, 2, 3))
            assert ((shares > MARGIN) & (shares < 1 - MARGIN)).all()


def test_from_the_third_failure_on_another_photograph_is_drawn_each_time(
    photographs: SegmentationDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, draws = [], []
    monkeypatch.setattr(view_pairs, "_show_both", lambda masks: draws.append(len(masks)) or len(draws) > 5)
    original = PairItems._read
    monkeypatch.setattr(PairItems, "_read", lambda self, index: read.append(index) or original(self, index))
    item = make_items(photographs)[(0, 2)]
    assert isinstance(item, dict)
    assert draws == [2] * 6  # both views at once
    assert len(read) == 4 and read[0] == 2  # three draws of the first photograph, one of each other
    assert item["path"] == str(photographs.images[read[-1]])
    assert item["replaced"] == str(photographs.images[2])


def test_a_photograph_is_left_out_where_no_other_can_take_its_place(photographs: SegmentationDataset) -> None:
    item = make_items(photographs.select([4, 5]))[(0, 0)]
    assert item == Emptied(str(photographs.images[4]))


def test_a_batch_has_the_first_views_before_the_second_ones(photographs: SegmentationDataset) -> None:
    items = make_items(photographs)
    pairs = [items[(0, index)] for index in (0, 4)]
    batch = finished(collate_pairs([*pairs, Skipped("x.png", "damaged"), Emptied("y.png")], 24))
    first, second = pairs
    assert isinstance(first, dict) and isinstance(second, dict)
    expected = torch.cat([torch.stack([first["target"][i], second["target"][i]]) for i in range(2)])
    assert torch.equal(batch["target"], expected.float())
    alone = finished(collate_pairs([second], 24))
    torch.testing.assert_close(batch["image"][1::2], alone["image"])
    assert batch["path"] == [first["path"], second["path"]]
    assert batch["replaced"] == [str(photographs.images[4])]
    assert batch["skipped"] == [("x.png", "damaged")] and batch["empty"] == 1


def test_a_batch_of_nothing_has_no_pairs() -> None:
    batch = finished(collate_pairs([Skipped("x.png", "damaged")], 24))
    assert batch["image"].shape == (0, 3, 24, 24) and batch["target"].shape == (0, 1, 24, 24)
    assert batch["path"] == batch["replaced"] == []
