import multiprocessing
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
import torch
from numpy.random import SeedSequence

from segtricks.data import loading
from segtricks.data.datasets.folder import ImageFolder
from segtricks.data.datasets.synthetic import SyntheticShapes
from segtricks.data.loading import (
    CropItems,
    Emptied,
    Skipped,
    TrainItems,
    WholeItems,
    collate_lists,
    collate_stacked,
    finished,
)
from segtricks.data.sample import Instances, Panoptic, SegmentationDataset
from segtricks.data.store import ImageCache
from segtricks.data.transforms import CenterCropTransform, TrainTransform, fit_short_side, normalize


@pytest.fixture
def shapes() -> SyntheticShapes:
    return SyntheticShapes(6, 40)


def test_a_view_is_a_function_of_seed_epoch_and_index(shapes: SyntheticShapes) -> None:
    items = TrainItems(shapes, TrainTransform(32), seed=5)
    first = items[(2, 3)]
    torch.manual_seed(123)
    items[(0, 0)]
    assert torch.equal(first["image"], items[(2, 3)]["image"])  # type: ignore[call-overload]
    others = [items[(1, 3)], TrainItems(shapes, TrainTransform(32), seed=6)[(2, 3)]]
    assert not any(torch.equal(first["image"], other["image"]) for other in others)  # type: ignore[call-overload]
    assert np.array_equal(first["colors"], items[(2, 3)]["colors"])  # type: ignore[call-overload]
    assert not all(np.array_equal(first["colors"], other["colors"]) for other in others)  # type: ignore[call-overload]


def test_an_item_is_the_view_that_its_transform_gives(shapes: SyntheticShapes) -> None:
    transform = TrainTransform(32)
    items = [TrainItems(shapes, transform, seed=5)[(1, index)] for index in range(6)]
    batch = finished(collate_stacked(items, ("image", "colors", "path"), 32))
    mixed = [SeedSequence([5, 1, index]).generate_state(1, np.uint64)[0] for index in range(6)]
    generators = [torch.Generator().manual_seed(int(seed)) for seed in mixed]
    views = [transform(shapes.read_image(index), generator) for index, generator in enumerate(generators)]
    torch.testing.assert_close(batch["image"], torch.stack(views), atol=1e-5, rtol=0)


def test_the_callers_random_numbers_are_left_alone(shapes: SyntheticShapes) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    TrainItems(shapes, TrainTransform(32), seed=5)[(0, 0)]
    assert torch.equal(torch.rand(3), expected)


def test_a_bare_index_means_epoch_0(shapes: SyntheticShapes) -> None:
    items = TrainItems(shapes, TrainTransform(32), seed=5)
    assert torch.equal(items[4]["image"], items[(0, 4)]["image"])  # type: ignore[call-overload]


def test_training_never_opens_masks(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "photos/a.jpg")
    mask = write(tmp_path / "masks/a.png", mask=True)
    dataset = ImageFolder(tmp_path / "photos", tmp_path / "masks")
    mask.unlink()
    item = TrainItems(dataset, TrainTransform(8), seed=0)[(0, 0)]
    assert set(item) == {"image", "colors", "path"}  # type: ignore[arg-type]


