import json
import shutil
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from segtricks.backbones.descriptor import DescriptorBackbone
from segtricks.cli import main
from segtricks.commands.output_options import Outputs
from segtricks.commands.outputs import prepare
from segtricks.data.films import write_film
from segtricks.data.label_store import Store
from segtricks.errors import UserError
from segtricks.pseudo_labels.label_maps import LabelWriter
from segtricks.pseudo_labels.parts import Share


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Five photographs of a bright object on a dark ground, one of them broken."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "sub é").mkdir()
    for number, name in enumerate(["a.png", "b.png", "c c.png", "sub é/a.png"]):
        colours = np.random.default_rng(number).integers(0, 60, (40, 48, 3), dtype=np.uint8)
        colours[8:20, 10 + 4 * number : 24 + 4 * number] += 180
        Image.fromarray(colours).save(folder / name)
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def predict(trained, photos, tmp_path, monkeypatch):
    """Predict into a folder below ``tmp_path``; return the index."""
    monkeypatch.chdir(trained)

    def predict(*words, output="out", images=photos, status=0):
        given = ["--run", "runs/small", "--images", str(images), "--output", str(tmp_path / output), *words]
        assert main(["predict", *given]) == status
        index = tmp_path / output / "index.json"
        return json.loads(index.read_text()) if index.is_file() else None

    return predict


ALL = ("--format", "masks", "coco", "yolo", "labelme", "cutout")


def contents(folder):
    """All files of the formats and all pictures; ``path`` is where labelme looks for the photograph."""
    files = [path for path in folder.rglob("*.*") if path.is_file() and "index" not in path.name]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files if "-of-" not in path.name}


def test_all_formats_are_written_of_all_photographs_that_can_be_read(predict, tmp_path, capsys):
    index = predict(*ALL)
    assert [entry["path"].rsplit("/")[-1] for entry in index["skipped"]] == ["broken.png"]
    names = ["a", "b", "c c", "sub é/a"]
    for folder, suffix in (("yolo/labels", "txt"), ("labelme", "json"), ("cutout", "png"), ("soft", "png")):
        found = sorted((tmp_path / "out" / folder).rglob(f"*.{suffix}"))
        assert [path.relative_to(tmp_path / "out" / folder).with_suffix("").as_posix() for path in found] == names
    content = json.loads((tmp_path / "out/instances.json").read_text())
    assert [image["file_name"] for image in content["images"]] == [f"{name}.png" for name in names]
    assert "instances.json, yolo/data.yaml, labelme/, cutout/, index.json" in capsys.readouterr().out


def test_shards_write_the_same_and_the_last_one_joins_them(predict, tmp_path):
    predict(*ALL, output="whole")
    assert predict(*ALL, "--shard", "2/2") is None
    predict(*ALL, "--shard", "1/2")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_formats_are_added_to_masks_that_are_there_and_what_is_missing_is_made(predict, tmp_path, monkeypatch):
    predict(*ALL, output="whole")
    predict()
    with monkeypatch.context() as patch:
        patch.setattr(DescriptorBackbone, "extract", lambda self, images: 1 / 0)
        assert predict(*ALL)["already_there"] == 4
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    (tmp_path / "out/entries/b.json").unlink()
    (tmp_path / "out/labelme/b.json").unlink()
    assert predict(*ALL)["written"] == ["b.png"]
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_format_alone_needs_no_pictures_and_overwriting_leaves_none_of_other_options(predict, tmp_path, monkeypatch):
    predict("--format", "coco")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("entries", "instances.json", "index.json", "settings.json")
    }
    predict(*ALL)
    predict("--format", "coco", "--overwrite", "--model.refine_at", "full")
    left = {name.split("/")[0] for name in contents(tmp_path / "out")}
    assert left == {"entries", "instances.json", "settings.json", "yolo"}
    assert not list((tmp_path / "out/yolo/labels").rglob("*.txt"))


