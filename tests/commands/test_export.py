import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image

import segtricks
from segtricks.cli import main
from segtricks.commands import export_model
from segtricks.errors import UserError
from segtricks.methods.graph_files import OnnxFile


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((32, 32)).save(tmp_path / "photos/a.png")
    return tmp_path / "photos"


def _alone(script, photos, folder):
    """Run a script where segtricks cannot be imported; return the masks that it writes."""
    blocked = f"import sys, runpy; sys.modules['segtricks'] = None; sys.argv = {['', *map(str, photos)]}"
    code = f"{blocked}; runpy.run_path({str(script)!r}, run_name='__main__')"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
    return [np.array(Image.open(folder / f"{photo.stem}_mask.png")) / 255 for photo in photos]


def test_the_script_next_to_an_onnx_file_writes_what_predict_writes(trained, photos, monkeypatch, tmp_path, capsys):
    onnx = pytest.importorskip("onnx", reason="the format")
    pytest.importorskip("onnxruntime", reason="it reads ONNX")
    monkeypatch.chdir(trained)
    output = tmp_path / "model.onnx"
    words = ["export", "--run", "runs/small", "--output", str(output), "--size", "32", "--images", str(photos)]
    assert main(words) == 0
    assert "Checked against segtricks on photographs of photos" in capsys.readouterr().out
    about = {entry.key: entry.value for entry in onnx.load(output).metadata_props}
    assert about["method"] == "Sempart" and about["size"] == "32" and about["segtricks"] == segtricks.__version__
    assert len(output.with_suffix(".py").read_text().splitlines()) <= 20
    expected = segtricks.load_run("small").masks(photos / "a.png")
    (found,) = _alone(tmp_path / "model.py", [photos / "a.png"], tmp_path)
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-3)
    assert main(words) == 2
    assert "model.onnx exists. Next: pass --overwrite" in capsys.readouterr().err
    before = output.stat().st_size
    OnnxFile.quantize(output)
    assert output.stat().st_size < before
    pixels = np.array(Image.open(photos / "a.png"))
    np.testing.assert_allclose(OnnxFile.open(output)(pixels[None])[0], expected, rtol=0, atol=0.1)


def test_the_script_next_to_a_torch_file_too(trained, photos, monkeypatch, tmp_path):
    monkeypatch.chdir(trained)
    words = ["export", "--run", "runs/small", "--format", "torch", "--output", str(tmp_path / "model.pt2")]
    assert main([*words, "--images", str(photos)]) == 0
    with zipfile.ZipFile(tmp_path / "model.pt2") as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("about.json")]
        assert json.loads(archive.read(name))["input"] == "uint8 (1, 32, 32, 3), RGB photographs"
    pixels = np.array(Image.open(photos / "a.png").convert("L"))
    Image.fromarray(pixels.astype(np.uint16) * 257).save(photos / "deep.png")
    Image.fromarray(pixels.astype(np.float32) / 255).save(photos / "floats.tif")
    Image.fromarray(np.dstack([pixels, pixels.T])).save(photos / "transparent.png")
    paths = sorted(photos.iterdir())
    expected = segtricks.load_run("small").masks(paths)
    found = _alone(tmp_path / "model.py", paths, tmp_path)
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-3)
    assert np.ptp(expected, axis=0).max() > 0.01


def test_a_file_whose_masks_differ_is_not_left(trained, photos, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(trained)
    words = ["export", "--run", "runs/small", "--format", "torch", "--output", str(tmp_path / "out/model.pt2")]
    monkeypatch.setattr(export_model, "trace", lambda module, taken: None)
    monkeypatch.setattr("segtricks.methods.graph_files.TorchFile.write", lambda program, path, about: None)
    for wrong, said in (
        (lambda pixels: pixels[..., 0] * 0.0 + 2, "differ from segtricks' by"),
        (None, "does not run"),
    ):
        monkeypatch.setattr("segtricks.methods.graph_files.TorchFile.open", lambda path, wrong=wrong: wrong)
        assert main([*words, "--images", str(photos)]) == 2
        error = capsys.readouterr().err
        assert said in error and "the file was removed" in error
        assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--run", "runs/small", "--output", "m.onnx", "--size", "30"], "Next: --size 28 or 32"),
        (["--run", "runs/small", "--output", "m.onnx", "--format", "torch"], "Next: --output m.pt2"),
        (["--run", "runs/small", "--output", "m.pt2", "--format", "torch", "--int8"], "--int8 needs --format onnx"),
        (["--output", "m.onnx"], "either --run runs/NAME or --released"),
    ],
)
def test_what_cannot_be_exported_is_refused(trained, monkeypatch, capsys, words, said):
    monkeypatch.chdir(trained)
    monkeypatch.setattr(OnnxFile, "check_packages", lambda: None)
    assert main(["export", *words]) == 2
    assert said in capsys.readouterr().err


def test_methods_of_more_than_one_mask_and_missing_packages_are_named(trained, monkeypatch, capsys):
    monkeypatch.chdir(trained)
    words = ["export", "--run", "runs/small", "--output", "m.onnx"]
    monkeypatch.setattr("segtricks.methods.graph_files.find_spec", lambda name: None)
    assert main(words) == 2
    assert 'pip install "segtricks[export]"' in capsys.readouterr().err
    monkeypatch.setattr(OnnxFile, "check_packages", lambda: None)
    monkeypatch.setattr("segtricks.methods.Sempart.exportable", False)
    assert main(words) == 2
    assert "Sempart cannot be exported" in capsys.readouterr().err


def test_8_bit_weights_are_judged_by_the_pixels_that_change_sides():
    export_model._check(0.6, 0.01, True)
    with pytest.raises(UserError, match="leave out --int8"):
        export_model._check(0.1, 0.03, True)
    with pytest.raises(UserError, match=r"more than 0\.001"):
        export_model._check(0.1, 0.0, False)
