import json
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from segtricks.commands import data
from segtricks.commands.data_verify import FaultsFound
from segtricks.data.datasets.ecssd import ECSSD
from segtricks.data.datasets.folder import ImageFolder
from segtricks.errors import UserError


@pytest.fixture
def photos(tmp_path):
    """Six photographs with masks: four sound (one mask soft), one cut short, one of another size."""
    rng = np.random.default_rng(0)
    for i in range(6):
        for folder, suffix, pixels in (
            ("photos/x", ".jpg", rng.integers(0, 256, (8, 12, 3), dtype=np.uint8)),
            ("masks/x", ".png", np.repeat(np.array([[0, 255]], np.uint8), [6, 6], axis=1).repeat(8, axis=0)),
        ):
            path = tmp_path / folder / f"{i}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    broken = tmp_path / "photos/x/1.jpg"
    broken.write_bytes(broken.read_bytes()[:300])
    Image.new("L", (8, 12), 255).save(tmp_path / "masks/x/2.png")
    soft = np.full((8, 12), 255, np.uint8)
    soft[:4], soft[4] = 0, 90
    Image.fromarray(soft).save(tmp_path / "masks/x/3.png")
    return tmp_path


def _verify(photos, *words):
    data.main(["verify", str(photos / "photos"), "--masks", str(photos / "masks"), "--workers", "2", *map(str, words)])


def test_faults_are_a_table_and_status_1(photos, capsys):
    with pytest.raises(FaultsFound, match=r"photos: faults in 2 of its files; 4 of 6 pairs are sound") as caught:
        _verify(photos)
    assert caught.value.status == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Files below {photos}"
    rows = [line.split() for line in lines if line.startswith(("fault", "note"))]
    assert [row[0] for row in rows] == ["fault", "fault", "note", "note"]
    assert " ".join(rows[0]).startswith("fault image that cannot be read 1 photos/x/1.jpg (")
    assert " ".join(rows[1]).endswith("differ in size 1 photos/x/2.jpg (image 12 x 8, mask 8 x 12)")
    assert " ".join(rows[2]) == "note mask with values between 0 and 255 1 masks/x/3.png (12.5 % of its pixels)"
    assert " ".join(rows[3]) == "note mask without background 1 masks/x/2.png (all 255)"


def test_the_list_of_good_images_can_be_used_as_data(photos, capsys):
    with pytest.raises(FaultsFound):
        _verify(photos, "--fix-list", photos / "good.txt")
    good = ImageFolder(photos / "good.txt", photos / "masks", strict=True)
    assert [path.name for path in good.images] == ["0.jpg", "3.jpg", "4.jpg", "5.jpg"]
    assert all(good[i]["target"] is not None for i in range(4))
    data.main(["verify", str(photos / "good.txt"), "--masks", str(photos / "masks")])
    assert "good: 4 of 4 pairs are sound; masks: 0/255 (3), soft (1)." in capsys.readouterr().out


def test_everything_is_in_the_json_file_and_with_all_on_the_screen(photos, capsys):
    for i in range(4):
        (photos / f"masks/lonely{i}.png").write_bytes((photos / "masks/x/0.png").read_bytes())
    with pytest.raises(FaultsFound):
        _verify(photos, "--output", photos / "found.json")
    assert "lonely2.png, …" in capsys.readouterr().out
    content = json.loads((photos / "found.json").read_text())
    assert (content["images"], content["good"], content["published"]) == (6, 4, None)
    assert content["masks"] == {"0/255": 4, "soft": 1, "full": 1}
    lonely = [Path(entry["path"]).name for entry in content["findings"] if entry["kind"] == "no_image"]
    assert lonely == [f"lonely{i}.png" for i in range(4)]
    assert {entry["kind"] for entry in content["findings"] if not entry["fault"]} == {"soft", "full"}
    with pytest.raises(FaultsFound):
        _verify(photos, "--all")
    assert "fault: mask without an image: masks/lonely3.png\n" in capsys.readouterr().out


def test_unpaired_files_end_nothing_but_no_pair_at_all_does(photos, capsys):
    (photos / "masks/x/5.png").rename(photos / "masks/x/six.png")
    with pytest.raises(FaultsFound, match="faults in 4 of its files; 3 of 5 pairs are sound"):
        _verify(photos)
    assert "image without a mask" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"the first image is \S*photos/x/0.jpg, the first mask \S*x/0.png") as caught:
        data.main(["verify", str(photos / "photos"), "--masks", str(photos / "masks/x")])
    assert caught.value.status == 2


def test_the_published_count_is_a_fault_only_when_strict(tmp_path, capsys, monkeypatch):
    for folder, suffix in (("images", "jpg"), ("ground_truth_mask", "png")):
        (tmp_path / "ECSSD" / folder).mkdir(parents=True)
        for i in range(2):
            Image.linear_gradient("L").point(lambda v: 255 * (v > 99)).save(tmp_path / f"ECSSD/{folder}/{i}.{suffix}")
    data.main(["verify", "ecssd", "--root", str(tmp_path)])
    summary = "2 of 2 pairs are sound; masks: 0/255 (2); 2 images, 1,000 were published: 998 fewer."
    assert f"ECSSD: {summary}" in capsys.readouterr().out
    with pytest.raises(FaultsFound, match="998 fewer"):
        data.main(["verify", "ecssd", "--root", str(tmp_path), "--strict"])
    monkeypatch.setattr(ECSSD, "expected", 2)
    data.main(["verify", "ecssd", "--root", str(tmp_path), "--strict"])


