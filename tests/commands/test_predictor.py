import io
import pickle
import re
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import segtricks
from segtricks.commands import predictor
from segtricks.errors import UserError
from segtricks.pseudo_labels.instances import InstanceWriter
from segtricks.refine import GuidedFilter


@pytest.fixture(scope="module")
def predict(trained):
    return segtricks.Predictor(trained / "runs/small", device="cpu")


def test_masks_are_those_of_the_command_whatever_holds_the_photograph(predict, drawn, written):
    paths = [drawn / f"{name}.png" for name in written]
    pictures = [np.asarray(Image.open(path)) for path in paths]
    columns = {"image": pictures, "path": [str(path) for path in paths]}
    for masks in (predict(paths), predict([Image.open(path) for path in paths]), predict(columns)["mask"]):
        for mask, expected in zip(masks, written.values(), strict=True):
            np.testing.assert_allclose(mask * 255, expected, atol=0.51)
    np.testing.assert_array_equal(predict(str(paths[0])), predict(paths)[0])


def test_columns_are_kept_and_a_bad_row_has_its_reason_while_a_list_of_it_is_refused(predict, drawn, tmp_path):
    (tmp_path / "bad.png").write_text("no picture")
    paths = [str(drawn / "a.png"), str(tmp_path / "bad.png"), str(drawn / "c.png")]
    batch = predict({"path": paths, "id": [4, 5, 6]})
    assert batch["id"] == [4, 5, 6]
    assert [mask.shape for mask in batch["mask"]] == [(30, 46), (0, 0), (30, 46)]
    assert [bool(error) for error in batch["error"]] == [False, True, False]
    assert "bad.png: not an image" in batch["error"][1]
    (error,) = predict({"image": [np.zeros((8, 8), np.uint8)]})["error"]
    assert "an array of uint8, shape (8, 8)" in error
    with pytest.raises(UserError, match=r"bad\.png: not an image"):
        predict(paths)


def test_threshold_and_filter_are_those_that_were_asked_for(trained, predict, drawn):
    path = drawn / "b.png"
    run = trained / "runs/small"
    model = segtricks.load_run(run)
    soft = predict(path)
    binary = segtricks.Predictor(run, device="cpu", threshold=0.4)(path)
    assert binary.dtype == bool
    np.testing.assert_array_equal(binary, soft > 0.4)
    model.predicted_row = "mask"
    plain = segtricks.Predictor(run, device="cpu", guided_filter=False)(path)
    np.testing.assert_array_equal(plain, model.masks(path))
    model.predicted_row, model.refiner = "mask + guided filter", GuidedFilter(radius=7, eps=0.1)
    smooth = segtricks.Predictor(run, device="cpu", guided_filter=GuidedFilter(radius=7, eps=0.1))(path)
    np.testing.assert_array_equal(smooth, model.masks(path))
    assert np.abs(plain - soft).max() > 1e-3
    assert np.abs(smooth - soft).max() > 1e-3


def test_a_pickle_holds_the_arguments_alone(trained, drawn):
    original = segtricks.Predictor(trained / "runs/small", device="cpu", threshold=0.5)
    content = pickle.dumps(original)
    assert len(content) < 2000
    np.testing.assert_array_equal(pickle.loads(content)(drawn / "a.png"), original(drawn / "a.png"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"threshold": 1}, "threshold is 1"),
        ({"checkpoint": "last.ckpt"}, "pass the run too"),
        ({"run": "nowhere"}, "No run at nowhere"),
    ],
)
def test_mistakes_are_named(arguments, said):
    with pytest.raises(UserError, match=said):
        segtricks.Predictor(**arguments)


def test_batch_without_photographs_is_refused(predict):
    with pytest.raises(UserError, match="needs a column image or path; this one has bytes"):
        predict({"bytes": []})


def test_method_of_several_masks_is_refused(monkeypatch):
    monkeypatch.setattr(predictor, "load_run", lambda *_: SimpleNamespace(writer_class=InstanceWriter))
    with pytest.raises(UserError, match="Next: segtricks predict --run mine"):
        segtricks.Predictor("mine")


def test_web_service_of_the_documentation_answers_with_the_mask(trained, predict, drawn, monkeypatch):
    pytest.importorskip("fastapi", reason="comes with segtricks[app]")
    from fastapi.testclient import TestClient

    text = (Path(__file__).parents[2] / "docs/serve.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "FastAPI" in block)
    run = trained / "runs/small"
    monkeypatch.setattr(segtricks, "Predictor", partial(segtricks.Predictor, run, device="cpu"), raising=False)
    service = {}
    exec(code, service)
    client = TestClient(service["app"])
    answer = client.post("/mask", files={"photograph": (drawn / "b.png").read_bytes()})
    assert answer.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), predict(drawn / "b.png") > 0.5)
    refused = client.post("/mask", files={"photograph": b"no picture"})
    assert refused.status_code == 400
    assert "cannot identify image" in refused.json()["detail"]
