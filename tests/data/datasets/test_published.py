import shutil
import warnings
from pathlib import Path

import pytest

from segtricks.data.datasets.dut_omron import DUTOMRON
from segtricks.data.datasets.duts import DUTSTest, DUTSTrain
from segtricks.data.datasets.ecssd import ECSSD
from segtricks.data.datasets.published import PairedDataset
from segtricks.data.pairing import LeftOut
from segtricks.errors import UserError

KINDS = [DUTSTrain, DUTSTest, DUTOMRON, ECSSD]

pytestmark = pytest.mark.filterwarnings("ignore:.*were published:UserWarning")


@pytest.mark.parametrize("kind", KINDS)
def test_root_is_the_folder_above_or_the_folder_itself(tmp_path: Path, published, kind: type[PairedDataset]) -> None:  # type: ignore[no-untyped-def]
    folder = published(tmp_path / kind.folders[0], kind)
    for root in (tmp_path, str(folder)):
        dataset = kind(root)
        assert [path.stem for path in dataset.images] == ["a", "b", "c"]
        assert dataset.masks == [folder / kind.mask_folder / f"{stem}.png" for stem in "abc"]


@pytest.mark.parametrize(("kind", "count"), list(zip(KINDS, [10_553, 5_019, 5_168, 1_000], strict=True)))
def test_a_difference_from_the_published_count_is_named(tmp_path: Path, published, kind, count: int) -> None:  # type: ignore[no-untyped-def]
    published(tmp_path / kind.folders[0], kind)
    text = rf"{kind.title}: 3 images, {count:,} were published: {count - 3:,} fewer, below .*\."
    with pytest.warns(UserWarning, match=text):
        kind(tmp_path)
    with pytest.raises(UserError, match=rf"{text}\nNext: segtricks data download {kind.title.lower()}"):
        kind(tmp_path, strict=True)


