import base64
import csv
import html
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segtricks.errors import UserError
from segtricks.reports.page import Table, page_template, photo, run_page
from segtricks.runs import shown_path

from ..conftest import result

EVIL = "<script>alert(1)</script>.jpg"


class Checker(HTMLParser):
    """Every tag opened is closed, in order; keeps tags with attributes, and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.tags, self.text = [], [], ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture
def run(make_run, tmp_path: Path) -> Path:
    """A run on three photographs whose masks can be read, with curves, pictures and a file of an evil name."""
    folder = tmp_path / "photos"
    for i, name in enumerate(("0.jpg", "1.jpg", EVIL.replace("/", ":"))):
        for kind in ("images", "masks"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            pixels = np.zeros((20, 20) if kind == "masks" else (20, 20, 3), np.uint8)
            pixels[: 5 * (i + 1)] = 255
            Image.fromarray(pixels).save(folder / kind / name, "PNG")
    names = sorted(path for path in (folder / "images").iterdir())
    content = result("images", images=3, mask={"iou": 0.4}, refined={"iou": 0.5, "acc": 0.75})
    content["size_bins"] = {"mask": [{"from": 0.0, "to": 0.5, "images": 3, "iou": 0.4}]}
    content["skipped"] = [{"path": str(folder / "bad<b>.jpg"), "reason": f"damaged: {folder / 'bad<b>.jpg'} & more"}]
    content["source"] = {"test": [str(folder / "images")], "root": str(folder), "masks": str(folder / "masks")}
    content["checkpoint"] = str(tmp_path / "runs/a/checkpoints/best.ckpt")
    before = result("images", images=3, mask={"iou": 0.125})
    run = make_run("a", {"images": content, "images-before": before}, crop=True, guided_filter=True)
    with (run / "test" / "images-per-image.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["mask", "image", "iou", "acc", "size"])
        for row in ("mask", "mask + guided filter"):
            writer.writerows([row, path, 0.9 - 0.3 * i, 0.5, 0.25] for i, path in enumerate(names))
    steps = "".join(f"0,{step},{1 / (step + 1)},\n" for step in range(8)) + "0,8,0.1,0.25\n"
    (run / "metrics.csv").write_text("epoch,step,train/loss,val/loss\n" + steps)
    (run / "figures").mkdir()
    Image.new("RGB", (40, 30)).save(run / "figures" / "test-images.png")
    return run


@pytest.fixture
def page(run: Path) -> str:
    return run_page(run, run / "report.html")


def test_files_left_out_of_other_sets_are_not_counted_as_images_of_the_test_set(run):
    file = run / "test" / "images.json"
    content = json.loads(file.read_text())
    content["skipped"].append({"path": "voc/7.jpg", "reason": "empty file", "of": "data.bank"})
    file.write_text(json.dumps(content))
    page = run_page(run, run / "report.html")
    assert "3 images, 1 skipped" in page
    assert "Files skipped: 1" in page
    assert "Files left out of data.bank: 1" in page


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("<script>alert('&')</script>", "&lt;script&gt;alert(&#39;&amp;&#39;)&lt;/script&gt;"),
        ("no file /home/alice/photos/1.jpg: gone", "no file …/1.jpg: gone"),
        ("['/home/alice/a.png', '~/b/c.png']", "[&#39;…/a.png&#39;, &#39;…/c.png&#39;]"),
        (r"C:\Users\alice\a.png", "…/a.png"),
        (
            "runs/a/test/ecssd.json and 1/2 of https://arxiv.org/abs/1",
            "runs/a/test/ecssd.json and 1/2 of https://arxiv.org/abs/1",
        ),
        ("a\udcff.jpg", "a\\udcff.jpg"),
    ],
)
def test_text_is_escaped_and_names_no_folder_of_the_machine(written, shown):
    assert page_template().environment.from_string("{{ text }}").render(text=written) == shown


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
    table = Table(["mask", "iou"], [["<b>", "0.5"], ["floor", "0.2"]], "Scores", dim=[1])
    drawn = page_template().render(name="a", headline=table, options=Table([], []))
    drawn = drawn[drawn.index('<div class="box"') : drawn.index("</table>")]
    assert re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", drawn) == ["mask", "iou", "&lt;b&gt;", "0.5", "floor", "0.2"]
    assert drawn.count('<tr class="dim">') == 1
    assert drawn.count('class="number"') == 3


def test_photo_is_embedded_small(tmp_path: Path):
    Image.new("RGBA", (3000, 1500), (200, 100, 0, 255)).save(tmp_path / "a.png")
    picture = photo(tmp_path / "a.png", side=300)
    kind, _, data = picture.data.partition(",")
    assert (kind, picture.width, picture.height) == ("data:image/webp;base64", 300, 150)
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        assert image.size == (300, 150)
        assert image.getpixel((5, 5)) == pytest.approx((200, 100, 0), abs=6)


def test_page_is_whole_html_without_scripts_or_anything_from_elsewhere(page):
    tags = Checker(page).tags
    policy = next(attributes for _, attributes in tags if attributes.get("http-equiv") == "Content-Security-Policy")
    assert policy["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in tags}
    assert not [key for _, attributes in tags for key in attributes if key.startswith("on")]
    assert all(attributes["src"].startswith("data:image/") for tag, attributes in tags if tag == "img")
    assert all(attributes["alt"] for tag, attributes in tags if tag == "img")


def test_page_is_for_phones_dark_screens_and_paper(page):
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page


def test_file_names_are_shown_and_not_obeyed(page):
    assert EVIL.rpartition("/")[2] in Checker(page).text
    assert "bad<b>.jpg" in Checker(page).text


def test_page_names_no_folder_of_the_machine(page, tmp_path):
    page = re.sub(r'src="data:[^"]*"', "", page)  # whose letters may spell anything
    assert str(Path.home()) not in page
    assert str(tmp_path) not in page
    assert tmp_path.name not in page


def test_scores_stand_next_to_floors_and_those_before_training(page):
    rows = [[html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in page.split("<tr")]
    rows = {row[0]: row[1:] for row in rows if row and row[0] != "images"}
    assert rows["before training"] == ["", "0.1250"]
    assert rows["mask + guided filter"][:2] == ["0.7500", "0.5000"]
    share = (5 + 10 + 15) / 60  # of the three targets that are white
    assert rows["everything foreground"][:2] == [f"{share:.4f}"] * 2
    assert "centred ellipse" in rows


def test_columns_have_the_short_titles_of_the_screen(run):
    file = run / "test" / "images.json"
    content = json.loads(file.read_text())
    content["rows"]["mask"] |= {"max_fbeta": 0.5, "e_measure_max": 0.5}
    file.write_text(json.dumps(content))
    titles = re.findall(r"<th[^>]*>(.*?)</th>", run_page(run, run / "report.html"))
    assert {"max F", "E max"} <= set(titles)
    assert not [title for title in titles if "_" in title]


def test_worst_images_come_first(page):
    worst = page[page.index("images of lowest IoU") :]
    assert worst.index("0.3000") < worst.index("0.6000") < worst.index("0.9000")


def test_curves_sizes_and_panels_are_embedded(page):
    alts = [attributes["alt"] for tag, attributes in Checker(page).tags if tag == "img"]
    assert alts == ["loss over steps", "mean IoU by object size", "image, masks and target of the first images"]
    assert "0.2500 at best (step 8)" in page


def test_examples_of_the_test_take_the_place_of_the_first_images(run):
    folder = run / "test" / "images-examples"
    folder.mkdir()
    Image.new("RGB", (40, 30)).save(folder / "0.jpg")
    entry = {
        "image": f"/x/{EVIL}",
        "group": "best",
        "iou": 0.9,
        "pictures": {"photograph": "0.jpg", "mask": "gone.jpg"},
    }
    (folder / "index.json").write_text(json.dumps({"examples": [entry]}))
    drawn = run_page(run, run / "report.html")
    assert "first images" not in drawn
    assert "gone.jpg cannot be read" in Checker(drawn).text
    (alt,) = [
        attributes["alt"] for _, attributes in Checker(drawn).tags if "photograph, best" in attributes.get("alt", "")
    ]
    assert EVIL.rpartition("/")[2] in alt


def test_links_lead_to_files_next_to_the_page_and_nowhere_from_elsewhere(run, tmp_path):
    def links(output):
        return [attributes["href"] for tag, attributes in Checker(run_page(run, output)).tags if tag == "a"]

    found = links(run / "report.html")
    assert "config.yaml" in found and all((run / link).is_file() for link in found)
    assert "runs/a/config.yaml" in links(tmp_path / "report.html")
    assert links(tmp_path / "elsewhere" / "report.html") == []


def test_files_that_a_killed_process_has_left_half_written_are_not_listed(run):
    for folder, suffix in (("test", "csv"), ("figures", "png"), ("checkpoints", "ckpt")):
        (run / folder).mkdir(exist_ok=True)
        (run / folder / f".half-a1b2c3d4.{suffix}").touch()
    assert ".half-" not in run_page(run, run / "report.html")


def test_floors_are_left_out_in_one_line_where_the_targets_are_gone(run, tmp_path):
    (tmp_path / "photos").rename(tmp_path / "moved")
    drawn = run_page(run, run / "report.html")
    assert "No score floors" in drawn
    assert "centred ellipse" not in drawn


@pytest.mark.parametrize(("images", "shown"), [(1000, True), (400, False)])
def test_published_numbers_have_a_column_of_their_own_for_the_whole_set(make_run, images, shown):
    content = result("ecssd", images=images, mask={"iou": 0.5}, refined={"iou": 0.6})
    run = make_run("a", {"ecssd": content}, crop=True, guided_filter=True)
    drawn = run_page(run, run / "report.html")
    assert ("published IoU" in drawn) is shown
    assert ("0.8620" in drawn) is shown


def test_run_without_tests_shows_its_curves_and_says_what_to_do(run):
    for file in (run / "test").iterdir():
        file.unlink()
    drawn = run_page(run, run / "report.html")
    assert "loss over steps" in drawn
    assert "segtricks test --run a" in drawn


def test_run_with_nothing_is_a_mistake(make_run):
    run = make_run("a", {})
    with pytest.raises(UserError, match="neither scores nor curves"):
        run_page(run, run / "report.html")
