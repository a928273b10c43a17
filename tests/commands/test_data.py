import dataclasses
import functools
import hashlib
import http.server
import io
import shlex
import threading
import zipfile
from importlib.util import find_spec

import pytest
from PIL import Image

from segtricks.cli import main
from segtricks.commands import data_download
from segtricks.data.datasets import examples
from segtricks.data.datasets.duts import DUTSTest
from segtricks.data.datasets.ecssd import ECSSD
from segtricks.data.download import transfer


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """Address of a server with a small ECSSD, which passes for the published one; nothing at the published address."""
    files = tmp_path / "mirror"
    files.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transfer, "WAITS", ())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(files)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    archives = []
    for archive, suffix, mode in zip(ECSSD.archives, ("jpg", "png"), ("RGB", "L"), strict=True):
        image = io.BytesIO()
        Image.new(mode, (40, 30), 255).save(image, {"jpg": "jpeg"}.get(suffix, suffix))
        with zipfile.ZipFile(files / archive.name, "w") as file:
            for stem in "abc":
                file.writestr(f"{archive.name.removesuffix('.zip')}/{stem}.{suffix}", image.getvalue())
        content = (files / archive.name).read_bytes()
        changed = {"url": f"{address}/gone/{archive.name}", "sha256": hashlib.sha256(content).hexdigest()}
        archives.append(dataclasses.replace(archive, size=len(content), **changed))
    monkeypatch.setattr(ECSSD, "archives", tuple(archives))
    monkeypatch.setattr(ECSSD, "expected", 3)
    monkeypatch.setattr(
        DUTSTest, "archives", (dataclasses.replace(DUTSTest.archives[0], url=f"{address}/DUTS-TE.zip"),)
    )
    yield address
    server.shutdown()
    server.server_close()
    thread.join()


def _urls(mirror):
    return [f"{mirror}/{archive.name}" for archive in ECSSD.archives]


def _row(out, name):
    return next(line for line in out.splitlines() if line.startswith(f"{name} "))


def test_one_command_gets_a_dataset_and_the_next_ones_it_names_work(mirror, tmp_path, capsys):
    root = tmp_path / "my data"
    assert main(["data", "download", "ecssd", "--root", str(root), "--url", *_urls(mirror)]) == 0
    out = capsys.readouterr().out
    assert f"ecssd: 3 images in {root}" in out
    verify, test = out.splitlines()[-2:]
    assert main(shlex.split(verify)[2:]) == 0
    assert shlex.split(test) == shlex.split(f"segtricks test --run runs/NAME --data ecssd --data.root '{root}'")
    capsys.readouterr()
    assert main(["data", "download", "ecssd", "--root", str(root)]) == 0  # its addresses are dead
    assert capsys.readouterr().out == f"ecssd: all 3 images are in {root} already\n"


def test_list_says_what_is_there(mirror, monkeypatch, capsys):
    assert main(["data", "list"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()[2:-2]] == [
        *("examples", "duts-tr", "duts-te", "dut-omron", "ecssd", "voc07", "voc12"),
        *("voc12-train", "voc12-trainaug", "voc12-val", "coco20k", "coco17-train", "coco17-val"),
        *("coco17-panoptic-train", "coco17-panoptic-val", "coco-stuff27-train", "coco-stuff27-val"),
        *("cityscapes-train", "cityscapes-val"),
    ]
    assert _row(out, "duts-tr").split()[:5] == ["duts-tr", "10,553", "271.0", "MB", "-"]
    assert main(["data", "download", "ecssd", "--url", *_urls(mirror)]) == 0
    capsys.readouterr()
    main(["data", "list"])
    assert " there " in _row(capsys.readouterr().out, "ecssd")
    monkeypatch.setattr(ECSSD, "expected", 4)
    main(["data", "list"])
    assert " incomplete: 3 of 4 " in _row(capsys.readouterr().out, "ecssd")


@pytest.mark.skipif(
    find_spec("skimage") is None or find_spec("sklearn") is None, reason="needs scikit-image and scikit-learn"
)
def test_examples_need_no_download(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["data", "list"])
    assert _row(capsys.readouterr().out, "examples").split()[:4] == ["examples", "9", "nothing", "there"]
    assert main(["data", "download", "examples"]) == 0
    assert "examples: nothing to download: " in capsys.readouterr().out
    assert main(["data", "verify", "examples"]) == 0
    assert capsys.readouterr().out == "examples: 9 of 9 pairs are sound; masks: 0/255 (9).\n"
    assert list(tmp_path.iterdir()) == []


def test_missing_example_photographs_are_answered_with_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(examples, "locate", lambda photograph: None)
    main(["data", "list"])
    assert ' 0 of 9: pip install "segtricks[examples]" ' in _row(capsys.readouterr().out, "examples")
    for command in ("download", "verify"):
        assert main(["data", command, "examples"]) == 2
        assert capsys.readouterr().err.endswith('Next: pip install "segtricks[examples]"\n')


def test_a_dataset_without_masks_is_listed_as_incomplete(mirror, tmp_path, capsys):
    assert main(["data", "download", "ecssd", "--url", *_urls(mirror)]) == 0
    (tmp_path / "data/ECSSD/ground_truth_mask/a.png").unlink()
    main(["data", "list"])
    assert " incomplete: masks or boxes are missing " in _row(capsys.readouterr().out, "ecssd")


def test_a_dataset_that_fails_does_not_stop_the_others(mirror, tmp_path, capsys):
    for archive in ECSSD.archives:  # only the published address of the other one is dead
        path = tmp_path / "mirror/gone" / archive.name
        path.parent.mkdir(exist_ok=True)
        (tmp_path / "mirror" / archive.name).rename(path)
    assert main(["data", "download", "duts-te", "ecssd"]) == 2
    captured = capsys.readouterr()
    assert "ecssd: 3 images in data" in captured.out
    assert "DUTS-TE.zip answers 404 File not found.\nNext: fetch DUTS-TE.zip by hand" in captured.err
    assert captured.err.endswith(
        "1 of 2 datasets failed: duts-te.\nNext: segtricks data download duts-te --root data\n"
    )


def test_an_interrupt_says_how_to_go_on(mirror, monkeypatch, capsys):
    def interrupt(*words):
        raise KeyboardInterrupt

    monkeypatch.setattr(data_download, "download", interrupt)
    assert main(["data", "download", "ecssd", "--root", "my data"]) == 130
    err = capsys.readouterr().err
    assert "what has come is kept in my data/.downloads" in err
    assert err.endswith("To go on: segtricks data download ecssd --root 'my data'\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lst"], r"Unknown command 'data lst' (did you mean list?): allowed are list, download, verify."),
        (["download", "ECSD"], "No dataset 'ECSD' to download (did you mean ecssd?). Allowed: duts-tr,"),
        (["download", "synthetic"], "No dataset 'synthetic' to download. Allowed: duts-tr,"),
        (["download", "examples", "--url", "http://a/b"], "nothing to download for examples: leave --url out"),
        (["download"], "The following arguments are required: NAME"),
        (["download", "ecssd", "voc07", "--url", "http://a/b"], "pass a single NAME with it"),
        (["download", "ecssd", "--url", "http://a/b"], "ecssd consists of images.zip, ground_truth_mask.zip: pass 2"),
        (["download", "ecssd", "--url", "file:///a", "file:///b"], "'file:///a' is not an address to fetch from"),
    ],
)
def test_mistakes_are_answered_in_a_line_or_two(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["data", *words]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
