"""For all …: random configs, images and masks. Examples are the same in every run."""

import inspect
import io
from pathlib import Path

import numpy as np
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from segtricks.cli import main
from segtricks.commands.parser import explain
from segtricks.data import SaliencyDataModule
from segtricks.data.images import UnreadableImage, read_image, read_mask
from segtricks.methods import Sempart

KEYS = ("model", "data", "trainer", "class_path", "init_args", "test", "size", "tau", "callbacks", "seed_everything")
FEW = settings(
    max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"),
    "GIF": ("1", "L", "P"),
    "BMP": ("1", "L", "P", "RGB"),
    "PPM": ("1", "L", "RGB"),
}
KINDS = [(kind, mode) for kind, modes in MODES.items() for mode in modes]


@st.composite
def pictures(draw):
    """A file in any format and mode, and its size."""
    kind, mode = draw(st.sampled_from(KINDS))
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    noise = np.random.default_rng(draw(st.integers(0, 99)))
    if mode == "F":
        picture = Image.fromarray(noise.random((height, width), np.float32))
    elif mode in ("I", "I;16"):
        levels = noise.integers(0, 65536, (height, width))
        picture = Image.fromarray(levels.astype(np.int32 if mode == "I" else np.uint16))
    else:
        colours = Image.fromarray(noise.integers(0, 256, (height, width, 3), dtype=np.uint8))
        picture = Image.merge("LAB", colours.split()) if mode == "LAB" else colours.convert(mode)
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue(), width, height


@FEW
@given(pictures())
def test_every_picture_that_pillow_writes_is_read_at_its_size_and_as_bytes(tmp_path, picture):
    content, width, height = picture
    path = tmp_path / "any.png"  # what a file is called does not matter
    path.write_bytes(content)
    image, mask = read_image(path), read_mask(path)
    assert (image.shape, image.dtype) == ((3, height, width), torch.uint8)
    assert (mask.shape, mask.dtype) == ((1, height, width), torch.uint8)


@FEW
@given(pictures(), st.data())
def test_changed_and_cut_pictures_are_read_or_refused_by_name(tmp_path, picture, data):
    content = bytearray(picture[0])
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "any.png"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    for read, channels in ((read_image, 3), (read_mask, 1)):
        try:
            tensor = read(path)
        except UnreadableImage as error:
            assert error.path == str(path)
            assert error.reason
        else:
            assert tensor.shape[0] == channels
            assert tensor.dtype == torch.uint8


@FEW
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 99), st.sampled_from(["1", "L", "I;16", "I", "RGB", "F"]))
def test_a_binary_mask_keeps_its_foreground_however_it_is_stored(tmp_path, width, height, seed, mode):
    wanted = np.random.default_rng(seed).random((height, width)) > 0.5
    wanted[0, 0] = True  # without any foreground, 0/1 and 0/255 are the same
    types = {"1": np.bool_, "L": np.uint8, "I;16": np.uint16, "I": np.int32, "F": np.float32, "RGB": np.uint8}
    picture = Image.fromarray(wanted.astype(types[mode]) if mode != "RGB" else np.uint8(wanted) * 255)
    (picture.convert("RGB") if mode == "RGB" else picture).save(tmp_path / "mask.tif")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.tif")[0].numpy(), np.where(wanted, 255, 0))


def options(kind, group):
    return [f"{group}.{name}" for name in inspect.signature(kind).parameters]


# Without those that fetch or import what they name, and the training set, which is what stops every example.
LEFT_OUT = {"model.backbone", "model.backbone_checkpoint", "model.pretrained", "data.train", "model.hidden_dim"}
OPTIONS = sorted(
    {
        *("panels", "save_every", "max_bad_share", "seed_everything", "test", "wandb", "on_collapse", "data", "model"),
        *("model.weights.ncut", "model.refiner.radius", "model.refiner.border", "model.optimizer.lr"),
        *(f"trainer.{name}" for name in ("precision", "gradient_clip_val", "accumulate_grad_batches", "max_epochs")),
        *(f"trainer.{name}" for name in ("val_check_interval", "accelerator", "log_every_n_steps", "deterministic")),
        *options(Sempart, "model"),
        *options(SaliencyDataModule, "data"),
    }
    - LEFT_OUT
)
ODD = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.integers(-3, 3).map(str),
    st.floats().map(str),
    st.sampled_from(["", "null", "true", "[]", "{}", "[1, 2]", "{a: 1}", "nan", "1e400", "~", "!!binary x", "&a *a"]),
    st.sampled_from(["Sempart", "os.system", "a.b.C", "torch.optim.SGD", "../..", "synthetic[9:1]", "ecssd[:]"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12),
)
BASE = ["--config", "synthetic", "--data.size", "32", "--model.hidden_dim", "8", "--data.train", "nowhere"]


def mistake(words, capsys):
    """What ``fit`` answers to words that it cannot train with: status 2, few lines, and nothing is left behind."""
    status = main(["fit", *words])
    error = capsys.readouterr().err
    assert status == 2
    assert "segtricks: " in error
    assert "Traceback" not in error
    assert not Path("runs").exists()
    return error


@settings(FEW, max_examples=30)
@given(st.lists(st.tuples(st.sampled_from(OPTIONS), ODD), min_size=1, max_size=2))
def test_any_value_of_any_option_is_taken_or_answered_and_never_a_traceback(tmp_path, monkeypatch, capsys, chosen):
    monkeypatch.chdir(tmp_path)
    mistake([*BASE, *(f"--{name}={value}" for name, value in chosen)], capsys)


@settings(FEW, max_examples=20)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda some: st.lists(some, max_size=2) | st.dictionaries(st.sampled_from([*KEYS, "x"]), some, max_size=3),
        max_leaves=6,
    )
)
def test_any_yaml_is_a_config_or_told_to_be_none(tmp_path, monkeypatch, capsys, content):
    monkeypatch.chdir(tmp_path)
    Path("any.yaml").write_text(yaml.safe_dump(content))
    mistake(["--config", "synthetic", "any.yaml", *BASE[2:]], capsys)


@settings(FEW, max_examples=100)
@given(st.text(max_size=200))
def test_any_message_of_the_parser_is_explained(message):
    assert 0 < len(explain(message, ["model.tau", "data.size"])) < 1000
