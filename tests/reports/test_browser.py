"""What a browser makes of the page of a run; it needs a Chromium, which CI has not."""

import re
import shutil
import subprocess

import pytest
from PIL import Image

from segtricks.metrics.measures import MEASURES, title
from segtricks.reports.figures import bins_figure
from segtricks.reports.page import Table, chart, page_template, photo

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on this machine")

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--allow-file-access-from-files"),
)
PHONE = 390


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A page with what is widest on a page of a run, and a frame of a phone's width around it that measures it."""
    folder = tmp_path_factory.mktemp("browser")
    Image.new("RGB", (1100, 300), "red").save(folder / "wide.png")
    names = ["mask", "acc", "iou", "max_fbeta", "e_measure_adaptive", "weighted_fbeta", "s_measure", "images"]
    bins = {"mask": [{"from": 0.0, "to": 0.5, "images": 3, "iou": 0.4}, {"from": 0.5, "to": 1, "images": 1, "iou": 1}]}
    content = page_template().render(
        name="a_run_with_a_very_long_name_without_any_space_in_it_at_all",
        headline=Table(names, [["mask + bilateral solver", *["0.1234"] * 7]], "Scores"),
        options=Table(["option", "value"], [["a", "<script>document.body.append('a script ran')</script>"]], words=2),
        config="x" * 300,
        curves={"loss": chart(bins_figure(bins)), "wide": photo(folder / "wide.png")},
    )
    (folder / "page.html").write_text(content, encoding="utf-8")
    measure = (
        "const inner = document.querySelector('iframe').contentDocument;"
        "const images = [...inner.images].map(image => image.naturalWidth);"
        "document.body.innerHTML = `<p id=measured>${inner.documentElement.scrollWidth} ${Math.min(...images)}</p>`"
    )
    frame = f'<iframe src="page.html" width="{PHONE}" height="900" style="border:0"></iframe>'
    (folder / "phone.html").write_text(f"<body>{frame}<script>onload = () => {{ {measure} }}</script>")
    return folder


def browse(folder, *words):
    profile = f"--user-data-dir={folder / 'profile'}"
    done = subprocess.run([BROWSER, *FLAGS, profile, *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_page_fits_a_phone_and_its_pictures_show(folder):
    measured = re.search(r'id="measured">(\d+) (\d+)', browse(folder, "--dump-dom", (folder / "phone.html").as_uri()))
    assert measured is not None
    assert int(measured[1]) <= PHONE, "only tables scroll, each in its box"
    assert int(measured[2]) > 0, "every picture was decoded"


def test_page_runs_no_script(folder):
    shown = browse(folder, "--dump-dom", (folder / "page.html").as_uri())
    assert shown.count("a script ran") == 1, "the script's own text alone"


def test_page_prints(folder):
    browse(folder, f"--print-to-pdf={folder / 'page.pdf'}", "--no-pdf-header-footer", (folder / "page.html").as_uri())
    content = (folder / "page.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert re.search(rb"/Type\s*/Page\b", content)


@pytest.fixture(scope="module")
def scores(folder):
    """A table of every measure of masks, as wide as it gets without published numbers."""
    measures = [name for name, measure in MEASURES.items() if measure.of in ("masks", "boxes")]
    rows = [[name, *["0.1234"] * len(measures)] for name in ("before training", "mask + bilateral solver")]
    table = Table(["mask", *map(title, measures)], rows)
    content = page_template().render(name="a", headline=table, options=Table([], []))
    (folder / "scores.html").write_text(content, encoding="utf-8")
    return folder


def edge(folder, width):
    """Return the colour at the right edge of the scores' box, in the middle of its height."""
    file = folder / f"{width}.png"
    words = ("--hide-scrollbars", f"--window-size={width},200", f"--screenshot={file}")
    browse(folder, *words, (folder / "scores.html").as_uri())
    with Image.open(file) as picture:
        return picture.convert("RGB").getpixel((width - 17, 90))


def test_scores_fit_a_small_window_and_a_shadow_shows_where_they_do_not(scores):
    assert edge(scores, 1000) == (255, 255, 255)
    assert max(edge(scores, PHONE)) < 220