def test_more_images_than_published_are_named_too(tmp_path: Path, published, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(ECSSD, "expected", 2)
    published(tmp_path, ECSSD)
    with pytest.warns(UserWarning, match="3 images, 2 were published: 1 more"):
        ECSSD(tmp_path)


def test_the_published_count_is_silent(tmp_path: Path, published, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(ECSSD, "expected", 3)
    published(tmp_path, ECSSD)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(ECSSD(tmp_path, strict=True)) == 3


def test_doubled_folders_macosx_stray_files_and_upper_case_suffixes(tmp_path: Path, write) -> None:  # type: ignore[no-untyped-def]
    images = tmp_path / "DUT-OMRON/DUT-OMRON-image/DUT-OMRON-image"
    masks = tmp_path / "DUT-OMRON/pixelwiseGT-new-PNG/pixelwiseGT-new-PNG"
    write(images / "im1.jpg").rename(images / "im1.JPG")
    write(images / "im2.jpg")
    write(masks / "im1.png", mask=True)
    write(masks / "im2.png", mask=True).rename(masks / "im2.PNG")
    for stray in ("DUT-OMRON-image/__MACOSX/im3.jpg", "DUT-OMRON-image/._im1.jpg", "pixelwiseGT-new-PNG/Thumbs.db"):
        (tmp_path / "DUT-OMRON" / stray).parent.mkdir(exist_ok=True)
        (tmp_path / "DUT-OMRON" / stray).write_bytes(b"x")
    dataset = DUTOMRON(tmp_path)
    assert dataset.images == [images / "im1.JPG", images / "im2.jpg"]
    assert dataset.masks == [masks / "im1.png", masks / "im2.PNG"]


def test_archives_unpacked_into_a_folder_of_their_own_name(tmp_path: Path, published) -> None:  # type: ignore[no-untyped-def]
    folder = published(tmp_path / "ECSSD/ECSSD", ECSSD)
    assert ECSSD(tmp_path).images[0].parent == folder / "images"


def test_the_datasets_own_folder_is_taken_before_others_of_that_name(tmp_path: Path, published, write) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "images/mine.jpg")
    folder = published(tmp_path / "ECSSD", ECSSD)
    assert ECSSD(tmp_path).images[0].parent == folder / "images"


def test_of_a_mask_that_lies_there_twice_the_png_is_read(tmp_path: Path, published, write) -> None:  # type: ignore[no-untyped-def]
    folder = published(tmp_path / "DUTS-TR", DUTSTrain)
    write(folder / "DUTS-TR-Mask/b.jpg", mask=True)  # as three masks of the real dataset
    dataset = DUTSTrain(tmp_path)
    assert [path.name for path in dataset.masks or []] == ["a.png", "b.png", "c.png"]
    assert dataset.left_out == [LeftOut(folder / "DUTS-TR-Mask/b.jpg", "double")]


@pytest.mark.parametrize("suffix", [".jpeg", ".PNG", ".bmp", ".WebP"])
def test_photographs_of_other_formats_pair_by_stem(tmp_path: Path, write, suffix: str) -> None:  # type: ignore[no-untyped-def]
    image = tmp_path / f"ECSSD/images/a{suffix}"
    write(image.with_suffix(suffix.lower())).rename(image)
    mask = write(tmp_path / "ECSSD/ground_truth_mask/a.bmp", mask=True)
    dataset = ECSSD(tmp_path)
    assert (dataset.images, dataset.masks) == ([image], [mask])
    assert dataset[0]["target"] is not None


def test_unpaired_files_are_named(tmp_path: Path, published) -> None:  # type: ignore[no-untyped-def]
    folder = published(tmp_path / "ECSSD", ECSSD)
    (folder / "ground_truth_mask/b.png").unlink()
    with pytest.raises(UserError, match="ECSSD: 1 of its images have no mask of the same name: b"):
        ECSSD(tmp_path)
    (folder / "images/b.jpg").unlink()
    (folder / "images/c.jpg").unlink()
    with pytest.raises(UserError, match="ECSSD: 1 of its masks have no image of the same name: c"):
        ECSSD(tmp_path)


def test_one_unpaired_file_in_a_hundred_is_left_out_with_a_warning(tmp_path: Path, published, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    stems = [f"{i:03}" for i in range(100)]
    folder = published(tmp_path / "ECSSD", ECSSD, stems)
    lonely = folder / "images/007.jpg"
    (folder / "ground_truth_mask/007.png").unlink()
    monkeypatch.setattr(ECSSD, "expected", 99)
    with pytest.warns(UserWarning, match=r"ECSSD: 1 of its images have no mask of the same name: 007\. .* left out"):
        dataset = ECSSD(tmp_path)
    assert [path.stem for path in dataset.images] == [path.stem for path in dataset.masks or []]
    assert len(dataset) == 99
    assert dataset.left_out == [LeftOut(lonely, "no_mask")]
    with pytest.raises(UserError, match="007"):
        ECSSD(tmp_path, strict=True)
    # Training, which opens no mask, gives up no photograph.
    assert lonely in ECSSD(tmp_path, require_masks=False).images


@pytest.mark.parametrize("missing", ["all", "one"])
def test_training_needs_no_masks(tmp_path: Path, published, missing: str) -> None:  # type: ignore[no-untyped-def]
    masks = published(tmp_path / "DUTS-TR", DUTSTrain) / "DUTS-TR-Mask"
    shutil.rmtree(masks) if missing == "all" else (masks / "a.png").unlink()
    dataset = DUTSTrain(tmp_path, require_masks=False)
    assert len(dataset) == 3
    assert dataset.masks is None
    assert dataset[0]["target"] is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_dataset_says_where_it_looked_and_where_to_get_it(tmp_path: Path, kind: type[PairedDataset]) -> None:
    with pytest.raises(UserError) as caught:
        kind(tmp_path)
    message = str(caught.value)
    assert message.startswith(
        f"{kind.title}: no folder '{kind.image_folder}' in {tmp_path / kind.folders[0]} or {tmp_path}"
    )
    assert f"Next: segtricks data download {kind.title.lower()} --root {tmp_path}, or" in message
    assert message.count("\n") == 1


def test_a_missing_mask_folder_is_the_one_that_is_named(tmp_path: Path, published) -> None:  # type: ignore[no-untyped-def]
    shutil.rmtree(published(tmp_path, ECSSD) / "ground_truth_mask")
    with pytest.raises(UserError, match="no folder 'ground_truth_mask'"):
        ECSSD(tmp_path)


def test_400_real_pairs(photographs: Path) -> None:
    with pytest.warns(UserWarning, match="400 images, 1,000 were published: 600 fewer"):
        dataset = ECSSD(photographs)
    assert dataset.masks is not None
    assert [path.stem for path in dataset.images] == [path.stem for path in dataset.masks]
    assert len(dataset) == 400
