import csv
import json
from collections import Counter

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from segtricks.cli import main
from segtricks.data import mask_values
from segtricks.data.images import read_raw_mask

SHAPE = (24, 30)


def _save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


def _square(shape=SHAPE, value=255):
    mask = np.zeros(shape, np.uint8)
    mask[: shape[0] // 2, : shape[1] // 2] = value
    return mask


@pytest.fixture
def folders(tmp_path):
    """Three targets and perfect predictions."""
    for name in ("a", "b", "c"):
        _save(tmp_path / "gt" / f"{name}.png", _square())
        _save(tmp_path / "pred" / f"{name}.png", _square())
    return tmp_path


def _evaluate(folders, *words, predictions=("pred",)):
    output = folders / "result.json"
    paths = [str(folders / name) for name in predictions]
    status = main(
        ["evaluate", "--predictions", *paths, "--targets", str(folders / "gt"), "--output", str(output), *words]
    )
    return json.loads(output.read_text()) if status == 0 else status


def test_masks_against_themselves_are_perfect_in_every_figure_and_none_leaves_0_to_1(folders):
    metrics = _evaluate(folders)["metrics"]
    assert metrics.pop("mae") == 0
    assert metrics.pop("e_measure_mean") > 0.99  # its lowest threshold takes the whole image
    assert all(value == pytest.approx(1) and value <= 1 for value in metrics.values())


def test_figures_of_soft_masks_by_hand(folders):
    for name, value in (("a", 204), ("b", 51), ("c", 0)):
        _save(folders / "pred" / f"{name}.png", _square(value=value))
    result = _evaluate(folders)
    # a is right above 0.5, b and c are empty there; the square covers a quarter.
    assert result["metrics"]["iou"] == pytest.approx(1 / 3)
    assert result["metrics"]["acc"] == pytest.approx((1 + 0.75 + 0.75) / 3)
    assert result["metrics"]["mae"] == pytest.approx((0.2 + 0.8 + 1) / 3 / 4)
    assert result["images"] == 3
    assert result["skipped"] == []
    assert sum(entry["images"] for entry in result["size_bins"]) == 3
    assert result["size_bins"][5] == {"from": 0.25, "to": 0.3, "images": 3, "iou": pytest.approx(1 / 3)}


def test_every_choice_is_written_and_can_be_changed(folders):
    protocol = _evaluate(folders, "--protocol", "sod:beta2=1,f_average=images")["protocol"]
    assert protocol["name"] == "sod:beta2=1,f_average=images"
    assert (protocol["beta2"], protocol["f_average"], protocol["stretch"]) == (1.0, "images", True)


def test_large_objects_are_not_inverted_unless_asked_for(folders):
    for folder in ("gt", "pred"):
        _save(folders / folder / "a.png", 255 - _square())
    assert _evaluate(folders)["metrics"]["iou"] == 1
    result = _evaluate(folders, "--protocol", "fullres:polarity=image")
    assert result["metrics"]["iou"] == pytest.approx(2 / 3)
    assert result["protocol"]["polarity"] == "image"


def test_polarity_of_a_batch_is_that_of_its_mean(folders):
    for folder in ("gt", "pred"):
        _save(folders / folder / "a.png", 255 - _square())  # mean 3/4, 1/4, 1/4: no batch of three is inverted
    assert _evaluate(folders, "--protocol", "fullres:polarity=batch,batch_size=3")["metrics"]["iou"] == 1
    result = _evaluate(folders, "--protocol", "fullres:polarity=batch,batch_size=1")
    assert result["metrics"]["iou"] == pytest.approx(2 / 3)


def test_images_in_are_images_scored_plus_images_skipped_by_name_and_reason(folders, capsys):
    (folders / "pred" / "a.png").write_bytes(b"no image")
    (folders / "pred" / "b.png").unlink()
    _save(folders / "pred" / "stranger.png", _square())
    _save(folders / "pred" / "c.bmp", _square())
    result = _evaluate(folders)
    reasons = {entry["path"].rsplit("/", 1)[1]: entry["reason"] for entry in result["skipped"]}
    assert result["images"] == 1
    assert reasons == {
        "a.png": "not an image, or damaged at its start",
        "b.png": "no prediction of this name",
        "stranger.png": "no target of this name",
        "c.bmp": "c.png is used instead",
    }
    assert "1 of 5 scored, 4 skipped" in capsys.readouterr().out


def test_zero_one_predictions_and_targets_mean_0_and_255_and_are_said_once(folders, capsys):
    for name in ("a", "b"):
        _save(folders / "pred" / f"{name}.png", _square(value=1))
    _save(folders / "gt" / "a.png", _square(value=1))
    result = _evaluate(folders)
    assert result["metrics"]["iou"] == 1
    assert {key: note["files"] for key, note in result["notes"].items()} == {"zero_one": 2, "target_zero_one": 1}
    assert capsys.readouterr().out.count("hold 0 and 1 alone") == 2


def test_jpeg_colour_and_other_sizes_are_read_by_rule_and_counted(folders):
    (folders / "pred" / "a.png").unlink()
    _save(folders / "pred" / "a.jpg", _square())
    _save(folders / "pred" / "b.png", np.repeat(_square()[..., None], 3, axis=2))
    _save(folders / "pred" / "c.png", _square((48, 60)))
    _save(folders / "gt" / "b.png", np.where(_square(), 200, 90))
    result = _evaluate(folders)
    assert result["metrics"]["iou"] == 1
    assert {key: note["files"] for key, note in result["notes"].items()} == {
        "colour": 1,
        "resized": 1,
        "target_between": 1,
    }


def test_nearest_and_bilinear_resizing_differ_where_the_protocol_says_so(folders):
    for name in ("a", "b", "c"):
        _save(folders / "pred" / f"{name}.png", [[255, 0], [0, 0]])
    assert _evaluate(folders, "--protocol", "tokencut")["metrics"]["mae"] == 0
    assert _evaluate(folders)["metrics"]["mae"] > 0.05


def test_predictions_of_the_crops_size_and_whole_ones_give_the_same_under_the_papers_protocol(folders):
    for name in ("a", "b", "c"):
        _save(folders / "pred" / f"{name}.png", _square((48, 60)))
        _save(folders / "gt" / f"{name}.png", _square((48, 60)))
    assert _evaluate(folders, "--protocol", "two-tricks")["metrics"]["iou"] == pytest.approx(1)


def test_nested_folders_pair_by_path_and_flat_ones_by_name(tmp_path):
    for name in ("cat/1", "dog/1"):
        _save(tmp_path / "gt" / f"{name}.png", _square())
        _save(tmp_path / "pred" / "soft" / f"{name}.png", _square())  # as segtricks predict writes
    assert _evaluate(tmp_path)["images"] == 2
    _save(tmp_path / "flat" / "x.png", _square())
    _save(tmp_path / "gt" / "deep" / "x.png", _square())
    assert main(["evaluate", "--predictions", str(tmp_path / "flat"), "--targets", str(tmp_path / "gt" / "deep")]) == 0


def test_several_folders_give_one_table_and_one_result_each(folders, capsys):
    for name in ("a", "b", "c"):
        _save(folders / "empty" / f"{name}.png", np.zeros(SHAPE))
    results = _evaluate(folders, predictions=("pred", "empty"))["results"]
    assert [result["metrics"]["iou"] for result in results] == [1, 0]
    table = capsys.readouterr().out
    assert table.count("max F") == 1
    assert "pred " in table
    assert "empty " in table


def test_csv_has_a_row_for_every_image_whose_mean_is_the_result(folders):
    for name, value in (("a", 204), ("b", 51)):
        _save(folders / "pred" / f"{name}.png", _square(value=value))
    result = _evaluate(folders, "--per-image", str(folders / "rows.csv"))
    with (folders / "rows.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["a", "b", "c"]
    for key in ("acc", "iou", "mae", "s_measure", "weighted_fbeta", "adaptive_fbeta"):
        assert np.mean([float(row[key]) for row in rows]) == pytest.approx(result["metrics"][key])
    assert {float(row["size"]) for row in rows} == {0.25}


def test_threads_change_nothing(folders):
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        _save(folders / "pred" / f"{name}.png", rng.integers(0, 256, SHAPE))
    assert _evaluate(folders, "--workers", "1") == _evaluate(folders, "--workers", "3")


def test_figures_are_written_for_one_and_for_several_folders(folders):
    for name in ("a", "b", "c"):
        _save(folders / "empty" / f"{name}.png", np.zeros(SHAPE))
        _save(folders / "photos" / f"{name}.jpg", np.zeros((*SHAPE, 3)))
    figures = folders / "figures"
    _evaluate(folders, "--figures", str(figures), "--images", str(folders / "photos"))
    assert sorted(path.name for path in figures.iterdir()) == ["best-worst.png", "f.png", "iou-by-size.png", "pr.png"]
    _evaluate(folders, "--figures", str(folders / "two"), predictions=("pred", "empty"))
    assert (folders / "two" / "best-worst-empty.png").is_file()


VOC = """<annotation><size><width>30</width><height>24</height></size>
<object><difficult>{}</difficult><truncated>0</truncated>
<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>15</xmax><ymax>12</ymax></bndbox></object></annotation>"""


def test_boxes_of_voc_give_corloc_at_the_images_own_size(folders):
    _save(folders / "pred" / "a.png", _square((48, 60)))
    _save(folders / "pred" / "b.png", np.zeros(SHAPE))
    for name, difficult in (("a", 0), ("b", 0), ("c", 1)):
        (folders / f"{name}.xml").write_text(VOC.format(difficult))
    result = _evaluate(folders, "--boxes", str(folders))
    assert result["metrics"]["corloc"] == pytest.approx(2 / 3)
    assert (result["corloc"]["hits"], result["corloc"]["images"]) == (2, 3)
    result = _evaluate(folders, "--boxes", str(folders), "--no-hard")
    assert result["metrics"]["corloc"] == 1 / 2
    assert result["images"] == 3


def test_boxes_alone_need_no_targets_and_list_what_they_leave_out(folders, capsys):
    for name, difficult in (("a", 0), ("c", 1), ("z", 0)):
        (folders / f"{name}.xml").write_text(VOC.format(difficult))
    words = ["--boxes", str(folders), "--no-hard", "--output", str(folders / "r.json")]
    assert main(["evaluate", "--predictions", str(folders / "pred"), *words]) == 0
    result = json.loads((folders / "r.json").read_text())
    assert result["metrics"] == {"corloc": 1.0}
    assert (result["images"], len(result["skipped"])) == (1, 3)


def test_coco_boxes_leave_crowds_out(folders):
    def box(crowd, *bbox):
        return {"image_id": 1, "iscrowd": crowd, "bbox": bbox}

    content = {"images": [{"id": 1, "file_name": "a.jpg", "width": 30, "height": 24}]}
    for annotations, expected in (([box(1, 0, 0, 15, 12)], 0), ([box(0, 0, 0, 15, 12), box(0, 1, 1, 2, 2)], 1)):
        (folders / "coco.json").write_text(json.dumps(content | {"annotations": annotations}))
        result = _evaluate(folders, "--boxes", str(folders / "coco.json"))
        assert result["metrics"]["corloc"] == expected
        assert ("no_box" in result["notes"]) == (expected == 0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--predictions", "pred"], "Nothing to compare with: pass --targets"),
        (["--predictions", "pred", "--targets", "nowhere"], "No folder nowhere"),
        (["--predictions", "hollow", "--targets", "gt"], "No images in hollow"),
        (["--predictions", "other", "--targets", "gt"], "has the name of a target"),
        (["--predictions", "broken", "--targets", "gt"], "None of 3 masks could be scored"),
        (["--predictions", "pred", "pred", "--targets", "gt"], "names a folder twice"),
        (
            ["--predictions", "pred", "--targets", "gt", "--protocol", "full"],
            "Unknown protocol 'full'. Allowed: fullres",
        ),
        (["--predictions", "pred", "--targets", "gt", "--protocol", "sod:beta=1"], "Unknown choice 'beta'"),
        (["--predictions", "pred", "--targets", "gt", "--protocol", "sod:stretch=1"], "must be true or false"),
        (["--predictions", "pred", "--targets", "gt", "--boxes", "gt"], "No XML files in gt"),
        (["--predictions", "pred", "--boxes", "gt/a.png"], "is not a COCO annotation file"),
        (["--predictions", "pred", "--targets", "gt", "--boxes", "gt", "--protocol", "two-tricks"], "whole images"),
        (["--targets", "gt"], "--predictions"),
    ],
)
def test_mistakes_are_told_in_a_few_lines(folders, monkeypatch, capsys, words, message):
    monkeypatch.chdir(folders)
    (folders / "hollow").mkdir()
    _save(folders / "other" / "x.png", _square())
    (folders / "broken").mkdir()
    (folders / "broken" / "a.png").write_bytes(b"")
    assert main(["evaluate", *words]) == 2
    assert message in capsys.readouterr().err


def test_masks_of_predict_score_as_test_scored_the_model_but_for_their_8_bits(trained, tmp_path, monkeypatch):
    from torchvision.transforms.v2.functional import to_pil_image

    from segtricks.data import SyntheticShapes

    shapes = SyntheticShapes(3, 41, seed=5)
    for i in range(3):
        for folder, read in (("images", shapes.read_image), ("ground_truth_mask", shapes.read_mask)):
            (tmp_path / "ECSSD" / folder).mkdir(parents=True, exist_ok=True)
            to_pil_image(read(i)).save(tmp_path / "ECSSD" / folder / f"{i}.png")
    monkeypatch.chdir(trained)
    root, words = tmp_path / "ECSSD", ["--data.root", str(tmp_path)]
    with pytest.warns(UserWarning, match="1,000"):
        assert main(["test", "--run", "small", "--data", "ecssd", *words]) == 0
    assert main(["predict", "--run", "small", "--images", str(root / "images"), "--output", str(tmp_path / "out")]) == 0
    words = ["--targets", str(root / "ground_truth_mask"), "--output", str(tmp_path / "result.json")]
    assert main(["evaluate", "--predictions", str(tmp_path / "out"), *words]) == 0
    tested = json.loads((trained / "runs/small/test/ecssd.json").read_text())
    evaluated = json.loads((tmp_path / "result.json").read_text())
    assert evaluated["metrics"] == pytest.approx(tested["metrics"], abs=0.02)
    assert evaluated["metrics"]["iou"] == pytest.approx(tested["metrics"]["iou"], abs=1e-6)
    with (trained / "runs/small/test/ecssd-per-image.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["mask"] == "mask + guided filter"]
    assert np.mean([float(row["iou"]) for row in rows]) == pytest.approx(tested["metrics"]["iou"])
    bins = tested["size_bins"]["mask + guided filter"]
    assert sum(entry["images"] for entry in bins) == tested["images"] == len(rows) == 3


def test_a_changed_choice_reaches_the_protocol_of_test_too(trained, monkeypatch):
    monkeypatch.chdir(trained)
    assert main(["test", "--run", "small", "--protocol", "sod:beta2=1,f_average=images"]) == 0
    protocol = json.loads((trained / "runs/small/test/synthetic-14-18-sod-beta2-1-f_average-images.json").read_text())[
        "protocol"
    ]
    assert (protocol["beta2"], protocol["f_average"], protocol["stretch"]) == (1.0, "images", True)


def _cases(golden):
    folder = golden.parent / "cases"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    return folder


@pytest.mark.parametrize(
    ("predictions", "targets", "iou", "note"),
    [
        ("pred_soft", "gt", 0.6921, None),
        ("pred_uint16_0_255", "gt", 0.6921, "depth"),
        ("pred_rgba_cutout", "gt", 0.6921, "alpha"),
        ("pred_soft", "gt_palette_ids", 0.6921, "target_palette"),
        ("pred_one_nearly_empty", "gt", 0.5785, None),
    ],
)
def test_values_of_a_folder_mean_one_thing(golden, tmp_path, predictions, targets, iou, note):
    cases = _cases(golden)
    words = ["--predictions", str(cases / predictions), "--targets", str(cases / targets)]
    assert main(["evaluate", *words, "--output", str(tmp_path / "r.json")]) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["metrics"]["iou"] == pytest.approx(iou, abs=5e-5)
    assert list(result["notes"]) == ([] if note is None else [note])
    assert set(result["reading"]) == {"predictions", "targets"}


def test_classes_are_refused_with_their_values_until_it_is_said_what_they_mean(golden, tmp_path, capsys):
    cases = _cases(golden)
    words = ["--predictions", str(cases / "pred_soft"), "--targets", str(cases / "gt_1_and_void255")]
    assert main(["evaluate", *words]) == 2
    assert "The targets hold the values 0, 1, 255" in capsys.readouterr().err
    ious = []
    for ignore in ([], ["--ignore", "255"]):
        words += ["--foreground", "1", *ignore, "--output", str(tmp_path / "r.json")]
        assert main(["evaluate", *words]) == 0
        ious.append(json.loads((tmp_path / "r.json").read_text())["metrics"]["iou"])
    assert ious[1] > ious[0]  # false alarms within the border no longer count


def test_the_border_of_class_maps_is_not_scored_and_said(folders, capsys):
    for name in "abc":
        classes = np.where(_square(), 7, 0)
        classes[0] = 255
        image = Image.fromarray(classes.astype(np.uint8)).convert("P")
        image.putpalette([value for i in range(256) for value in (i, 255 - i, 7)])
        image.putdata(classes.flatten().tolist())
        image.save(folders / f"gt/{name}.png")
    result = _evaluate(folders)
    assert result["metrics"]["iou"] == 1
    assert result["reading"]["targets"]["ignore"] == [255]
    assert set(result["notes"]) == {"target_palette", "target_border"}
    assert "3 targets hold 255 among classes, whose pixels were not scored." in capsys.readouterr().out


@pytest.mark.parametrize(("value", "which", "said"), [(0, "pred", "predictions, all"), (255, "gt", "targets, all")])
def test_masks_of_nothing_or_everything_are_the_first_thing_said(folders, capsys, value, which, said):
    for path in (folders / which).iterdir():
        _save(path, np.full((8, 8), value, np.uint8))
    result = _evaluate(folders)
    assert capsys.readouterr().out.startswith(f"segtricks: warning: pred: the {said}")
    assert any(key.endswith(("all_empty", "all_full")) for key in result["notes"])


@pytest.fixture
def turned(tmp_path):
    """Photographs with EXIF orientations 1, 3 and 6, targets on their stored pixels, upright predictions."""
    for orientation in (1, 3, 6):
        exif = Image.new("L", (1, 1)).getexif()
        exif[ExifTags.Base.Orientation] = orientation
        for folder in ("photos", "gt", "pred"):
            (tmp_path / folder).mkdir(exist_ok=True)
        _save(tmp_path / f"gt/{orientation}.png", _square())
        photo = tmp_path / f"photos/{orientation}.png"
        Image.fromarray(_square()).save(photo, exif=exif)
        ImageOps.exif_transpose(Image.open(photo)).save(tmp_path / f"pred/{orientation}.png")
    return tmp_path


def test_targets_drawn_on_stored_pixels_are_turned_when_that_is_said(turned):
    result = _evaluate(turned, "--images", str(turned / "photos"), "--orientation", "raw")
    assert (result["metrics"]["iou"], result["images"], result["reading"]["orientation"]) == (1, 3, "raw")


def test_without_that_a_half_turn_is_named_and_a_quarter_turn_left_out_with_both_sizes(turned, capsys):
    result = _evaluate(turned, "--images", str(turned / "photos"))
    assert {key: note["files"] for key, note in result["notes"].items()} == {"target_turned": 1}
    (skipped,) = result["skipped"]
    assert skipped["reason"].startswith("is 24 x 30 pixels, its target 30 x 24")
    assert "no size tells" in capsys.readouterr().out
    assert _evaluate(turned)["skipped"] == [skipped]


def test_turning_needs_the_photographs(turned, capsys):
    assert _evaluate(turned, "--orientation", "raw") == 2
    assert "pass their folder, --images" in capsys.readouterr().err


def test_boxes_of_equal_stems_go_by_their_paths(tmp_path):
    images, annotations = [], []
    for number, folder in enumerate("ab"):
        mask = _square() if folder == "a" else np.flip(_square())
        _save(tmp_path / f"pred/{folder}/x.png", mask)
        images.append({"id": number, "file_name": f"{folder}/x.jpg", "width": 30, "height": 24})
        annotations.append({"image_id": number, "bbox": [15 * number, 12 * number, 15, 12]})
    (tmp_path / "coco.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    words = ["--predictions", str(tmp_path / "pred"), "--boxes", str(tmp_path / "coco.json")]
    assert main(["evaluate", *words, "--output", str(tmp_path / "r.json")]) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert (result["metrics"], result["images"], result["skipped"]) == ({"corloc": 1.0}, 2, [])


@pytest.fixture
def many(tmp_path):
    """Forty targets and perfect predictions; the second of them by name is not among the few that a guess looks at."""
    for number in range(40):
        for folder in ("gt", "pred"):
            _save(tmp_path / folder / f"{number:02d}.png", _square())
    return tmp_path


def test_every_mask_is_read_once_but_for_the_few_that_a_guess_looks_at(many, monkeypatch):
    read = Counter()

    def counted(path, content=None):
        read[path] += 1
        return read_raw_mask(path, content)

    monkeypatch.setattr(mask_values, "read_raw_mask", counted)
    assert _evaluate(many)["metrics"]["iou"] == 1
    assert len(read) == 80
    assert Counter(read.values()) == {1: 2 * (40 - 16), 2: 2 * 16}


def test_one_file_that_the_guess_did_not_see_decides_for_all(many):
    for number in range(40):
        soft = Image.fromarray(np.uint16(_square()) * 16)  # 4,080: 12 bits
        soft.save(many / "pred" / f"{number:02d}.png")
    assert _evaluate(many)["reading"]["predictions"]["white"] == 4095
    Image.fromarray(np.uint16(_square()) * 257).save(many / "pred" / "01.png")
    result = _evaluate(many)
    assert result["reading"]["predictions"]["white"] == 65535
    assert result["metrics"]["iou"] == pytest.approx(1 / 40)  # the others are nearly black on that scale


def test_few_files_that_look_like_classes_do_not_stop_a_folder_of_soft_masks(many):
    for number in range(40):
        _save(many / "pred" / f"{number:02d}.png", _square(value=3))
    assert _evaluate(many) == 2
    ramp = np.tile(np.linspace(0, 255, SHAPE[1]), (SHAPE[0], 1))
    _save(many / "pred" / "01.png", ramp)
    assert _evaluate(many)["images"] == 40
