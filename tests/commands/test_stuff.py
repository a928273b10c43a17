import numpy as np
import pytest
from PIL import Image

from segtricks.cli import main
from segtricks.pseudo_labels import Store, encode_mask, write_entry, write_labels


@pytest.fixture
def photos(tmp_path):
    """Photographs of red over blue with an object, and a store of it."""
    (tmp_path / "photos").mkdir()
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:16, :, 0] = picture[16:, :, 2] = 200
    mask = np.zeros((32, 48), bool)
    mask[4:12, 4:12] = True
    for number in range(3):
        Image.fromarray(picture).save(tmp_path / f"photos/{number}.png")
        write_entry(tmp_path / "masks", str(number), f"{number}.png", mask.shape, [encode_mask(mask, 0.9, 1)])
    return tmp_path / "photos"


def _stuff(photos, *words):
    base = ["--images", str(photos), "--masks", str(photos.parent / "masks"), "--backbone", "descriptor"]
    return main(["stuff", *base, "--size", "32", *words])


def test_patches_are_clustered_around_the_objects(photos, capsys):
    assert _stuff(photos, "--stuff", "2", "--page") == 0
    assert "void 0.0%" in capsys.readouterr().out
    masks = photos.parent / "masks"
    labels = Store.open(masks).entry("0").read_labels()
    above, below = labels[0, 0], labels[31, 0]
    assert {above, below} == {1, 2}
    assert (labels[4:12, 4:12] == 0).all() and (labels[:4] == above).all() and (labels[24:] == below).all()
    assert "S = 2" in (masks / "page.html").read_text()


def test_maps_of_another_method_are_taken_as_they_are(photos, capsys):
    labels = np.zeros((32, 48), int)
    labels[16:], labels[:, 40:] = 4, 255
    for number in range(2):
        write_labels(photos.parent / "maps", str(number), labels)
        write_entry(photos.parent / "maps", str(number), f"{number}.png", labels.shape, [])
    words = ["--stuff", "5", "--maps", str(photos.parent / "maps"), "--output", str(photos.parent / "out")]
    assert _stuff(photos, *words) == 0
    said = capsys.readouterr()
    assert "2.png: has no label map" in said.out and "3 of 5 classes of stuff hold nothing" in said.out
    expected = np.where(labels == 255, 255, labels + 1)
    expected[4:12, 4:12] = 0
    store = Store.open(photos.parent / "out")
    np.testing.assert_array_equal(store.entry("1").read_labels(), expected)
    assert store.names == ["0", "1"] and not (photos.parent / "masks/labels").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--stuff", "0"], "'0' is not a number from 1"),
        (["--stuff", "99"], "99 clusters need as many features"),
        (["--stuff", "2", "--maps", "nowhere"], "No pseudo-labels at nowhere"),
    ],
)
def test_mistakes_are_named(photos, capsys, words, said):
    assert _stuff(photos, *words) == 2
    assert said in capsys.readouterr().err
