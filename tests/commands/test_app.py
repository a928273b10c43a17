import json
import sys
from argparse import Namespace
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

import segtricks
from segtricks.cli import main
from segtricks.commands.app import launch, make_page
from segtricks.methods.adjustable_masks import AdjustableMasks

FILTER = {"radius": 2, "exponent": -3}


@pytest.fixture(scope="module")
def model(trained):
    return segtricks.load_run(trained / "runs/small")


@pytest.fixture
def masks(model):
    return AdjustableMasks(model)


def test_files_hold_the_mask_of_the_command_and_the_cut_out_its_opacity(masks, model, drawn, written, tmp_path):
    assert model.refiner.radius == FILTER["radius"] and np.isclose(model.refiner.eps, 10.0 ** FILTER["exponent"])
    for name, soft in written.items():
        cutout, mask = masks.files(tmp_path, str(drawn / f"{name}.png"), threshold=0.5, **FILTER)
        assert (cutout.name, mask.name) == (f"{name}-cutout.png", f"{name}-mask.png")
        *colours, opacity = Image.open(cutout).split()
        np.testing.assert_array_equal(np.dstack(colours), np.asarray(Image.open(drawn / f"{name}.png")))
        np.testing.assert_array_equal(np.asarray(opacity), soft)
        clear = np.abs(soft.astype(float) - 127.5) > 1
        assert ((np.asarray(Image.open(mask)) == 255) == (soft > 127))[clear].all()


def test_network_sees_a_photograph_once_however_the_choices_move(masks, model, drawn, tmp_path, monkeypatch):
    middle = float(np.median(model.masks(drawn / "a.png")))
    seen = []
    soft_masks = model.soft_masks
    monkeypatch.setattr(model, "soft_masks", lambda images: seen.append(1) or soft_masks(images))
    path = tmp_path / "photo.png"
    Image.open(drawn / "a.png").save(path)
    areas = [
        np.asarray(masks.show(str(path), threshold, radius, exponent)[1]).sum()
        for threshold, radius, exponent in [(0.05, 2, -3), (middle, 2, -3), (middle, 20, 0), (middle, 0, 0)]
    ]
    assert len(seen) == 1
    assert len(set(areas)) == 4
    assert areas[0] > areas[1]
    model.predicted_row = "mask"
    plain = model.masks(drawn / "a.png") > middle
    model.predicted_row = "mask + guided filter"
    assert areas[3] == plain.sum() * 255
    seen.clear()
    Image.open(drawn / "b.png").save(path)
    assert masks.show(str(path), 0.5, **FILTER)[1].size == (30, 46)
    assert len(seen) == 1


def test_opacity_is_a_half_at_the_threshold(masks, model, drawn, tmp_path):
    middle = float(np.median(model.masks(drawn / "a.png")))
    cutout, mask = masks.files(tmp_path, str(drawn / "a.png"), threshold=middle, **FILTER)
    opacity, inside = np.asarray(Image.open(cutout))[..., 3], np.asarray(Image.open(mask)) == 255
    assert opacity[inside].min() >= 127
    assert opacity[~inside].max() <= 128


def test_a_large_photograph_is_shown_small_and_written_whole(masks, tmp_path):
    path = tmp_path / "large.jpg"
    Image.new("RGB", (2400, 300), "gray").save(path)
    assert [picture.size for picture in masks.show(str(path), 0.5, **FILTER)] == [(1200, 150)] * 2
    assert [Image.open(file).size for file in masks.files(tmp_path, str(path), 0.5, **FILTER)] == [(2400, 300)] * 2


@pytest.fixture(scope="module")
def address(model):
    pytest.importorskip("gradio", reason="comes with segtricks[app]")
    page = make_page(model)
    yield launch(page, Namespace(host="127.0.0.1", port=None, share=False))
    page.close(verbose=False)


def test_page_answers_a_program_and_names_a_broken_photograph(address, drawn, written, tmp_path):
    client = pytest.importorskip("gradio_client", reason="comes with segtricks[app]")
    api = client.Client(address, verbose=False, analytics_enabled=False, download_files=str(tmp_path / "got"))
    photograph = client.handle_file(str(drawn / "b.png"))
    overlay, mask = api.predict(photograph, 0.5, 2, -3, api_name="/mask")
    assert Image.open(overlay).size == Image.open(mask).size == Image.open(drawn / "b.png").size
    cutout, binary = (button["value"] for button in api.predict(photograph, 0.5, 2, -3, api_name="/files"))
    np.testing.assert_array_equal(np.asarray(Image.open(cutout))[..., 3], written["b"])
    np.testing.assert_array_equal(np.asarray(Image.open(binary)), np.asarray(Image.open(mask)))
    (tmp_path / "cut.png").write_bytes((drawn / "b.png").read_bytes()[:900])
    with pytest.raises(client.exceptions.AppError, match=r"cut\.png"):
        api.predict(client.handle_file(str(tmp_path / "cut.png")), 0.5, 2, -3, api_name="/mask")


def test_page_fetches_from_its_own_host_alone_and_sends_no_statistics(address):
    with urlopen(address) as answer:
        policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'")
    assert "http" not in policy
    with urlopen(f"{address}config") as answer:
        assert json.load(answer)["analytics_enabled"] is False


def test_port_that_is_taken_is_reported(address, model, capsys, monkeypatch, trained):
    monkeypatch.chdir(trained)
    port = address.rstrip("/").rpartition(":")[2]
    assert main(["app", "--run", "small", "--port", port]) == 2
    assert f"--port {port} of 127.0.0.1 cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize("port", ["70000", "0", "-1", "web"])
def test_what_is_not_a_port_is_refused(port, capsys):
    assert main(["app", "--port", port]) == 2
    assert f"--port: {port!r} is not a number from 1 to 65535" in capsys.readouterr().err


def test_run_and_released_head_exclude_each_other(capsys):
    assert main(["app", "--run", "small", "--released"]) == 2
    assert "not allowed with" in capsys.readouterr().err


def test_missing_gradio_names_the_extra_that_brings_it(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["app"]) == 2
    assert 'pip install "segtricks[app]"' in capsys.readouterr().err
