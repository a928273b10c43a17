import json

import numpy as np
import pytest
import torch
from PIL import Image

from segtricks.cli import main
from segtricks.data.images import read_image, read_mask
from segtricks.data.label_store import Store
from segtricks.data.sample import Instances
from segtricks.pseudo_labels.instances import InstanceWriter
from segtricks.pseudo_labels.writer import MaskWriter
from segtricks.refine import GuidedFilter, bilateral_solver, guided_filter


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    masks, photos = tmp_path / "masks", tmp_path / "photos"
    for name in ("a", "sub/b"):
        for root, suffix, shape in ((masks, ".png", (40, 50)), (photos, ".jpg", (40, 50, 3))):
            path = (root / name).with_suffix(suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return masks, photos, tmp_path / "out"


def _refine(folders, *words):
    masks, photos, out = folders
    return main(["refine", "--masks", str(masks), "--images", str(photos), "--output", str(out), *words])


def _arrays(folders, name="sub/b"):
    masks, photos, out = folders
    mask, photo, refined = (
        np.array(Image.open(root / f"{name}{suffix}"))
        for root, suffix in zip((masks, photos, out), (".png", ".jpg", ".png"), strict=True)
    )
    return torch.from_numpy(mask)[None, None] / 255, torch.from_numpy(photo).permute(2, 0, 1)[None] / 255, refined


@pytest.mark.parametrize(
    ("words", "refine"),
    [
        ((), guided_filter),
        (("--radius", "3", "--eps", "0.01", "--border", "reflect"), GuidedFilter(3, 0.01, "reflect")),
        (("--method", "bilateral_solver", "--preset", "tokencut"), lambda m, i: bilateral_solver(m, i, 16, 16, 8)),
        (("--method", "bilateral_solver", "--sigma_spatial", "8"), lambda m, i: bilateral_solver(m, i, 8)),
    ],
)
def test_files_are_the_functions_results_in_8_bits_with_names_and_folders_kept(folders, words, refine):
    assert _refine(folders, *words) == 0
    mask, photo, refined = _arrays(folders)
    expected = (refine(mask, photo).clamp(0, 1) * 255).round()[0, 0].numpy()
    assert np.abs(refined.astype(float) - expected).max() <= 1
    found = sorted(path.relative_to(folders[2]).as_posix() for path in folders[2].rglob("*") if path.is_file())
    assert found == ["a.png", "index.json", "sub/b.png"]


def test_index_says_what_was_done_and_what_was_skipped(folders, capsys):
    (folders[0] / "broken.png").write_bytes(b"no image")
    Image.new("RGB", (8, 8)).save(folders[1] / "broken.jpg")
    Image.new("RGB", (8, 8)).save(folders[1] / "lonely.jpg")
    assert _refine(folders, "--radius", "4") == 0
    index = json.loads((folders[2] / "index.json").read_text())
    assert index["refiner"]["method"] == "guided_filter"
    assert (index["refiner"]["radius"], index["refiner"]["eps"]) == (4, 1e-3)
    assert index["images"] == 2
    assert len(index["skipped"]) == 2
    assert "2 of 4 masks refined" in capsys.readouterr().out


def test_mask_of_another_size_is_enlarged_to_its_photograph_and_said_so(folders, capsys):
    Image.new("L", (25, 20), 255).save(folders[0] / "a.png")
    assert _refine(folders) == 0
    assert Image.open(folders[2] / "a.png").size == (50, 40)
    assert "1 predictions differ from their photograph in size" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "bilateral"), "invalid choice: 'bilateral'"),
        (("--preset", "nobody"), "has no preset 'nobody'. Allowed: two-tricks"),
        (("--sigma_luma", "3"), "guided_filter has no option --sigma_luma"),
        (("--radius", "wide"), "--radius must be a whole number, got 'wide'"),
        (("--radius", "0"), "radius >= 1"),
        (("--border", "soft"), "--border must be exact or reflect or replicate or circular"),
        (("--output", "MASKS"), "is a folder of the input"),
    ],
)
def test_mistakes_are_told_in_one_or_two_lines(folders, words, message, capsys):
    assert _refine(folders, *(str(folders[0]) if word == "MASKS" else word for word in words)) == 2
    assert message in capsys.readouterr().err


def test_image_smaller_than_a_padded_window_is_skipped_and_not_a_crash(folders):
    Image.new("L", (3, 2), 255).save(folders[0] / "a.png")
    Image.new("RGB", (3, 2)).save(folders[1] / "a.jpg")
    assert _refine(folders, "--border", "reflect") == 0
    index = json.loads((folders[2] / "index.json").read_text())
    assert (index["images"], len(index["skipped"])) == (1, 1)
    assert "cannot be refined" in index["skipped"][0]["reason"]


def test_a_mask_turned_by_a_quarter_is_skipped_with_both_sizes(folders):
    Image.new("L", (40, 50)).save(folders[0] / "a.png")
    assert _refine(folders) == 0
    (skipped,) = json.loads((folders[2] / "index.json").read_text())["skipped"]
    assert skipped["reason"].startswith("is 40 x 50 pixels, its photograph 50 x 40 (width x height): one of both")


