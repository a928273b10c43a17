from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from segtricks.data import PairDataModule, SyntheticShapes
from segtricks.data.datamodule import SaliencyDataModule
from segtricks.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Drawn scenes and their masks."""
    shapes = SyntheticShapes(14, 48)
    for name in ("photos", "masks"):
        (tmp_path / name).mkdir()
    for i in range(len(shapes)):
        Image.fromarray(shapes.read_image(i).permute(1, 2, 0).numpy()).save(tmp_path / f"photos/{i:02}.png")
        Image.fromarray(shapes.read_mask(i)[0].numpy()).save(tmp_path / f"masks/{i:02}.png")
    return tmp_path


def module(folder: Path, **options: Any) -> PairDataModule:
    defaults = {"train": str(folder / "photos"), "test": [], "masks": str(folder / "masks"), "size": 32, "resize": 40}
    data = PairDataModule(**(defaults | {"batch_size": 4, "num_workers": 0, "held_out": 2} | options))
    data.ask_for_targets("mask")
    return data


def ready(data: SaliencyDataModule, loader: Any) -> list[dict[str, Any]]:
    """Batches as models see them."""
    return [data.on_after_batch_transfer(batch, 0) for batch in loader]


def test_training_batches_hold_pairs(folder: Path) -> None:
    data = module(folder)
    batches = ready(data, data.train_dataloader())
    assert len(batches) == 3
    for batch in batches:
        assert batch["image"].shape == (8, 3, 32, 32) and batch["image"].dtype == torch.float32
        assert batch["target"].shape == (8, 1, 32, 32) and batch["target"].unique().tolist() == [0, 1]
        assert len(batch["path"]) == 4 and batch["skipped"] == []


@pytest.mark.parametrize("options", [{"num_workers": 2}, {"colors_on": "workers"}])
def test_neither_workers_nor_the_place_of_the_colours_change_a_pair(folder: Path, options: dict[str, Any]) -> None:
    expected, found = (ready(data, data.train_dataloader()) for data in (module(folder), module(folder, **options)))
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one["image"], other["image"])
        assert torch.equal(one["target"], other["target"]) and one["path"] == other["path"]


def test_masks_are_reduced_to_cells_of_a_patch_in_training_and_validation(folder: Path) -> None:
    data, whole = module(folder, cells_per_patch=2), module(folder)
    data.fit_patches(16)
    for name in ("train_dataloader", "val_dataloader"):
        found, expected = (ready(each, getattr(each, name)()) for each in (data, whole))
        for small, large in zip(found, expected, strict=True):
            assert torch.equal(small["target"], large["target"][..., 4::8, 4::8])  # the pixels in the middle of cells
            assert torch.equal(small["image"], large["image"])
    assert found[0]["mask"].shape == (2, 1, 32, 32)  # of the pictures


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale_range": [0.5, 1.0]}, "not scaled or blurred"),
        ({"blur_p": 0.5}, "not scaled or blurred"),
        ({"cells_per_patch": 0}, "pass 1 or more"),
        ({"area": [0.5, 1.5]}, "area is"),
        ({"ratio": [2.0, 0.5]}, "ratio is"),
    ],
)
def test_options_that_do_not_apply_or_are_out_of_range_are_named(
    folder: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        module(folder, **options)


@pytest.mark.filterwarnings("ignore:.*were published:UserWarning")
def test_test_sets_with_classes_have_label_maps_and_so_do_bank_and_probe(folder: Path) -> None:
    voc = folder / "VOCdevkit/VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (voc / name).mkdir(parents=True)
    for split in ("train", "val"):
        Image.new("RGB", (40, 30)).save(voc / f"JPEGImages/{split}-1.jpg")
        Image.new("L", (40, 30), 7).save(voc / f"SegmentationClass/{split}-1.png")
        (voc / f"ImageSets/Segmentation/{split}.txt").write_text(f"{split}-1\n")
    data = module(folder, root=str(folder), test=["voc12-val"], bank="voc12-train", probe="voc12-train")
    for loader, name in ((data.test_dataloader()[0], "val"), (data.bank_dataloader(), "train")):
        (batch,) = loader
        assert [Path(path).stem for path in batch["path"]] == [f"{name}-1"]
        assert "mask" not in batch and batch["labels"][0].unique().tolist() == [7]
    assert data.probe_dataset().target_kind == "labels"
    with pytest.raises(UserError, match="synthetic has no label maps"):
        module(folder, bank="synthetic").bank_dataloader()
    assert module(folder).bank_dataloader() is module(folder).probe_dataset() is None


def test_a_folder_of_label_maps_belongs_to_photographs(folder: Path) -> None:
    Image.new("L", (48, 48), 2).save(folder / "masks/13.png")  # one class is enough, the others hold 0 and 255
    data = module(folder, test=[str(folder / "photos[:3]")], labels=str(folder / "masks"))
    (dataset,) = data.test_datasets
    assert len(dataset) == 3 and dataset.target_kind == "labels"


@pytest.mark.parametrize("option", ["test", "bank", "probe"])
def test_masks_are_not_taken_for_label_maps_in_which_all_objects_are_void(folder: Path, option: str) -> None:
    data = module(folder, labels=str(folder / "masks"), **{option: str(folder / "photos")})
    with pytest.raises(UserError, match=r"(?s)data\.labels hold 0, 255 alone.*--data\.masks"):
        _ = data.test_datasets, data.bank_dataloader(), data.probe_dataset()


def test_a_method_that_wants_no_masks_is_sent_to_another_data_module(folder: Path) -> None:
    data = PairDataModule(train=str(folder / "photos"), test=[], size=32, batch_size=4, held_out=2)
    with pytest.raises(UserError, match=r"segtricks\.data\.SaliencyDataModule"):
        data.train_dataloader()
