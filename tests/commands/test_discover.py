import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from segtricks.backbones.descriptor import DescriptorBackbone
from segtricks.cli import main
from segtricks.commands import discover, prediction
from segtricks.data.label_store import Store
from segtricks.methods import Discovery


@pytest.fixture
def photos(tmp_path):
    """Photographs with a bright object on a dark ground, two sizes; a uniform one, and a broken file."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, (height, width) in {"a": (64, 96), "sub/b": (64, 96), "c": (96, 64), "d": (128, 192)}.items():
        picture = rng.integers(20, 30, (height, width, 3))
        picture[height // 4 : height // 2, width // 4 : 3 * width // 4] += np.array([200, 60, 10])
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{name}.png")
    Image.new("RGB", (96, 64), (90, 90, 90)).save(folder / "flat.png")
    (folder / "cut.jpg").write_bytes(b"")
    return folder


def _discover(photos, output, *words):
    base = ["discover", "--backbone", "descriptor", "--size", "64", "--images", str(photos), "--output", str(output)]
    return main([*base, *words])


def _read(path):
    return np.asarray(Image.open(path))


@pytest.mark.parametrize("method", ["tokencut", "deep_spectral"])
def test_masks_and_boxes_are_those_of_the_objects(photos, tmp_path, method):
    assert _discover(photos, tmp_path / "out", "--method", method) == 0
    boxes = json.loads((tmp_path / "out/boxes.json").read_text())
    names = {image["id"]: image["file_name"] for image in boxes["images"]}
    found = {names[annotation["image_id"]]: annotation["bbox"] for annotation in boxes["annotations"]}
    assert found == {"a.png": [24, 16, 48, 16], "sub/b.png": [24, 16, 48, 16], "c.png": [16, 24, 32, 24],
                     "d.png": [48, 32, 96, 32]}  # fmt: skip
    expected = np.zeros((64, 96))
    expected[16:32, 24:72] = 255
    for kind in ("soft", "binary"):
        np.testing.assert_array_equal(_read(tmp_path / f"out/{kind}/sub/b.png"), expected)
    assert _read(tmp_path / "out/overlay/d.jpg").shape == (128, 192, 3)


def test_spectral_voting_takes_several_backbones_and_fills_a_store(photos, tmp_path):
    words = ["--method", "spectral_voting", "--backbone", "descriptor,descriptor4"]
    assert _discover(photos, tmp_path / "out", *words) == 0
    for output in ("first", "again"):  # kept features, and of a single backbone
        cached = ["--cache_features", "--cache_dir", str(tmp_path / "cache")]
        assert _discover(photos, tmp_path / output, "--method", "spectral_voting", *cached) == 0
    np.testing.assert_array_equal(_read(tmp_path / "first/soft/a.png"), _read(tmp_path / "again/soft/a.png"))
    store = Store.open(tmp_path / "out")
    assert store.index["source"]["method"] == "spectral_voting on descriptor,descriptor4"
    mask = store.entry("a").arrays()[0]
    truth = np.zeros((64, 96), bool)
    truth[16:32, 24:72] = True
    assert (mask & truth).sum() / (mask | truth).sum() > 0.7


@pytest.fixture
def two_objects(tmp_path):
    """Photographs of two objects each, a uniform one and a broken file."""
    folder = tmp_path / "two"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in "abc":
        picture = rng.integers(20, 30, (96, 160, 3))
        picture[16:72, 16:64] = [220, 60, 30]
        picture[24:64, 96:136] = [40, 80, 230]
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{name}.png")
    Image.new("RGB", (96, 64), (90, 90, 90)).save(folder / "flat.png")
    (folder / "cut.jpg").write_bytes(b"")
    return folder


def test_maskcut_fills_a_store_with_several_masks_a_photograph(two_objects, tmp_path, capsys):
    assert _discover(two_objects, tmp_path / "out", "--method", "maskcut", "--page") == 0
    said = capsys.readouterr().out
    assert "4 of 5 photographs written" in said and "cut.jpg: empty file" in said
    store = Store.open(tmp_path / "out")
    counts = {name: len(store.entry(name).masks) for name in store.names}
    assert min(counts[name] for name in "abc") >= 2 and counts["flat"] == 0
    assert f"{sum(counts.values())} masks, 1 photographs without one" in said
    assert all(0 < mask.score < 2 for name in "abc" for mask in store.entry(name).masks)
    boxes = json.loads((tmp_path / "out/boxes.json").read_text())
    assert [(image["width"], image["height"]) for image in boxes["images"]] == [(160, 96)] * 3 + [(96, 64)]
    assert len(boxes["annotations"]) == store.index["masks"] == sum(counts.values())
    assert store.index["source"]["method"] == "maskcut on descriptor, N = 3" and store.index["empty"] == ["flat.png"]
    assert (tmp_path / "out/page.html").read_text().count("<section") == 4


def test_maskcut_goes_on_after_a_kill_and_shards_join_their_masks(two_objects, tmp_path):
    words = ["--method", "maskcut", "--refine", "crf"]
    _discover(two_objects, tmp_path / "whole", *words)
    boxes = json.loads((tmp_path / "whole/boxes.json").read_text())
    (tmp_path / "whole/entries/b.json").unlink()  # as if it was killed between picture and entry
    _discover(two_objects, tmp_path / "whole", *words)
    index = json.loads((tmp_path / "whole/index.json").read_text())
    assert (index["written"], index["already_there"]) == (["b.png"], 3)
    assert json.loads((tmp_path / "whole/boxes.json").read_text()) == boxes
    for shard in ("1/2", "2/2"):
        _discover(two_objects, tmp_path / "out", *words, "--shard", shard)
    assert json.loads((tmp_path / "out/boxes.json").read_text()) == boxes
    assert json.loads((tmp_path / "out/index.json").read_text())["masks"] == len(boxes["annotations"])


def test_broken_and_empty_ones_are_named_and_counted(photos, tmp_path, capsys, caplog):
    assert _discover(photos, tmp_path / "out") == 0
    index = json.loads((tmp_path / "out/index.json").read_text())
    assert index["images"] == 5 and index["empty"] == ["flat.png"]
    assert [entry["path"].rsplit("/", 1)[-1] for entry in index["skipped"]] == ["cut.jpg"]
    assert "flat.png: empty mask" in caplog.text
    assert (
        "cut.jpg: empty file" in (said := capsys.readouterr().out)
        and "index.json; 1 empty masks, 0 of everything" in said
    )


def test_a_second_call_makes_what_is_missing_and_overwrite_makes_all(photos, tmp_path):
    _discover(photos, tmp_path / "out")
    first = json.loads((tmp_path / "out/boxes.json").read_text())
    (tmp_path / "out/soft/c.png").unlink()
    (tmp_path / "out/binary/a.png").write_bytes((tmp_path / "out/binary/sub/b.png").read_bytes())
    stamp = (tmp_path / "out/soft/a.png").stat().st_mtime_ns
    _discover(photos, tmp_path / "out")
    index = json.loads((tmp_path / "out/index.json").read_text())
    assert (index["written"], index["already_there"]) == (["c.png"], 4)
    assert index["empty"] == ["flat.png"]
    assert (tmp_path / "out/soft/a.png").stat().st_mtime_ns == stamp
    assert json.loads((tmp_path / "out/boxes.json").read_text()) == first
    _discover(photos, tmp_path / "out", "--overwrite")
    assert json.loads((tmp_path / "out/index.json").read_text())["images"] == 5


def test_shards_share_the_photographs_and_the_last_one_joins_their_boxes(photos, tmp_path):
    _discover(photos, tmp_path / "whole")
    for shard in ("1/2", "2/2"):
        assert not (tmp_path / "out/page.html").exists()
        assert _discover(photos, tmp_path / "out", "--shard", shard, "--page") == 0
    assert (tmp_path / "out/page.html").read_text().count("<section") == 5
    index, alone = (json.loads((tmp_path / name / "index.json").read_text()) for name in ("out", "whole"))
    assert {key: index[key] for key in ("format", "settings", "source", "masks")} == {
        key: alone[key] for key in ("format", "settings", "source", "masks")
    }
    assert index["source"]["method"] == "tokencut on descriptor"
    assert Store.open(tmp_path / "out").names == ["a", "c", "d", "flat", "sub/b"]
    joined = json.loads((tmp_path / "out/boxes.json").read_text())
    parts = [json.loads((tmp_path / f"out/boxes-{i}-of-2.json").read_text())["images"] for i in (1, 2)]
    whole = json.loads((tmp_path / "whole/boxes.json").read_text())
    assert sorted(parts[0] + parts[1], key=lambda image: image["id"]) == whole["images"]
    assert joined == whole
    _discover(photos, tmp_path / "out")
    assert json.loads((tmp_path / "out/boxes.json").read_text()) == whole


@pytest.mark.parametrize("place", ["model", "full"])
@pytest.mark.parametrize("refine", ["guided_filter", "bilateral_solver"])
def test_refinement_moves_the_mask_towards_the_object(tmp_path, refine, place):
    picture = np.full((64, 96, 3), 20, np.uint8)
    picture[18:34, 26:74] = (220, 80, 30)  # off the grid of patches
    (tmp_path / "photos").mkdir()
    Image.fromarray(picture).save(tmp_path / "photos/a.png")
    truth = picture[..., 0] > 100
    errors = {}
    for name in ("none", refine):
        words = ["--refine", name, "--refine_at", place, "--method", "deep_spectral"]
        assert _discover(tmp_path / "photos", tmp_path / name, *words) == 0
        errors[name] = ((_read(tmp_path / name / "binary/a.png") > 0) != truth).sum()
    assert errors[refine] < errors["none"]


def test_a_head_of_found_gives_soft_masks(photos, tmp_path):
    weight = torch.randn(1, 384, 1, 1) / 384**0.5
    torch.save({"decoder": {"weight": weight, "bias": torch.zeros(1)}}, tmp_path / "head.pt")
    assert _discover(photos, tmp_path / "out", "--method", "found", "--head", str(tmp_path / "head.pt")) == 0
    assert len(np.unique(_read(tmp_path / "out/soft/a.png"))) > 10


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "found"], "Take a ViT such as dino_vits8"),
        (["--method", "cut"], "invalid choice: 'cut'"),
        (["--shard", "3/2"], "--shard '3/2' is not a part"),
        (["--size", "0"], "--size is 0: it lies in 1 to 8,192, for example --size 320."),
        (["--size", "1000000"], "--size is 1000000: it lies in"),
        (["--num_workers", "-1"], "--num_workers is -1: it lies in 0 to 1,024, for example --num_workers 4."),
        (["--num_workers", "1000000"], "--num_workers is 1000000: it lies in 0 to 1,024"),
        (["--num_workers", "two"], "invalid int value: 'two'"),
        (["--batch_size", "0"], "--batch_size is 0: it lies in"),
        (["--device", "nowhere"], "--device 'nowhere' cannot be used here"),
        (["--method", "maskcut", "--k", "7"], "--k does not go with the method maskcut: leave it out."),
        (["--rounds", "2"], "--rounds does not go with the method tokencut: leave it out."),
        (["--refine", "dense_crf"], "Next: segtricks refine --masks MASKS"),
        (["--backbone", "descripter"], "unknown backbone 'descripter'"),
        (["--tao", "0.3"], "Unknown option --tao. Did you mean --tau?\nNext: segtricks discover --help"),
        (["--num-worker=2"], "Unknown option --num-worker. Did you mean --num_workers?"),
        (["--imges", "photos"], "Did you mean --images?"),
    ],
)
def test_mistakes_are_named(photos, tmp_path, capsys, words, said):
    assert _discover(photos, tmp_path / "out", *words) == 2
    assert said in capsys.readouterr().err
    assert _discover(photos, tmp_path / "out") == 0  # a mistake leaves nothing behind that would stop the next call


@pytest.mark.parametrize("words", [[], ["--device", "cpu"], ["--trainer.accelerator", "cpu"],
                                   ["--trainer.accelerator=cpu"]])  # fmt: skip
def test_the_first_gpu_is_taken_unless_the_processor_is_asked_for(monkeypatch, words):
    monkeypatch.setattr(discover, "checked_device", lambda name: torch.device(name or "cuda:0"))
    made = []
    monkeypatch.setattr(prediction, "write_masks", lambda task, model, title: made.extend(model.words))
    assert main(["discover", "--images", "a", "--output", "b", *words]) == 0
    assert made[made.index("--trainer.accelerator") + 1] == ("cpu" if words else "cuda")
    assert ("--trainer.devices=[0]" in made) == (not words), "a number of a GPU is not one of processors"


@pytest.mark.parametrize(
    ("backbone", "method", "size"),
    [("dinov2_vits14", "tokencut", 322), ("dinov2_vits14", "maskcut", 476), ("dino_vits16", "maskcut", 480),
     ("vit_small_patch14_dinov2", "tokencut", 322), ("descriptor", "tokencut", 320)],
)  # fmt: skip
def test_without_a_size_the_default_is_made_of_whole_patches(monkeypatch, backbone, method, size):
    made = []
    monkeypatch.setattr(prediction, "write_masks", lambda task, model, title: made.append(model.words))
    assert main(["discover", "--backbone", backbone, "--method", method, "--images", "a", "--output", "b"]) == 0
    assert made[0][made[0].index("--data.size") + 1] == str(size)


def test_a_folder_of_other_masks_is_not_mixed_with_these(photos, tmp_path, capsys):
    _discover(photos, tmp_path / "out")
    assert _discover(photos, tmp_path / "out", "--method", "lost") == 2
    assert "holds masks made with model.method 'tokencut'" in capsys.readouterr().err
    (tmp_path / "out/settings.json").unlink()
    assert _discover(photos, tmp_path / "out") == 2
    assert "made by another command" in capsys.readouterr().err
    assert _discover(photos, photos) == 2


def _contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


def test_processes_that_read_and_batches_of_any_size_change_nothing(photos, tmp_path, capsys):
    _discover(photos, tmp_path / "alone", "--num_workers", "0")
    _discover(photos, tmp_path / "helped", "--num_workers", "2", "--batch_size", "1")
    alone = _contents(tmp_path / "alone")
    assert alone == _contents(tmp_path / "helped")
    assert json.loads(alone[Path("index.json")])["written"] == ["a.png", "c.png", "d.png", "flat.png", "sub/b.png"]
    assert re.search(
        r"5 of 6 photographs written to .*helped in \d+ s, [\d.]+ images/s: soft/.*; 1 empty", capsys.readouterr().out
    )


def test_overwriting_that_is_stopped_leaves_no_mask_of_other_settings(photos, tmp_path, monkeypatch):
    _discover(photos, tmp_path / "fresh", "--method", "lost")
    _discover(photos, tmp_path / "out", "--method", "tokencut")
    step = Discovery.predict_step

    def stop_at_the_second_batch(self, batch, batch_idx, dataloader_idx=0):
        return step(self, batch, batch_idx, dataloader_idx) if batch_idx < 2 else 1 / 0

    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(Discovery, "predict_step", stop_at_the_second_batch)
        _discover(photos, tmp_path / "out", "--method", "lost", "--overwrite")
    assert 0 < len(list((tmp_path / "out/overlay").rglob("*.jpg"))) < 5
    assert _discover(photos, tmp_path / "out", "--method", "lost") == 0
    made, fresh = _contents(tmp_path / "out"), _contents(tmp_path / "fresh")
    assert {name: content for name, content in made.items() if name != Path("index.json")} == {
        name: content for name, content in fresh.items() if name != Path("index.json")
    }


def test_cached_features_are_computed_once_and_give_the_same_files(photos, tmp_path, monkeypatch):
    _discover(photos, tmp_path / "plain")
    words = ["--cache-features", "--cache_dir", str(tmp_path / "cache")]
    _discover(photos, tmp_path / "cold", *words)
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 5
    monkeypatch.setattr(DescriptorBackbone, "extract", lambda self, images: 1 / 0)
    words[0] = "--cache_features"
    _discover(photos, tmp_path / "warm", *words)
    assert _contents(tmp_path / "plain") == _contents(tmp_path / "cold") == _contents(tmp_path / "warm")


def test_photographs_of_12_bits_in_16_give_the_masks_of_those_of_16_also_in_parts(tmp_path, capsys):
    for number, high in enumerate((4000, 1000)):  # alone, the second would be taken for one of 10 bits
        pixels = np.full((64, 96), 600, np.uint16)
        pixels[16:32, 24:72] = high
        for folder, scale in (("deep", 16), ("low", 1)):
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(pixels * np.uint16(scale)).save(tmp_path / f"{folder}/{number}.png")
    for folder, words in (("deep", [()]), ("low", [("--shard", "1/2"), ("--shard", "2/2")])):
        for part in words:
            assert _discover(tmp_path / folder, tmp_path / f"out-{folder}", "--method", "tokencut", *part) == 0
    for number in range(2):
        low, deep = (_read(tmp_path / f"out-{folder}/overlay/{number}.jpg") for folder in ("low", "deep"))
        assert np.abs(low.astype(int) - deep).max() <= 2
        np.testing.assert_array_equal(*(_read(tmp_path / f"out-{each}/soft/{number}.png") for each in ("low", "deep")))