def test_broken_files_become_skipped_items(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    path = write(tmp_path / "a.jpg")
    path.write_bytes(b"")
    dataset = ImageFolder(tmp_path)
    crop = CenterCropTransform(8)
    for items in (
        TrainItems(dataset, TrainTransform(8), 0),
        CropItems(dataset, crop),
        WholeItems(dataset, partial(fit_short_side, size=320)),
    ):
        assert items[0] == Skipped(str(path), "empty file")


def test_a_mask_of_another_size_skips_its_image(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "photos/a.jpg", size=(12, 8))
    write(tmp_path / "masks/a.png", mask=True, size=(6, 4))
    item = WholeItems(ImageFolder(tmp_path / "photos", tmp_path / "masks"), partial(fit_short_side, size=320))[0]
    assert isinstance(item, Skipped)
    assert "12 x 8" in item.reason
    assert "6 x 4" in item.reason


def test_crop_items_hold_the_middle_and_a_mask_of_0_and_1(shapes: SyntheticShapes) -> None:
    crop = CenterCropTransform(32, 36)
    item = CropItems(shapes, crop)[1]
    assert torch.equal(item["image"], crop(shapes.read_image(1)))  # type: ignore[call-overload]
    assert torch.equal(item["mask"], (crop(shapes.read_mask(1)) >= 128).float())  # type: ignore[call-overload, arg-type]
    assert item["mask"].unique().tolist() == [0, 1]  # type: ignore[call-overload]
    assert item["mask"].shape == (1, 32, 32)  # type: ignore[call-overload]


@pytest.mark.parametrize("bad", ["proportions", "text", "nothing"])
def test_a_mask_that_is_no_good_costs_a_held_out_photograph_its_target_alone(tmp_path: Path, write, bad) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "photos/a.jpg", size=(12, 8))
    write(tmp_path / "masks/a.png", mask=True, size=(8, 8))
    dataset = ImageFolder(tmp_path / "photos", tmp_path / "masks")
    if bad == "text":
        (tmp_path / "masks/a.png").write_text("no image")
    elif bad == "nothing":
        (tmp_path / "masks/a.png").unlink()
    item = CropItems(dataset, CenterCropTransform(8))[0]
    assert item["image"].shape == (3, 8, 8)  # type: ignore[call-overload]
    assert item["mask"].shape == (1, 8, 8)  # type: ignore[call-overload]
    assert item["mask"].isnan().all()  # type: ignore[call-overload]


