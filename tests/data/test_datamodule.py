import json
import pickle
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from segtricks.data.datamodule import RunData, SaliencyDataModule
from segtricks.data.datasets.ecssd import ECSSD
from segtricks.data.datasets.synthetic import SyntheticShapes
from segtricks.data.transforms import CenterCropTransform, denormalize, fit_short_side, to_input
from segtricks.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*were published:UserWarning")


def module(**options: Any) -> SaliencyDataModule:
    defaults = {"train": "synthetic[:20]", "test": ["synthetic[20:23]"], "size": 32, "batch_size": 4, "num_workers": 0}
    return SaliencyDataModule(**(defaults | {"held_out": 4} | options))


def ready(data: SaliencyDataModule, loader: DataLoader[Any]) -> list[dict[str, Any]]:
    """Batches as models see them."""
    return [data.on_after_batch_transfer(batch, 0) for batch in loader]


def test_workers_can_be_spawned_as_on_windows_and_macos() -> None:
    data = module(num_workers=1)
    loaders = [data.train_dataloader(), data.val_dataloader(), *data.test_dataloader()]
    for loader in loaders:
        given = (loader.dataset, loader.collate_fn, loader.worker_init_fn)  # what a worker gets that is not a fork
        dataset, collate, _ = pickle.loads(pickle.dumps(given))
        assert collate([dataset[0]])["path"] == loader.collate_fn([loader.dataset[0]])["path"]


def test_training_batches() -> None:
    data = module()
    batches = ready(data, data.train_dataloader())
    assert len(batches) == len(data.train_dataloader()) == 4
    for batch in batches:
        assert set(batch) == {"image", "path", "skipped"}
        assert (batch["image"].shape, batch["image"].dtype) == ((4, 3, 32, 32), torch.float32)
    paths = [path for batch in batches for path in batch["path"]]
    assert sorted(paths) == [str(path) for path in data.train_dataset.images]


def test_workers_and_device_give_the_same_colours() -> None:
    here, there = module(), module(colors_on="workers", num_workers=1)
    batches = ready(here, here.train_dataloader()), ready(there, there.train_dataloader())
    for one, other in zip(*batches, strict=True):
        assert torch.equal(one["image"], other["image"])
    assert next(iter(there.train_dataloader()))["image"].dtype == torch.float32
    assert next(iter(here.train_dataloader()))["image"].dtype == torch.uint8
    with pytest.raises(UserError, match=r"colors_on is 'gpu': pass device or workers, for example --data\.colors_on"):
        module(colors_on="gpu")