def test_a_photograph_that_was_damaged_since_is_listed_and_the_others_are_written(predict, photos, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    predict(images=tmp_path / "photos")
    (tmp_path / "photos/b.png").write_bytes(b"no picture")
    index = predict("--format", "masks", "coco", "cutout", images=tmp_path / "photos")
    assert [entry["path"].rsplit("/")[-1] for entry in index["skipped"]] == ["b.png", "broken.png"]
    assert sorted(path.stem for path in (tmp_path / "out/cutout").rglob("*.png")) == ["a", "a", "c c"]
    assert len(json.loads((tmp_path / "out/instances.json").read_text())["images"]) == 3


def test_maskcut_writes_its_masks_as_they_are_with_scores(photos, tmp_path):
    words = ["--method", "maskcut", "--backbone", "descriptor", "--size", "48", "--rounds", "2", "--refine", "none"]
    given = ["--images", str(photos), "--output", str(tmp_path), "--min_area", "0", "--format", "coco", "labelme"]
    assert main(["discover", *given, *words]) == 0
    found = json.loads((tmp_path / "instances.json").read_text())
    assert found["annotations"] == json.loads((tmp_path / "boxes.json").read_text())["annotations"]
    assert len(found["annotations"]) > 0 and all("score" in item for item in found["annotations"])


@pytest.fixture
def frames(tmp_path):
    """A film as a folder of frames, 1 to 12: an object that moves over noise, and is another one from frame 9 on."""
    folder = tmp_path / "frames"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(1, 13):
        ground = 20 if number < 9 else 170
        colours = rng.integers(ground, ground + 50, (45, 51, 3), dtype=np.uint8)
        colours[10:24, 8 + number : 24 + number] = 240 if number < 9 else 10
        Image.fromarray(colours).save(folder / f"{number}.png")
    return folder


def soft(folder):
    paths = sorted((folder / "soft").glob("*.png"), key=lambda path: int(path.stem))
    return np.stack([np.asarray(Image.open(path)).astype(float) for path in paths])


def flicker(masks):
    """Mean change of a pixel from frame to frame, without that at the cut."""
    return np.abs(np.diff(masks, axis=0))[[*range(7), *range(8, 11)]].mean()


def test_steadied_masks_flicker_less_and_start_again_at_a_cut(predict, frames, tmp_path):
    pytest.importorskip("av", reason='films need PyAV: pip install "segtricks[video]"')
    predict("--video", images=frames, output="plain")
    predict("--video", "--steady", "0.8", images=frames, output="steady")
    plain, steady = soft(tmp_path / "plain"), soft(tmp_path / "steady")
    assert flicker(steady) < 0.4 * flicker(plain)
    assert np.abs(steady[[0, 8]] - plain[[0, 8]]).max() <= 1
    expected = plain[0]
    for number in range(1, 8):
        expected = 0.8 * expected + 0.2 * plain[number]
    assert np.abs(steady[7] - expected).max() <= 2


def test_steadying_goes_on_where_it_was_stopped(predict, frames, tmp_path):
    pytest.importorskip("av", reason='films need PyAV: pip install "segtricks[video]"')
    words = ("--video", "--steady", "0.8")
    predict(*words, images=frames, output="whole")
    predict(*words, images=frames)
    for name in ("soft/5.png", "overlay/7.jpg"):
        (tmp_path / "out" / name).unlink()
    assert predict(*words, images=frames)["already_there"] == 4
    assert np.abs(soft(tmp_path / "out") - soft(tmp_path / "whole")).max() <= 1
    predict("--video", images=frames, status=2)  # not steadied: masks of other settings


def test_a_film_gives_frames_and_a_film_of_overlays_at_its_pace(predict, frames, tmp_path, capsys):
    av = pytest.importorskip("av", reason='films need PyAV: pip install "segtricks[video]"')
    predict("--video", "--fps", "30000/1001", images=frames)
    assert "overlay.mp4 (of even sides, 52 x 46)" in capsys.readouterr().out
    film = tmp_path / "out/overlay.mp4"
    index = predict(images=film, output="again")
    assert index["images"] == 12
    assert "12 frames of" in (said := capsys.readouterr().out) and "29.97 a second, without their sound" in said
    with av.open(str(tmp_path / "again/overlay.mp4")) as container:
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(pictures) == 12 and pictures[0].shape == (46, 52, 3)
    overlay = np.asarray(Image.open(tmp_path / "again/overlay/000004.jpg")).astype(float)
    assert np.abs(pictures[3] - overlay).mean() < 8
    assert len(Store.open(tmp_path / "again")) == 12
    before = (tmp_path / "again/frames/000001.jpg").stat().st_mtime_ns
    assert predict(images=film, output="again")["already_there"] == 12
    assert (tmp_path / "again/frames/000001.jpg").stat().st_mtime_ns == before


def test_of_a_longer_film_that_is_replaced_nothing_is_left(predict, frames, tmp_path):
    pytest.importorskip("av", reason='films need PyAV: pip install "segtricks[video]"')
    pictures = [frames / f"{number}.png" for number in range(1, 13)]
    write_film(pictures, tmp_path / "film.mp4", Fraction(25))
    predict(*ALL, images=tmp_path / "film.mp4")
    assert len(list((tmp_path / "out").rglob("000012.*"))) == 9
    write_film(pictures[:5], tmp_path / "film.mp4", Fraction(25))
    predict(*ALL, "--overwrite", images=tmp_path / "film.mp4")
    assert Store.open(tmp_path / "out").names == [f"00000{number}" for number in range(1, 6)]
    assert not [path for number in range(6, 13) for path in (tmp_path / "out").rglob(f"{number:06}.*")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "png"], "invalid choice: 'png'"),
        (["--min_area", "1"], "it is a share from 0 to below 1"),
        (["--steady", "0.8"], "--steady and --fps are for films"),
        (["--video", "--steady", "1"], "it lies between 0 and 1"),
        (["--video", "--steady", "0.8", "--shard", "1/2"], "needs all frames in their order"),
        (["--video", "--steady", "0.8", "--launcher", "slurm"], "needs all frames in their order"),
        (["--video", "--format", "coco"], "add masks to --format"),
        (["--video", "--fps", "0"], "'0' is not a number of frames a second"),
    ],
)
def test_mistakes_are_named(predict, capsys, words, said):
    predict(*words, status=2)
    assert said in capsys.readouterr().err


def test_methods_without_one_mask_or_objects_say_so(photos, tmp_path, capsys):
    words = ["--method", "maskcut", "--backbone", "descriptor", "--video", "--steady", "0.5"]
    assert main(["discover", *words, "--images", str(photos), "--output", str(tmp_path / "a")]) == 2
    assert "for methods with one soft mask a photograph" in capsys.readouterr().err
    with pytest.raises(UserError, match="cannot be written as coco, yolo"):
        prepare(Outputs(formats=("masks", "coco", "yolo")), LabelWriter(photos, tmp_path, []), Share(1, 1))