def test_crops_from_the_cache_are_the_same(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    for i in range(4):
        write(tmp_path / f"photos/{i}.jpg", size=(60 + i, 50), seed=i)
        write(tmp_path / f"masks/{i}.png", mask=True, size=(60 + i, 50))
    dataset = ImageFolder(tmp_path / "photos", tmp_path / "masks")
    cache = ImageCache(tmp_path / "cache", 34)
    train = [TrainItems(dataset, TrainTransform(32, 34), 0, kept) for kept in (None, cache, cache)]
    middle = [CropItems(dataset, CenterCropTransform(32, 34), kept) for kept in (None, cache)]
    for index in range(4):
        for plain, *others in (train, middle):
            for kept in others:
                for name in ("image", "path"):
                    assert str(kept[index][name]) == str(plain[index][name])  # type: ignore[call-overload]
                assert torch.equal(kept[index]["image"], plain[index]["image"])  # type: ignore[call-overload]
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 4


def test_whole_items_keep_photo_and_mask_at_their_own_size(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "photos/a.jpg", size=(120, 80))
    write(tmp_path / "masks/a.png", mask=True, size=(120, 80))
    dataset = ImageFolder(tmp_path / "photos", tmp_path / "masks")
    item = WholeItems(dataset, partial(fit_short_side, size=32, multiple=8))[0]
    assert item["image"].shape == (3, 32, 48)  # type: ignore[call-overload]
    assert torch.equal(item["photo"], dataset.read_image(0))  # type: ignore[call-overload]
    assert torch.equal(item["mask"], dataset.read_mask(0))  # type: ignore[call-overload, arg-type]


def test_the_crop_cuts_all_three_alike(shapes: SyntheticShapes) -> None:
    crop = CenterCropTransform(32, 36)
    item = WholeItems(shapes, partial(fit_short_side, size=32, multiple=8), crop)[0]
    assert torch.equal(item["photo"], crop(shapes.read_image(0)))  # type: ignore[call-overload]
    assert torch.equal(item["mask"], crop(shapes.read_mask(0)))  # type: ignore[call-overload]
    assert torch.equal(item["image"], item["photo"])  # type: ignore[call-overload]


def test_collating_leaves_broken_files_out_and_lists_them() -> None:
    items = [
        {"image": torch.ones(3, 2, 2, dtype=torch.uint8), "path": "a"},
        Skipped("b", "empty file"),
        {"image": torch.zeros(3, 2, 2, dtype=torch.uint8), "path": "c"},
    ]
    stacked = collate_stacked(items, ("image", "path"), 2)
    assert stacked["image"][:, 0, 0, 0].tolist() == [1, 0]
    assert stacked["path"] == ["a", "c"]
    assert stacked["skipped"] == [("b", "empty file")]
    assert type(stacked["skipped"][0]) is tuple
    lists = collate_lists(items, ("image", "path"))
    assert [image.shape for image in lists["image"]] == [(3, 2, 2)] * 2


def test_a_batch_of_broken_files_is_empty_but_whole() -> None:
    broken = [Skipped("a", "empty file"), Skipped("b", "empty file")]
    stacked = collate_stacked(broken, ("image", "colors", "mask", "path"), 16)
    assert (stacked["image"].shape, stacked["mask"].shape) == ((0, 3, 16, 16), (0, 1, 16, 16))
    assert finished(stacked)["image"].shape == (0, 3, 16, 16)
    assert finished(stacked)["image"].dtype == torch.float32
    assert stacked["path"] == []
    assert len(stacked["skipped"]) == 2
    assert len(collate_lists(broken, ("image", "photo", "path"))["photo"]) == 0


def test_finishing_in_the_worker_or_on_the_device_gives_the_same_numbers(shapes: SyntheticShapes) -> None:
    items = [TrainItems(shapes, TrainTransform(32), seed=5)[index] for index in range(6)]
    arguments = items, ("image", "colors", "path"), 32
    there, here = collate_stacked(*arguments, finish=True), finished(collate_stacked(*arguments))
    assert set(there) == set(here) == {"image", "path", "skipped"}
    assert torch.equal(there["image"], here["image"])
    assert finished(there)["image"] is there["image"]


def test_finished_images_are_normalised_and_the_rest_is_left_alone() -> None:
    photo = torch.arange(48, dtype=torch.uint8).view(3, 4, 4)
    expected = normalize(photo.float() / 255)
    whole = finished({"image": [photo], "photo": [photo], "path": ["a"], "skipped": []})
    torch.testing.assert_close(whole["image"][0], expected)
    assert whole["photo"][0] is photo
    mask = torch.ones(1, 1, 4, 4)
    middle = finished({"image": photo[None], "mask": mask, "path": ["a"], "skipped": []})
    torch.testing.assert_close(middle["image"], expected[None])
    assert middle["mask"] is mask


class Drawn(SegmentationDataset):
    """One gray photograph of 40 x 20 pixels with a given target."""

    def __init__(self, target: torch.Tensor | Instances | Panoptic) -> None:
        super().__init__("drawn", [Path("a.png")], [Path("a-target.png")])
        self.target = target

    def read_image(self, index: int) -> torch.Tensor:
        return torch.full((3, 20, 40), 90, dtype=torch.uint8)

    def read_target(self, index: int) -> torch.Tensor | Instances | Panoptic:
        return self.target


def items_of(target: torch.Tensor | Instances | Panoptic) -> list[TrainItems | CropItems]:
    dataset = Drawn(target)
    return [
        TrainItems(dataset, TrainTransform(16, 16, flip=0), seed=0, targets=True),
        CropItems(dataset, CenterCropTransform(16, 16), targets=True),
    ]


def test_masks_are_cut_to_0_and_1_at_128() -> None:
    mask = torch.full((1, 20, 40), 127, dtype=torch.uint8)
    mask[:, :10] = 128
    for items in items_of(mask):
        target = items[0]["target"]  # type: ignore[call-overload]
        assert (target.shape, target.dtype) == ((1, 16, 16), torch.uint8)
        assert target[0, :8].eq(1).all()
        assert target[0, 8:].eq(0).all()


@pytest.mark.parametrize(("border", "whole"), [(127, True), (128, False)])
def test_masks_without_foreground_are_left_out_and_named_if_the_whole_has_none(border: int, whole: bool) -> None:
    mask = torch.full((1, 20, 40), 127, dtype=torch.uint8)
    mask[..., 0] = border  # in neither crop
    for items in items_of(mask):
        assert items[0] == Emptied("a.png", whole)
        batch = collate_stacked([items[0], Skipped("b", "empty file")], ("image", "target", "path"), 16, "mask")
        assert (batch["empty"], batch["skipped"], batch["path"]) == (1, [("b", "empty file")], [])
        assert batch["without_mask"] == ["a.png"] * whole
        assert (batch["target"].shape, batch["target"].dtype) == ((0, 1, 16, 16), torch.uint8)


def test_label_maps_are_integers_without_a_channel() -> None:
    for items in items_of(torch.full((1, 20, 40), 300)):
        batch = collate_stacked([items[0], items[0]], ("image", "target"), 16, "labels")
        assert torch.equal(batch["target"], torch.full((2, 16, 16), 300))
        assert "empty" not in batch
        assert finished(batch)["target"].dtype == torch.int64
    assert collate_stacked([], ("image", "target"), 16, "labels")["target"].shape == (0, 16, 16)


def test_instances_are_lists_without_those_that_the_crop_lost() -> None:
    masks = torch.zeros(3, 20, 40, dtype=torch.bool)
    masks[0] = masks[2, :, 15:25] = True
    masks[1, :, :1] = True  # not in the middle
    objects = Instances(masks, torch.tensor([4, 5, 6]), torch.tensor([0.1, 0.2, 0.3]))
    _, middle = items_of(objects)
    batch = finished(collate_stacked([middle[0]], ("image", "target"), 16, "instances"))
    (found,) = batch["target"]
    assert found.labels.tolist() == [4, 6]
    assert found.scores.tolist() == pytest.approx([0.1, 0.3])
    assert (found.masks.shape, found.masks.dtype) == ((2, 16, 16), torch.bool)
    _, middle = items_of(Panoptic(objects, torch.ones(1, 20, 40, dtype=torch.int64)))
    (found,) = finished(collate_stacked([middle[0]], ("image", "target"), 16, "panoptic"))["target"]
    assert found.instances.labels.tolist() == [4, 6]
    assert found.semantic.shape == (1, 16, 16)


def test_targets_of_other_proportions_are_skipped_and_smaller_ones_are_enlarged() -> None:
    for items in items_of(torch.full((1, 20, 30), 255, dtype=torch.uint8)):
        item = items[0]
        assert isinstance(item, Skipped)
        assert item.reason == "its target a-target.png has other proportions: 30 x 20 pixels (width x height)"
    for items in items_of(torch.full((1, 10, 20), 255, dtype=torch.uint8)):
        assert items[0]["target"].all()  # type: ignore[call-overload]


class Large(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Items of 12 MB, and what they are read by."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        pixels = torch.full((3, 2000, 2000), index, dtype=torch.uint8)
        return {"image": pixels, "by": torch.tensor(os.getpid())}


def read(workers: int) -> list[dict[str, torch.Tensor]]:
    batches = []
    for batch in loading.make_loader(Large(), lambda items: items[0], workers, batch_size=1):
        batches.append({name: value.clone() for name, value in batch.items()} | {"shared": batch["image"].is_shared()})
    return batches


@pytest.mark.parametrize("room", [True, False])
def test_workers_hand_over_the_same_with_and_without_shared_memory(room: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_has_room", lambda size: room)
    batches = read(2)
    assert [int(batch["image"].unique()) for batch in batches] == list(range(6))
    assert all(batch["shared"] is room and batch["by"] != os.getpid() for batch in batches)


def test_shared_memory_that_another_process_took_first_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensor: torch.Tensor) -> NoReturn:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    assert [int(batch["image"].unique()) for batch in read(2)] == list(range(6))


def test_where_not_even_a_lock_can_be_made_the_main_process_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(multiprocessing, "Lock", full)
    with pytest.warns(UserWarning, match=r"without reading processes.*--shm-size=1g"):
        batches = read(2)
    assert [int(batch["by"]) for batch in batches] == [os.getpid()] * 6


def test_dockers_64_mb_are_enough_for_any_batch() -> None:
    """On a real small ``/dev/shm``: four workers hold 96 MB ready."""
    small = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=64m tmpfs /dev/shm && exec "$@"', "sh"]
    if subprocess.run([*small, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    code = f"from {__name__} import read; print([int(batch['image'].unique()) for batch in read(4)])"
    done = subprocess.run([*small, sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "[0, 1, 2, 3, 4, 5]\n", done.stderr
