import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from segtricks.pseudo_labels import Store, encode_mask, write_entry, write_labels, write_page

SIZE = (40, 60)


def _half(width):
    mask = np.zeros(SIZE, bool)
    mask[:, :width] = True
    return mask


@pytest.fixture
def make(tmp_path):
    """Write a gray photograph and its entry; return the photograph."""

    def make(name, masks):
        path = tmp_path / "photos" / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", SIZE[::-1], (100, 100, 100)).save(path)
        write_entry(tmp_path / "store", path.stem, name, SIZE, masks)
        return path

    return make


def _page(tmp_path, photographs, **options):
    write_page(Store.open(tmp_path / "store"), photographs, tmp_path / "page.html", **options)
    return (tmp_path / "page.html").read_text()


def _pictures(text):
    codes = re.findall(r'base64,([^"]+)"', text)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(code)))).astype(int) for code in codes]


def _counts(text):
    return dict(re.findall(r'<th scope="row">(.*?)</th><td>([\d,]+)</td>', text))


def test_masks_are_painted_where_they_are_and_a_class_keeps_its_colour(make, tmp_path):
    photographs = [
        make("a.png", [encode_mask(_half(20), 0.5, 7)]),
        make("b.png", [encode_mask(_half(10), None, 2), encode_mask(~_half(30), 0.25, 7)]),
    ]
    text = _page(tmp_path, photographs)
    plain, first, _, second = _pictures(text)
    assert np.abs(plain - 100).max() <= 2
    assert np.abs(first[:, 30:] - 100).max() <= 6 and np.abs(first[:, :16] - 100).max() > 40
    np.testing.assert_allclose(second[20, 50], first[20, 5], atol=6)
    assert np.abs(second[20, 4] - first[20, 5]).max() > 40
    assert "33.3% class 7 score 0.5" in text and "16.7% class 2" in text
    assert re.findall(r"</span>(\d+: \d+)</li>", text) == ["2: 1", "7: 2"]


def test_counts_are_of_all_and_the_limit_keeps_the_smallest_and_the_largest(make, tmp_path):
    photographs = [make(f"{width}.png", [encode_mask(_half(width))]) for width in (60, 0, 10, 20, 30)]
    photographs += [tmp_path / "photos/missing.png", make("damaged.png", [])]
    (tmp_path / "store/entries/damaged.json").write_text("{")
    text = _page(tmp_path, photographs, limit=3)
    assert re.findall(r"<div>(\w+)\.png", text) == ["0", "20", "60"]
    assert _counts(text) == {
        "photographs with an entry": "5",
        "photographs without an entry": "1",
        "damaged entries": "1",
        "masks": "5",
        "photographs without foreground": "1",
        "masks of everything": "1",
    }
    assert "<li>damaged: damaged" in text


def test_a_label_map_is_a_third_picture(make, tmp_path):
    path = make("a.png", [encode_mask(_half(20))])
    write_labels(tmp_path / "store", "a", _half(30).astype(int))
    _, _, labels = _pictures(_page(tmp_path, [path]))
    assert np.abs(labels[20, 10] - labels[20, 50]).max() > 40


def test_names_are_text_and_no_folder_of_the_machine_is_shown(make, tmp_path):
    path = make("<script>alert(1)<&.png", [])
    text = _page(tmp_path, [path])
    assert "<script" not in text and "&lt;script&gt;alert(1)" in text
    assert str(tmp_path) not in text
    assert "default-src &#39;none&#39;" in text or "default-src 'none'" in text


def test_a_photograph_that_cannot_be_read_is_named(make, tmp_path):
    paths = [make("a.png", []), make("b.png", [])]
    paths[0].write_bytes(b"")
    text = _page(tmp_path, paths)
    assert "<li>a: empty file</li>" in text and len(_pictures(text)) == 2