def test_an_impossible_name_is_printed_on_one_line_and_not_listed(tmp_path, capsys):
    for name in ("a\nb.png", "c.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    with pytest.raises(FaultsFound, match="1 of 2 images are sound"):
        data.main(["verify", str(tmp_path), "--fix-list", str(tmp_path / "good.txt")])
    assert "not UTF-8      1  'a\\nb.png'\n" in capsys.readouterr().out
    assert (tmp_path / "good.txt").read_text() == "./c.png\n"


def test_no_list_is_written_where_nothing_is_good(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"")
    with pytest.raises(FaultsFound, match="0 of 1 images are sound"):
        data.main(["verify", str(tmp_path / "photos"), "--fix-list", str(tmp_path / "good.txt")])
    assert not (tmp_path / "good.txt").exists()
    assert "No image is good" in capsys.readouterr().out


def _pairs(folder, *masks, dtype=np.uint8):
    for i, mask in enumerate(masks):
        for kind in ("photos", "masks"):
            (folder / kind).mkdir(exist_ok=True)
        Image.new("RGB", (4, 2), "gray").save(folder / f"photos/{i}.jpg")
        Image.fromarray(np.array([mask, mask], dtype)).save(folder / f"masks/{i}.png")


@pytest.mark.parametrize("values", [[0, 1, 255, 1], [1, 2, 3, 1]])
def test_values_of_classes_are_a_fault_until_it_is_said_what_they_mean(tmp_path, capsys, values):
    _pairs(tmp_path, values)
    with pytest.raises(FaultsFound, match="classes"):
        _verify(tmp_path)
    listed = ", ".join(map(str, sorted(set(values))))
    assert f"The targets hold the values {listed}: classes" in capsys.readouterr().out
    _verify(tmp_path, "--foreground", "1", "--ignore", "255", "3")
    assert "1 of 1 pairs are sound" in capsys.readouterr().out


def test_verify_sees_what_reading_sees(tmp_path, capsys):
    _pairs(tmp_path, [0, 0, 1, 0], [0, 90, 180, 255])
    _verify(tmp_path)
    out = capsys.readouterr().out
    assert "mask of 0 and 1" not in out  # it is a soft mask that is nearly empty
    assert "masks: soft (2)" in out
    _pairs(tmp_path, [0, 0, 4095, 2000], [0, 90, 1000, 2], dtype=np.uint16)
    _verify(tmp_path)
    assert "masks of 16 bits hold no value above 4095, which is read as white" in capsys.readouterr().out


@pytest.mark.parametrize(("value", "said"), [(0, "without foreground"), (255, "without background")])
def test_masks_of_nothing_or_everything_are_the_first_thing_said(tmp_path, capsys, value, said):
    _pairs(tmp_path, [value] * 4, [value] * 4)
    _verify(tmp_path)
    assert capsys.readouterr().out.startswith(f"segtricks: warning: photos: all masks are {said}.")


def test_photographs_of_few_bits_and_transparent_ones_are_named(tmp_path, capsys):
    deep = np.arange(8, dtype=np.uint16).reshape(2, 4) * 500
    Image.fromarray(deep).save(tmp_path / "a.png")
    Image.fromarray(np.dstack([np.arange(24).reshape(2, 4, 3), np.zeros((2, 4))]).astype(np.uint8)).save(
        tmp_path / "clear.png"
    )
    data.main(["verify", str(tmp_path)])
    out = capsys.readouterr().out
    assert "photographs of 16 bits hold no value above 4095, which is read as white" in out
    assert "alpha is 0 everywhere, read by its colours      1  clear.png" in out
    Image.fromarray(deep * np.uint16(16)).save(tmp_path / "b.png")
    with pytest.raises(FaultsFound, match="2 of 3 images are sound"):
        data.main(["verify", str(tmp_path)])
    assert "read as nearly black      1  a.png" in capsys.readouterr().out


def test_orientations_are_compared_with_both_sizes(tmp_path, capsys):
    _pairs(tmp_path, *[[0, 0, 255, 255]] * 3)
    exif = Image.new("L", (1, 1)).getexif()
    for i, orientation in enumerate((1, 3, 6)):
        exif[ExifTags.Base.Orientation] = orientation
        Image.new("RGB", (4, 2), "gray").save(tmp_path / f"photos/{i}.jpg", exif=exif)
    with pytest.raises(FaultsFound, match="2 of 3 pairs are sound"):
        _verify(tmp_path)
    out = capsys.readouterr().out
    assert "photos/2.jpg (image 2 x 4, mask 4 x 2, EXIF orientation 6)" in out
    assert "photos/1.jpg (3, of the size of its mask)" in out
    _verify(tmp_path, "--orientation", "raw")
    assert "3 of 3 pairs are sound" in capsys.readouterr().out


def test_photographs_without_boxes_are_faults_and_annotations_without_photographs_are_none(tmp_path, capsys):
    _pairs(tmp_path, [0, 0, 255, 255], [0, 255, 255, 255])
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>"
    (tmp_path / "xml").mkdir()
    for name in ("0", "stray"):
        text = f"<annotation><size><width>4</width><height>2</height></size><object>{box}</object></annotation>"
        (tmp_path / f"xml/{name}.xml").write_text(text)
    with pytest.raises(FaultsFound, match="1 of 1 images are sound"):
        data.main(["verify", str(tmp_path / "photos"), "--boxes", str(tmp_path / "xml")])
    assert "fault  image without an annotation      1  1.jpg" in capsys.readouterr().out