def test_photographs_of_12_bits_in_16_guide_as_those_of_16_do(folders, capsys):
    masks, photos, out = folders
    refined = []
    for scale in (1, 16):
        for path in photos.rglob("*.*"):
            values = np.random.default_rng(1).integers(0, 4096, (40, 50)) * scale
            path.unlink()
            Image.fromarray(values.astype(np.uint16)).save(path.with_suffix(".png"))
        assert _refine((masks, photos, out / str(scale))) == 0
        refined.append(np.asarray(Image.open(out / str(scale) / "a.png")).astype(int))
    assert np.abs(refined[0] - refined[1]).max() <= 1
    assert capsys.readouterr().out.count("photographs of 16 bits hold no value above 4095") == 1


@pytest.fixture
def predicted(folders, tmp_path):
    """What predict writes of these photographs and masks: a folder with soft/."""
    masks, photos, out = folders
    paths = sorted(photos.rglob("*.jpg"))
    writer = MaskWriter(photos, tmp_path / "predicted", paths)
    for path in paths:
        mask = read_mask((masks / path.relative_to(photos)).with_suffix(".png"))
        writer.write(mask / 255, read_image(path), path)
    return tmp_path / "predicted", photos, out


def _files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_what_predict_wrote_is_refined_to_the_same_folders_and_a_store(predicted, folders):
    assert _refine(predicted) == 0
    out = predicted[2]
    assert _files(out) == sorted([*_files(predicted[0]), "index.json", "settings.json"])
    assert _refine((*folders[:2], out.with_name("flat"))) == 0
    for name in ("a", "sub/b"):
        soft, flat = (np.asarray(Image.open(path / f"{name}.png")) for path in (out / "soft", out.with_name("flat")))
        assert np.abs(soft.astype(int) - flat).max() <= 1
        binary = np.asarray(Image.open(out / f"binary/{name}.png"))
        assert ((binary > 0) == (soft > 127)).mean() > 0.99
        assert (Store.open(out).entry(name).arrays().any(0) == (binary > 0)).all()
    index = json.loads((out / "index.json").read_text())
    assert (index["images"], index["masks"], index["written"]) == (2, 2, ["a.jpg", "sub/b.jpg"])
    assert index["refiner"]["method"] == "guided_filter" and index["settings"]["polarity"] == "none"
    again = out.with_name("again")
    assert _refine((out, predicted[1], again)) == 0, "the result is refined again as it is"
    assert (again / "soft/sub/b.png").is_file()


@pytest.mark.parametrize(("layout", "kind"), [("flat", ""), ("folders", "soft/")])
def test_the_layout_is_chosen(folders, predicted, layout, kind):
    for source in (folders, predicted):
        out = source[2] / layout / source[0].name
        assert _refine((*source[:2], out), "--layout", layout) == 0
        assert (out / f"{kind}sub/b.png").is_file()
        assert (out / "overlay").is_dir() == (layout == "folders")


def test_what_is_written_is_not_read_the_next_time(folders, predicted, capsys):
    for source, inside in ((folders, 0), (folders, 1), ((predicted[0] / "soft", *predicted[1:]), 0)):
        assert _refine((*source[:2], source[inside] / "refined/here")) == 2
        assert f"lies in {source[inside]}, which is read" in capsys.readouterr().err
        assert not (source[inside] / "refined").exists()
    assert _refine((*predicted[:2], predicted[0] / "refined")) == 0, "soft/ alone is read"


@pytest.mark.parametrize("layout", ["flat", "folders"])
def test_masks_of_other_settings_or_of_another_command_stay_as_they_are(predicted, folders, layout, capsys):
    masks, photos, out = predicted
    words = ["--layout", layout]
    assert _refine((folders[0], photos, masks), *words) == 2
    assert f"{masks} holds masks made by another command" in capsys.readouterr().err
    assert _refine(predicted, "--radius", "3") == 0
    before = {path: path.read_bytes() for path in out.rglob("*.*")}
    assert _refine(predicted, "--radius", "4", *words) == 2
    assert "made with refiner.radius 3.\nNext: pass another --output, or the same" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*.*")} == before
    assert _refine(predicted, "--radius", "3") == 0


def test_overwrite_removes_refined_masks_of_other_settings_and_none_of_another_command(predicted, folders):
    masks, photos, out = predicted
    assert _refine(predicted, "--radius", "3") == 0
    kinds = {"soft": "png", "binary": "png", "overlay": "jpg", "entries": "json"}
    left = [out / kind / f"gone.{suffix}" for kind, suffix in kinds.items()]  # of a photograph that is no longer there
    for file in left:
        file.touch()
    assert _refine(predicted, "--radius", "4", "--overwrite") == 0
    assert json.loads((out / "settings.json").read_text())["refiner"]["radius"] == 4
    assert not any(file.exists() for file in left)
    assert (out / "soft" / "a.png").is_file()
    assert _refine((folders[0], photos, masks), "--layout", "folders", "--overwrite") == 2
    assert (masks / "soft" / "a.png").is_file()


def test_masks_that_are_not_one_a_photograph_are_refused(folders, tmp_path, capsys):
    writer = InstanceWriter(folders[1], tmp_path / "several", [folders[1] / "a.jpg"])
    nothing = Instances(torch.zeros(0, 40, 50, dtype=torch.bool), torch.zeros(0), torch.zeros(0))
    writer.write(nothing, torch.zeros(3, 40, 50, dtype=torch.uint8), folders[1] / "a.jpg")
    assert _refine((tmp_path / "several", *folders[1:])) == 2
    assert "holds no soft/" in capsys.readouterr().err