class Listener(lightning.LightningModule):
    """Notes the batches that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.batches: list[dict[str, Any]] = []

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        self.batches.append(batch)
        return self.weight.sum()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.batches.append(batch)

    test_step = validation_step

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.filterwarnings("ignore:.*does not have many workers", "ignore:.*isinstance.treespec, LeafSpec.")
@pytest.mark.parametrize(("precision", "dtype"), [("32-true", torch.float32), ("bf16-true", torch.bfloat16)])
def test_models_get_images_that_are_normalised_and_of_their_precision(precision: Any, dtype: torch.dtype) -> None:
    data, model = module(batch_size=16), Listener()
    trainer = lightning.Trainer(
        accelerator="cpu",
        precision=precision,
        max_epochs=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    train, validated, tested = model.batches
    assert [batch["image"].dtype for batch in (train, validated)] == [dtype] * 2
    fresh = module(batch_size=16)
    (expected,) = ready(fresh, fresh.train_dataloader())
    torch.testing.assert_close(train["image"], expected["image"].to(dtype), atol=1e-5, rtol=0)
    assert {image.dtype for image in tested["image"]} == {dtype}
    assert tested["photo"][0].dtype == torch.uint8
    torch.testing.assert_close(tested["image"][0], to_input(fit_short_side(tested["photo"][0], 32, 8)).to(dtype))


def test_the_cache_changes_nothing_but_the_disk(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    for i in range(8):
        write(tmp_path / f"photos/{i}.png", size=(50 + i, 40), seed=i)
    options = {"train": str(tmp_path / "photos"), "test": [], "held_out": 2, "batch_size": 3, "size": 24}
    plain = module(**options)
    folder = tmp_path / "cache"
    for workers in (0, 2):
        kept = module(**options, cache=True, cache_dir=str(folder), num_workers=workers)
        for name in ("train_dataloader", "val_dataloader"):
            pairs = zip(ready(plain, getattr(plain, name)()), ready(kept, getattr(kept, name)()), strict=True)
            assert all(torch.equal(one["image"], other["image"]) for one, other in pairs)
    assert len(list(folder.rglob("*.npy"))) == 8
    # What is read now is the cache: its pixels are changed, and so the batches.
    for path in folder.rglob("*.npy"):
        np.save(path, np.zeros_like(np.load(path)))
    assert not next(iter(kept.val_dataloader()))["image"].any()


def test_the_last_smaller_batch_is_dropped() -> None:
    assert [len(batch["path"]) for batch in module(batch_size=7).train_dataloader()] == [7, 7]


def test_the_number_of_workers_does_not_matter() -> None:
    alone, helped = list(module().train_dataloader()), list(module(num_workers=2).train_dataloader())
    for one, other in zip(alone, helped, strict=True):
        assert one["path"] == other["path"]
        assert torch.equal(one["image"], other["image"])


@pytest.mark.parametrize("scaled_to", ["square", "crop"])
def test_scaled_and_blurred_views_do_not_depend_on_the_workers(scaled_to: str) -> None:
    options = {"scale_range": [0.1, 3.0], "scaled_to": scaled_to, "blur_p": 0.5, "resize": 32}
    alone, helped, plain = (
        list(module(**chosen).train_dataloader()) for chosen in (options, options | {"num_workers": 2}, {"resize": 32})
    )
    for one, other in zip(alone, helped, strict=True):
        assert torch.equal(one["image"], other["image"])
        assert one["image"].shape == (4, 3, 32, 32)
    assert not torch.equal(alone[0]["image"], plain[0]["image"])


def test_scaled_and_blurred_views_are_the_same_after_a_resumption() -> None:
    options = {"scale_range": [0.1, 3.0], "blur_p": 0.5}
    whole, resumed = module(**options).train_dataloader(), module(**options).train_dataloader()
    for loader, seen in ((whole, 0), (resumed, 2)):
        loader.sampler.resume(1, seen)  # type: ignore[attr-defined]
    pairs = zip(list(whole)[2:], resumed, strict=True)
    assert all(torch.equal(one["image"], other["image"]) for one, other in pairs)


def test_the_seed_decides_order_and_views() -> None:
    first, again, other = (next(iter(module(seed=seed).train_dataloader())) for seed in (0, 0, 1))
    assert first["path"] == again["path"] != other["path"]
    assert torch.equal(first["image"], again["image"])


def test_epochs_differ_in_order_and_views() -> None:
    loader = module(batch_size=16).train_dataloader()
    batches = []
    for epoch in (0, 1):
        loader.sampler.resume(epoch, 0)  # type: ignore[attr-defined]
        batches.append(next(iter(loader)))
    assert batches[0]["path"] != batches[1]["path"]
    assert sorted(batches[0]["path"]) == sorted(batches[1]["path"])
    of_first = [batch["image"][batch["path"].index(min(batch["path"]))] for batch in batches]
    assert not torch.equal(*of_first)


def test_validation_shows_the_middle_of_held_out_training_images() -> None:
    data = module(eval_batch_size=3)
    batches = ready(data, data.val_dataloader())
    assert [len(batch["path"]) for batch in batches] == [3, 1]
    assert batches[0]["path"][0] == str(data.held_out_dataset.images[0])
    middle = CenterCropTransform(32)(data.held_out_dataset.read_image(0)).float() / 255
    torch.testing.assert_close(denormalize(batches[0]["image"][0]), middle)
    assert batches[0]["mask"].shape == (3, 1, 32, 32)
    assert batches[0]["mask"].unique().tolist() == [0, 1]
    assert not set(data.held_out_dataset.images) & set(data.train_dataset.images)


def test_held_out_images_do_not_depend_on_the_seed() -> None:
    assert module(seed=1).held_out_dataset.images == module(seed=2).held_out_dataset.images


def test_photographs_without_masks_can_be_trained_on(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    for i in range(6):
        write(tmp_path / f"{i}.png", seed=i)
    data = module(train=str(tmp_path), held_out=2)
    assert len(next(iter(data.train_dataloader()))["path"]) == 4
    assert "mask" not in next(iter(data.val_dataloader()))


@pytest.mark.parametrize("workers", [0, 1])
def test_broken_photographs_are_listed_and_the_rest_is_used(tmp_path: Path, write, workers: int) -> None:  # type: ignore[no-untyped-def]
    for i in range(8):
        write(tmp_path / f"{i}.png", seed=i)
    data = module(train=str(tmp_path), held_out=1, batch_size=7, num_workers=workers)
    broken = data.train_dataset.images[2]
    broken.write_bytes(broken.read_bytes()[:60])
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (6, 3, 32, 32)
    assert len(batch["path"]) == 6
    assert [path for path, _ in batch["skipped"]] == [str(broken)]
    for path in data.train_dataset.images:
        path.write_bytes(b"")
    empty = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert (empty["image"].shape, empty["image"].dtype) == ((0, 3, 32, 32), torch.float32)
    assert len(empty["skipped"]) == 7


def test_test_batches_are_lists_at_the_images_own_sizes(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    for stem, size in (("a", (120, 80)), ("b", (50, 100))):
        write(tmp_path / f"photos/{stem}.jpg", size=size)
        write(tmp_path / f"masks/{stem}.png", mask=True, size=size)
    write(tmp_path / "photos/c.jpg").write_bytes(b"")
    write(tmp_path / "masks/c.png", mask=True)
    data = module(test=f"{tmp_path}/photos", masks=f"{tmp_path}/masks")
    (loader,) = data.test_dataloader()
    (batch,) = ready(data, loader)
    assert [image.shape for image in batch["image"]] == [(3, 32, 48), (3, 64, 32)]
    assert torch.equal(batch["image"][0], to_input(fit_short_side(batch["photo"][0], 32, 8)))
    assert batch["photo"][0].dtype == torch.uint8
    assert [photo.shape for photo in batch["photo"]] == [(3, 80, 120), (3, 100, 50)]
    assert [mask.shape for mask in batch["mask"]] == [(1, 80, 120), (1, 100, 50)]
    assert batch["mask"][0].dtype == torch.uint8
    assert batch["skipped"] == [(f"{tmp_path}/photos/c.jpg", "empty file")]
    assert data.test_names == ["photos"]


def test_a_protocols_crop_is_set_before_the_test_and_leaves_validation_alone() -> None:
    data = module(size=32)
    data.crop_tests(resize=30, size=24, batch_size=2)
    first, _ = list(data.test_dataloader()[0])
    assert torch.stack(first["image"]).shape == (2, 3, 24, 24)
    expected = CenterCropTransform(24, 30)(data.test_datasets[0].read_mask(0))  # type: ignore[arg-type]
    assert torch.equal(first["mask"][0], expected)
    assert next(iter(data.val_dataloader()))["image"].shape[2:] == (32, 32)


def test_center_crop_option() -> None:
    batch = next(iter(module(center_crop=True).test_dataloader()[0]))
    assert {tensor.shape[1:] for name in ("image", "photo", "mask") for tensor in batch[name]} == {(32, 32)}


def test_prediction_reads_a_folder_in_order_without_masks(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    paths = [write(tmp_path / f"{i}.png", size=(20 + i, 16)) for i in range(3)]
    (batch,) = list(module(predict_images=str(tmp_path)).predict_dataloader())
    assert set(batch) == {"image", "photo", "path", "skipped"}
    assert batch["path"] == [str(path) for path in paths]
    assert [photo.shape[2] for photo in batch["photo"]] == [20, 21, 22]
    with pytest.raises(UserError, match=r"--data\.predict_images"):
        module().predict_dataloader()


def test_sides_become_multiples_of_the_patch() -> None:
    data = module(size=28)
    with pytest.raises(UserError, match=r"data\.size 28 is not a multiple of 16, .*: pass --data\.size 32"):
        data.fit_patches(16)
    data.fit_patches(14)
    assert data.multiple == 14
    assert next(iter(data.test_dataloader()[0]))["image"][0].shape == (3, 28, 28)
    unchanged = module(size=32)
    unchanged.fit_patches(4)
    assert unchanged.multiple == 8


def test_limits() -> None:
    data = module(train_limit=10, test_limit=2)
    assert (len(data.train_dataset), len(data.held_out_dataset)) == (6, 4)
    assert [len(dataset) for dataset in data.test_datasets] == [2]
    assert data.test_datasets[0].images[0].stem == "000020"


def test_counts_and_description() -> None:
    data = module(test=["synthetic[20:23]", "synthetic[30:]"])
    assert data.counts == {}  # a test must not ask for the training set, nor a fit for test sets
    assert len(data.train_dataset) == 16
    assert data.counts == {"train": 16, "held_out": 4}
    text = "train synthetic[:20] (16 images, 4 held out), test synthetic[20:23] (3), synthetic[30:] (970)"
    assert data.describe() == text
    assert data.counts == {"train": 16, "held_out": 4, "synthetic[20:23]": 3, "synthetic[30:]": 970}


def test_testing_needs_no_training_set(tmp_path: Path) -> None:
    data = module(train="duts-tr", root=str(tmp_path))
    data.setup("test")
    assert data.counts == {"synthetic[20:23]": 3}


def test_test_names_of_paths_are_short_unless_they_would_be_equal() -> None:
    data = module(test=["a/photos", "b/photos[:5]", "c/photos", "ecssd"])
    assert data.test_names == ["a/photos", "photos[:5]", "c/photos", "ecssd"]


def test_check_finds_a_missing_test_set_before_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"ECSSD: no folder 'images' in {tmp_path}"):
        module(test=["synthetic[:3]", "ecssd"], root=str(tmp_path)).check()
    with pytest.raises(UserError, match="DUTS-TR: no folder"):
        module(train="duts-tr", root=str(tmp_path)).check()


def test_check_warns_when_test_images_are_trained_on() -> None:
    with pytest.warns(UserWarning, match=r"5 of the 10 images of the test set synthetic\[15:25\] are also trained on"):
        module(test="synthetic[15:25]").check()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module().check()


@pytest.mark.parametrize("stage", ["setup", "check", "train_dataloader"])
def test_less_than_a_batch_is_an_error_that_names_the_option(stage: str) -> None:
    data = module(batch_size=17)
    message = r"leaves 16 training images \(4 are held out\), less than one batch of 17: pass --data\.batch_size 16"
    with pytest.raises(UserError, match=message):
        data.setup("fit") if stage == "setup" else getattr(data, stage)()


@pytest.mark.parametrize(
    "options",
    [
        *({"batch_size": 0}, {"eval_batch_size": 0}, {"train_limit": 0}, {"num_workers": -1}, {"seed": -1}),
        *({"flip": 2}, {"blur_p": -1}, {"scale_range": [2, 1]}),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(UserError, match=rf"{name} is .*--data\.{name} "):
        module(**options)


def test_training_on_a_part_of_ecssd_without_its_masks(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "ECSSD").mkdir()
    (tmp_path / "ECSSD/images").symlink_to(photographs / "ECSSD/images")
    data = module(train="ecssd[:320]", test="ecssd[320:]", root=str(tmp_path), size=64, held_out=0.02)
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert batch["image"].shape == (4, 3, 64, 64)
    assert batch["image"].std() > 0.5
    assert data.counts == {"train": 314, "held_out": 6}
    with pytest.raises(UserError, match="no folder 'ground_truth_mask'"):
        data.check()


def test_testing_on_the_other_part_of_ecssd(photographs: Path) -> None:
    data = module(train="ecssd[:320]", test="ecssd[320:]", root=str(photographs), test_limit=9)
    data.check()
    batches = list(data.test_dataloader()[0])
    assert [len(batch["image"]) for batch in batches] == [8, 1]
    for image, photo, mask in zip(*(batches[0][name] for name in ("image", "photo", "mask")), strict=True):
        assert photo.shape[1:] == mask.shape[1:]
        assert min(image.shape[1:]) == 32
        assert image.shape[1] % 8 == image.shape[2] % 8 == 0


def test_masks_are_found_and_lost_with_their_folder(tmp_path: Path, published) -> None:  # type: ignore[no-untyped-def]
    published(tmp_path / "ECSSD", ECSSD, "abcdef")
    options: dict[str, Any] = {"train": "ecssd", "root": str(tmp_path), "held_out": 2}
    assert "mask" in next(iter(module(**options).val_dataloader()))
    shutil.rmtree(tmp_path / "ECSSD/ground_truth_mask")
    assert "mask" not in next(iter(module(**options).val_dataloader()))


def test_reading_images_imports_neither_lightning_nor_torchvision() -> None:
    code = "import sys, segtricks.data; print([m for m in ('lightning', 'torchvision') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


_opened: list[str] = []


def _note(event: str, args: tuple[Any, ...]) -> None:
    if event == "open":
        _opened.append(str(args[0]))


sys.addaudithook(_note)


@contextmanager
def watched() -> Iterator[list[str]]:
    """The paths of all files that this process opens meanwhile."""
    _opened.clear()
    yield _opened


@pytest.fixture
def pseudo(tmp_path: Path, published) -> dict[str, Any]:  # type: ignore[no-untyped-def]
    """Options of a published dataset with masks of its own, and pseudo-masks: white at the top of each image."""
    published(tmp_path / "ECSSD", ECSSD, "abcdefgh")
    (tmp_path / "pseudo").mkdir()
    mask = np.zeros((8, 12), np.uint8)
    mask[:4] = 255
    for stem in "abcdefgh":
        Image.fromarray(mask).save(tmp_path / f"pseudo/{stem}.png")
    options = {"train": "ecssd", "root": str(tmp_path), "masks": str(tmp_path / "pseudo")}
    return options | {"size": 8, "resize": 8, "held_out": 2, "batch_size": 3}


def test_without_being_asked_training_opens_no_mask(tmp_path: Path, pseudo: dict[str, Any]) -> None:
    for path in (*(tmp_path / "pseudo").iterdir(), *(tmp_path / "ECSSD/ground_truth_mask").iterdir()):
        path.write_bytes(b"no image")
    data = module(**pseudo)
    with watched() as opened:
        batches = ready(data, data.train_dataloader())
    assert [batch["skipped"] for batch in batches] == [[], []]
    assert all(set(batch) == {"image", "path", "skipped"} for batch in batches)
    assert any("/images/" in path for path in opened)
    assert not [path for path in opened if "/pseudo/" in path or "/ground_truth_mask/" in path]


@pytest.mark.parametrize("options", [{}, {"num_workers": 2}, {"colors_on": "workers"}, {"cache": True}])
def test_targets_come_from_the_masks_option_and_never_from_the_set_itself(
    tmp_path: Path, pseudo: dict[str, Any], options: dict[str, Any]
) -> None:
    data = module(**pseudo, **options, cache_dir=str(tmp_path / "cache"))
    data.ask_for_targets("mask")
    with watched() as opened:
        batches = [*ready(data, data.train_dataloader()), *ready(data, data.val_dataloader())]
    assert not [path for path in opened if "/ground_truth_mask/" in path]
    assert [len(batch["path"]) for batch in batches] == [3, 3, 2]
    for batch in batches:
        assert batch["target"].dtype == torch.float32
        assert batch["target"][:, :, :4].eq(1).all()
        assert batch["target"][:, :, 4:].eq(0).all()
        assert batch["empty"] == 0
    plain = module(**pseudo)
    for one, other in zip(ready(plain, plain.train_dataloader()), batches, strict=False):
        assert torch.equal(one["image"], other["image"])  # targets change no image


def test_a_mask_that_cannot_be_read_skips_its_photograph_and_an_empty_one_is_counted(
    tmp_path: Path, pseudo: dict[str, Any]
) -> None:
    data = module(**pseudo | {"batch_size": 6})
    data.ask_for_targets("mask")
    broken, empty = (tmp_path / f"pseudo/{path.stem}.png" for path in data.train_dataset.images[:2])
    broken.write_bytes(b"")
    Image.new("L", (12, 8)).save(empty)
    (batch,) = data.train_dataloader()
    assert batch["skipped"] == [(str(broken), "empty file")]
    assert batch["empty"] == 1
    assert len(batch["path"]) == len(batch["image"]) == len(batch["target"]) == 4


@pytest.mark.parametrize("workers", [0, 1])
def test_instances_come_from_a_coco_file(tmp_path: Path, pseudo: dict[str, Any], workers: int) -> None:
    top = [0, 0, 12, 0, 12, 4, 0, 4]
    images = [{"id": i, "file_name": f"{stem}.jpg", "width": 12, "height": 8} for i, stem in enumerate("abcdefgh")]
    objects = [{"id": i, "image_id": i, "category_id": 9, "segmentation": [top]} for i in range(8)]
    (tmp_path / "coco.json").write_text(json.dumps({"images": images, "annotations": objects}))
    data = module(**pseudo | {"masks": str(tmp_path / "coco.json"), "num_workers": workers})
    data.ask_for_targets("instances")
    batch = ready(data, data.train_dataloader())[0]
    assert len(batch["target"]) == 3
    for found in batch["target"]:
        assert found.labels.tolist() == [9]
        assert found.masks[:, :4].all()
        assert not found.masks[:, 4:].any()


def test_a_method_that_needs_targets_says_where_to_get_them() -> None:
    data = module()
    data.ask_for_targets("mask")
    with pytest.raises(UserError, match=r"pseudo-labels of synthetic.*--data\.masks.*\nNext, .*: segtricks discover"):
        data.check()


def test_the_data_module_has_all_that_the_commands_ask_of_one() -> None:
    asked = {*RunData.__annotations__, *(name for name in vars(RunData) if not name.startswith("_"))}
    assert asked <= set(dir(module()))


def test_pseudo_labels_of_the_training_set_are_not_the_truth_of_a_test_set(
    tmp_path: Path, pseudo: dict[str, Any]
) -> None:
    photos = str(tmp_path / "ECSSD/images")
    asked, plain = (module(**pseudo | {"test": [photos]}) for _ in range(2))
    asked.ask_for_targets("mask")
    assert plain.test_datasets[0].masks is not None
    with pytest.raises(UserError, match="no masks of its own"):
        _ = asked.test_datasets


def _classes(folder: Path) -> None:
    for path in folder.iterdir():
        Image.fromarray(np.array([[0, 1, 2, 255] * 3] * 8, np.uint8)).save(path)


def test_a_test_set_of_classes_is_refused_before_a_fit(tmp_path: Path, pseudo: dict[str, Any]) -> None:
    _classes(tmp_path / "ECSSD/ground_truth_mask")
    options = {"test": ["ecssd"], "root": str(tmp_path)}
    with pytest.raises(UserError, match=r"hold the values 0, 1, 2, 255.*\nNext: .*--data\.foreground 1"):
        module(**options).check()
    module(**options, foreground=1, ignore=[255]).check()


def test_held_out_masks_of_classes_are_not_shown_and_stop_nothing(tmp_path: Path, pseudo: dict[str, Any]) -> None:
    _classes(tmp_path / "ECSSD/ground_truth_mask")
    data = module(**pseudo)
    with pytest.warns(UserWarning, match=r"The masks of ECSSD are not shown in pictures.*hold the values"):
        (batch,) = ready(data, data.val_dataloader())
    assert set(batch) == {"image", "path", "skipped"}
    assert len(batch["image"]) == 2


def test_pseudo_labels_of_classes_are_refused_before_the_first_step(tmp_path: Path, pseudo: dict[str, Any]) -> None:
    _classes(tmp_path / "pseudo")
    data = module(**pseudo)
    data.ask_for_targets("mask")
    with pytest.raises(UserError, match=r"hold the values 0, 1, 2, 255.*\nNext: .*--data\.foreground 1"):
        data.train_dataloader()
    data = module(**pseudo, foreground=[1])
    data.ask_for_targets("mask")
    assert all(batch["skipped"] == [] for batch in data.train_dataloader())


@pytest.mark.parametrize("value", ["up", None])
def test_an_unknown_orientation_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match=r"pass exif or raw, for example --data\.orientation raw"):
        module(orientation=value)


class Own(SyntheticShapes):
    def __init__(self) -> None:
        super().__init__(12, 40)


@pytest.mark.parametrize("train", [f"{__name__}:Own", Own()])
def test_a_dataset_of_ones_own_is_trained_and_tested_on(train: Any) -> None:
    data = SaliencyDataModule(train, f"{__name__}:Own", held_out=2, size=32, batch_size=4, num_workers=0)
    assert (len(data.train_dataset), len(data.held_out_dataset), len(data.test_datasets[0])) == (10, 2, 12)
    (first, *_) = ready(data, data.test_dataloader()[0])
    assert torch.equal(first["photo"][0], Own().read_image(0))


@pytest.mark.parametrize("name", ["no.such.module:Own", f"{__name__}:Missing", "pathlib:Path"])
def test_an_own_dataset_that_cannot_be_had_is_named(name: str) -> None:
    with pytest.raises(UserError, match=name):
        SaliencyDataModule(name, "none", num_workers=0).train_dataset  # noqa: B018
