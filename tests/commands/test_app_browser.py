"""The page of ``segtricks app`` in a browser; it needs a Chromium, which CI has not."""

from argparse import Namespace

import pytest

import segtricks
from segtricks.commands.app import launch, make_page

from .devtools import BROWSER, Browser

pytest.importorskip("gradio", reason="comes with segtricks[app]")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on this machine"),
]
PHONE = 390
PICTURES = "[...document.images].filter(image => image.naturalWidth == 46)"


@pytest.fixture
def browser(trained, tmp_path):
    page = make_page(segtricks.load_run(trained / "runs/small"))
    address = launch(page, Namespace(host="127.0.0.1", port=None, share=False))
    browser = Browser(tmp_path / "profile")
    browser.call("Network.enable")
    browser.call("Log.enable")
    browser.call("Emulation.setDeviceMetricsOverride", width=PHONE, height=900, deviceScaleFactor=1, mobile=True)
    browser.call("Page.navigate", url=address)
    browser.address = address
    yield browser
    browser.close()
    page.close(verbose=False)


def test_photograph_gets_mask_and_overlay_that_follow_the_threshold(browser, drawn):
    browser.wait("document.querySelector('input[type=file]') != null")
    browser.wait("document.querySelectorAll('button:disabled').length == 2")
    browser.upload(drawn / "a.png")
    browser.wait(f"{PICTURES}.length == 3")
    browser.wait("document.querySelectorAll('button:disabled').length == 0")
    assert browser.value("document.documentElement.scrollWidth") == PHONE
    mask = "document.querySelector('#mask img').src"
    before = browser.value(mask)
    browser.value(
        "const slider = document.querySelector('input[type=range]'); slider.value = 0.95;"
        "slider.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    browser.wait(f"{mask} != {before!r}")
    fetched = [event["params"]["request"]["url"] for event in browser.reported("Network.requestWillBeSent")]
    assert [url for url in fetched if not url.startswith(("data:", "blob:", browser.address))] == []
    assert browser.reported("Log.entryAdded") == []
