import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO

from segtricks.cli import main
from segtricks.commands import cluster_masks
from segtricks.data import read_labels
from segtricks.pseudo_labels import Store, encode_mask, write_entry

KINDS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}
SIZE = (64, 96)
BOXES = (8, 0, 40, 40), (24, 56, 56, 96)


@pytest.fixture
def photos(tmp_path):
    """Four photographs of each colour, one of two; and a store with a mask of each object."""
    rng = np.random.default_rng(0)
    kinds = list(KINDS) * 4
    for number, kind in enumerate(kinds):
        _write(tmp_path, f"{number:02}", [(kind, BOXES[number // 3 % 2])], rng)
    _write(tmp_path, "sub/two", [("red", BOXES[0]), ("blue", BOXES[1])], rng)
    return tmp_path / "photos"


def _write(folder, name, objects, rng):
    picture = rng.integers(90, 110, (*SIZE, 3))
    masks = []
    for kind, (top, left, bottom, right) in objects:
        mask = np.zeros(SIZE, bool)
        mask[top:bottom, left:right] = True
        picture[mask] = np.array(KINDS[kind]) + rng.integers(-8, 8, (mask.sum(), 3))
        masks.append(encode_mask(mask))
    path = folder / "photos" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.astype(np.uint8)).save(path)
    write_entry(folder / "masks", name, f"{name}.png", SIZE, masks)


def _cluster(photos, *words, k=3):
    folder = photos.parent
    base = ["--images", photos, "--masks", folder / "masks", "--output", folder / "labels", "--k", k]
    return main(["cluster", *map(str, base), "--backbone", "descriptor", "--size", "64", "--num_workers", "0", *words])


def _classes(labels):
    """The class of each photograph's object."""
    found = []
    for number in range(12):
        top, left, _, _ = BOXES[number // 3 % 2]
        found.append(int(read_labels(labels / "labels" / f"{number:02}.png")[0, top, left]))
    return found


def test_kinds_are_clusters_and_every_mask_counts(photos, capsys):
    assert _cluster(photos) == 0
    labels = photos.parent / "labels"
    classes = _classes(labels)
    assert sorted(set(classes)) == [1, 2, 3]
    assert classes == classes[:3] * 4
    both = read_labels(labels / "labels/sub/two.png")[0]
    assert (int(both[10, 10]), int(both[40, 60]), int(both[0, 0])) == (classes[0], classes[2], 0)
    assert "14 masks of 13 photographs in 3 clusters (5, 5, 4)" in capsys.readouterr().out


def test_label_maps_have_a_palette_and_coco_has_classes(photos):
    _cluster(photos)
    labels = photos.parent / "labels"
    with Image.open(labels / "labels/00.png") as picture:
        assert picture.mode == "P"
        assert picture.getpalette()[:3] == [0, 0, 0]
        assert len(set(picture.convert("RGB").get_flattened_data())) == 2
    coco = COCO(labels / "annotations.json")
    assert [each["name"] for each in coco.loadCats(coco.getCatIds())] == ["cluster 1", "cluster 2", "cluster 3"]
    assert len(coco.anns) == 14
    first = coco.loadAnns(coco.getAnnIds(imgIds=1))[0]
    expected = np.zeros(SIZE, np.uint8)
    expected[8:40, :40] = 1
    np.testing.assert_array_equal(coco.annToMask(first), expected)
    assert first["category_id"] == _classes(labels)[0]
    assert Store.open(labels).entry("sub/two").masks[0].class_id == _classes(labels)[0]


def test_a_folder_of_masks_has_one_mask_a_photograph(photos):
    for name in Store.open(photos.parent / "masks").names:
        mask = Store.open(photos.parent / "masks").entry(name).arrays().any(axis=0)
        path = photos.parent / "plain" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    assert _cluster(photos, "--masks", str(photos.parent / "plain")) == 0
    assert json.loads((photos.parent / "labels/index.json").read_text())["masks"] == 13


def test_names_join_drop_and_name_clusters_when_the_command_is_typed_again(photos, monkeypatch):
    _cluster(photos)
    labels = photos.parent / "labels"
    red, green, blue = before = _classes(labels)[:3]
    (labels / "names.yaml").write_text(f"{red}: no\n{blue}: no\n{green}:\n")
    monkeypatch.setattr("segtricks.commands.cluster_masks._vectors", None)  # nothing is computed again
    assert _cluster(photos) == 0
    assert _classes(labels)[:3] == [1, 0, 1]
    assert json.loads((labels / "index.json").read_text())["classes"] == {"1": "no"}
    categories = json.loads((labels / "annotations.json").read_text())["categories"]
    assert categories == [{"id": 1, "name": "no"}]
    text = (labels / "page.html").read_text()
    assert f"{red}: no</h2>" in text and f"{green}: left out</h2>" in text
    assert sorted(before) == [1, 2, 3]


def test_names_of_other_clusters_are_not_lost(photos, capsys):
    _cluster(photos)
    names = photos.parent / "labels/names.yaml"
    assert _cluster(photos, k=2) == 0  # nobody had edited them
    assert len(yaml.safe_load(names.read_text())) == 2
    names.write_text("1: dog\n2: cat\n")
    assert _cluster(photos, k=3) == 2
    assert "names the clusters of --k 2 --seed 0" in capsys.readouterr().err
    assert yaml.safe_load(names.read_text()) == {1: "dog", 2: "cat"}


def test_one_more_cluster_that_stays_empty_gets_a_line_of_its_own(photos, monkeypatch):
    _cluster(photos, k=2)
    ours = cluster_masks._clusters

    def with_an_empty_one(found, output, options):
        options.k = 2
        return replace(ours(found, output, options), count=3)

    monkeypatch.setattr(cluster_masks, "_clusters", with_an_empty_one)
    assert _cluster(photos, k=3) == 0
    assert len(yaml.safe_load((photos.parent / "labels/names.yaml").read_text())) == 3


def test_a_call_that_is_killed_before_its_index_leaves_no_names_that_stop_the_next_one(photos, monkeypatch):
    _cluster(photos)
    with monkeypatch.context() as patch:
        patch.setattr("segtricks.commands.cluster_masks.write_labelled", lambda *_: sys.exit("killed"))
        assert _cluster(photos, k=2) == 130
    assert _cluster(photos, k=2) == 0
    assert len(yaml.safe_load((photos.parent / "labels/names.yaml").read_text())) == 2


@pytest.mark.parametrize(
    "text", ["1: a\n", "[1, 2, 3]", "1: a\n2: [b]\n3: c\n", "1: a\n2: b\n3: c\n4: d\n", "1: [", "1:\n2:\n3:\n"]
)
def test_names_that_do_not_fit_are_answered(photos, capsys, text):
    _cluster(photos)
    (photos.parent / "labels/names.yaml").write_text(text)
    assert _cluster(photos) == 2
    assert "names.yaml" in capsys.readouterr().err


def test_a_stopped_command_goes_on(photos, monkeypatch):
    from segtricks.commands import cluster_masks as cluster

    computed = []
    vectors = cluster._vectors

    def stop_after_five(*words):
        if len(computed) == 5:
            raise KeyboardInterrupt
        computed.append(words)
        return vectors(*words)

    monkeypatch.setattr(cluster, "_vectors", stop_after_five)
    assert _cluster(photos) == 130
    monkeypatch.setattr(cluster, "_vectors", lambda *words: computed.append(words) or vectors(*words))
    assert _cluster(photos) == 0
    assert len(computed) == 13


def test_vectors_of_other_settings_are_gone_before_new_ones_are_made(photos, monkeypatch):
    from segtricks.commands import cluster_masks as cluster

    _cluster(photos)
    computed = []
    vectors = cluster._vectors
    monkeypatch.setattr(cluster, "_vectors", lambda *words: [][1])
    with pytest.raises(IndexError):
        _cluster(photos, "--size", "32", "--overwrite")
    monkeypatch.setattr(cluster, "_vectors", lambda *words: computed.append(words) or vectors(*words))
    assert _cluster(photos, "--size", "32") == 0
    assert len(computed) == 13


def test_masks_that_changed_are_computed_again_and_other_settings_are_refused(photos, capsys):
    _cluster(photos)
    whole = Store.open(photos.parent / "masks").entry("sub/two")
    write_entry(photos.parent / "masks", "sub/two", "sub/two.png", SIZE, whole.masks[:1])
    assert _cluster(photos) == 0
    assert json.loads((photos.parent / "labels/index.json").read_text())["masks"] == 13
    assert _cluster(photos, "--size", "32") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert _cluster(photos, "--size", "32", "--overwrite") == 0


def test_bad_files_are_listed_and_the_others_are_clustered(photos, capsys):
    (photos / "01.png").write_bytes(b"")
    (photos.parent / "masks/entries/02.json").write_text("{")
    Image.new("RGB", (10, 10)).save(photos / "03.png")
    assert _cluster(photos) == 0
    index = json.loads((photos.parent / "labels/index.json").read_text())
    assert index["masks"] == 11
    reasons = {entry["path"].rsplit("/", 1)[1]: entry["reason"] for entry in index["skipped"]}
    assert reasons["01.png"] == "empty file"
    assert reasons["02.json"].startswith("damaged")
    assert "10 x 10 pixels, its masks 96 x 64" in reasons["03.png"]
    assert not (photos.parent / "labels/entries/01.json").exists()
    assert "skipped" in capsys.readouterr().out


def test_what_an_earlier_call_wrote_of_a_photograph_that_is_gone_is_removed(photos):
    _cluster(photos)
    (photos / "00.png").unlink()
    assert _cluster(photos) == 0
    assert not (photos.parent / "labels/labels/00.png").exists()
    assert "00" not in Store.open(photos.parent / "labels").names


def test_more_clusters_than_masks_are_answered_with_what_to_type(photos, capsys):
    assert _cluster(photos, k=15) == 2
    assert "pass --k 14 or fewer" in capsys.readouterr().err


def test_output_among_the_photographs_is_refused(photos, capsys):
    assert _cluster(photos, "--output", str(photos / "labels")) == 2
    assert "pass another one" in capsys.readouterr().err


def test_photographs_without_a_usable_mask_are_counted(photos, capsys):
    write_entry(photos.parent / "masks", "00", "00.png", SIZE, [encode_mask(np.ones(SIZE, bool))])
    assert _cluster(photos) == 0
    assert "1 photographs have no mask" in capsys.readouterr().out
    assert json.loads((photos.parent / "labels/index.json").read_text())["without_mask"] == ["00.png"]


def test_page_shows_pictures_of_every_cluster(photos):
    _cluster(photos, "--limit", "2")
    text = (photos.parent / "labels/page.html").read_text()
    assert text.count("<img ") == 6
    assert "5 masks in 5 photographs" in text


def test_masks_of_classes_are_refused_without_options_that_cluster_lacks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder, value in (("photos", 90), ("masks", 2)):
        (tmp_path / folder).mkdir()
        Image.new("L", (20, 16), value).save(f"{folder}/a.png")
    words = ["--images", "photos", "--masks", "masks", "--output", "out", "--k", "1", "--backbone", "descriptor"]
    assert main(["cluster", *words]) == 2
    said = capsys.readouterr().err
    assert "The masks hold the values 2: classes" in said
    assert "Next: write them as 0 and 255" in said
