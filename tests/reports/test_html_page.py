import base64
import io
import re
from pathlib import Path

import pytest
from PIL import Image

from segtricks.reports.html_page import page, photo, svg, table, text
from segtricks.runs import shown_path


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("<script>alert('&')</script>", "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;"),
        ("no file /home/alice/photos/1.jpg: gone", "no file …/1.jpg: gone"),
        ("['/home/alice/a.png', '~/b/c.png']", "[&#x27;…/a.png&#x27;, &#x27;…/c.png&#x27;]"),
        (r"C:\Users\alice\a.png", "…/a.png"),
        (
            "runs/a/test/ecssd.json and 1/2 of https://arxiv.org/abs/1",
            "runs/a/test/ecssd.json and 1/2 of https://arxiv.org/abs/1",
        ),
        ("a\udcff.jpg", "a\\udcff.jpg"),
    ],
)
def test_text_is_escaped_and_names_no_folder_of_the_machine(written, shown):
    assert text(written) == shown


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/home/alice/x.jpg", "…/x.jpg"),
        ("photos/cats/1.jpg", "cats/1.jpg"),
        ("../1.jpg", "1.jpg"),
        ("~/1.jpg", "…/1.jpg"),
    ],
)
def test_place_is_the_end_of_a_path(path, shown):
    assert shown_path(path) == shown


def test_table_holds_every_cell_escaped_in_a_box_that_scrolls():
    drawn = table(["mask", "iou"], [["<b>", "0.5"], ["floor", "0.2"]], dim=[1], caption="Scores")
    assert re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", drawn) == ["mask", "iou", "&lt;b&gt;", "0.5", "floor", "0.2"]
    assert drawn.startswith('<div class="box"')
    assert drawn.count('<tr class="dim">') == 1
    assert drawn.count('class="number"') == 3


def test_page_forbids_scripts_and_the_network():
    drawn = page("a", ["<p>b</p>"])
    policy = re.search(r'http-equiv="Content-Security-Policy" content="(.*?)"', drawn)
    assert policy[1] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert 'name="viewport"' in drawn
    assert "prefers-color-scheme: dark" in drawn
    assert "@media print" in drawn


def test_photo_is_embedded_small_with_its_name(tmp_path: Path):
    Image.new("RGBA", (3000, 1500), (200, 100, 0, 255)).save(tmp_path / "a.png")
    drawn = photo(tmp_path / "a.png", 'a"><script>', side=300)
    assert 'alt="a&quot;&gt;&lt;script&gt;"' in drawn
    data = re.search(r'src="data:image/webp;base64,(.*?)"', drawn)[1]
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == (300, 150)
        assert image.getpixel((5, 5)) == pytest.approx((200, 100, 0), abs=6)


def test_chart_is_an_image_of_its_own():
    data = re.search(r'src="data:image/svg\+xml;base64,(.*?)"', svg("<svg>é</svg>", "loss"))[1]
    assert base64.b64decode(data).decode() == "<svg>é</svg>"
