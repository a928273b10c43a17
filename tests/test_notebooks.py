"""The notebooks do what they say, and are committed as they were written."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

import segtricks

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebook_has_no_outputs_and_names_no_machine(path):
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert notebook["metadata"]["language_info"] == {"name": "python"}
    assert not re.search(r"/(home|root|Users|work|tmp|content|mnt)/|[A-Z]:\\\\", text)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_one_photograph_turned_by_exif_is_shown_upright_next_to_files_of_other_programs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photographs/.ipynb_checkpoints").mkdir(parents=True)
    turned = Image.new("RGB", (40, 30), "red")
    turned.getexif()[ExifTags.Base.Orientation] = 6
    for name in ("phone.jpg", ".ipynb_checkpoints/phone-checkpoint.jpg"):
        turned.save(tmp_path / "photographs" / name, exif=turned.getexif())
    (tmp_path / "photographs/.DS_Store").write_bytes(b"of a Mac")
    model = SimpleNamespace(masks=_masks)
    monkeypatch.setattr("segtricks.data.ExamplePhotographs", lambda: SimpleNamespace(images=[]))
    monkeypatch.setattr(segtricks, "load_released", lambda: model)
    monkeypatch.setattr(segtricks, "load_run", lambda name: model)
    monkeypatch.setattr(plt, "show", lambda: None)
    names = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        code = "".join(cell["source"])
        if cell["cell_type"] == "code" and "%run" not in code and "metrics.csv" not in code:
            exec(code, names)
    shown = [axis.images[0].get_array().shape[:2] for axis in names["figure"].axes]
    plt.close(names["figure"])
    assert shown == [(40, 30), (40, 30)]
    if "cut_out" in names:
        assert names["cut_out"].size == (30, 40)


def _masks(photographs):
    """What a model returns, of ones: an array for a path, a list for several."""
    if isinstance(photographs, list):
        return [_masks(path) for path in photographs]
    with Image.open(photographs) as photograph:
        return np.ones(ImageOps.exif_transpose(photograph).size[::-1], np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("masks_for_my_photographs", ["masks/binary/coffee.png", "masks/overlay/camera.jpg", "masks/page.html"]),
        ("train_on_mine", ["runs/mine/checkpoints/last.ckpt", "runs/mine/config.yaml"]),
    ],
)
def test_notebook_runs_from_an_empty_folder(name, written, dinov2_cache, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat", reason="uv run --group notebooks")
    nbclient = pytest.importorskip("nbclient", reason="uv run --group notebooks")
    pytest.importorskip("ipykernel", reason="uv run --group notebooks")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for file in written:
        assert (tmp_path / file).stat().st_size > 0
    kinds = {kind for cell in notebook.cells for out in cell.get("outputs", ()) for kind in out.get("data", ())}
    assert "image/png" in kinds
