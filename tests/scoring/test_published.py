import json

import pytest

from segtricks.data import DUTOMRON, ECSSD, DUTSTest
from segtricks.scoring.published import is_whole, labels_of_run, labels_of_table, published

TRICKS = {"class_path": "segtricks.methods.Sempart", "backbone": "dino_vits8", "crop": True, "guided_filter": True}


@pytest.fixture(scope="session")
def paper(photographs):
    """The paper's tables as they were copied from it, in another layout."""
    path = photographs.parent / "paper_tables.json"
    if not path.is_file():
        pytest.skip(f"no {path}")
    return json.loads(path.read_text())


def test_ablation_of_saliency_is_that_of_table_3(paper):
    for row in paper["table3_ablation_saliency"]:
        labels = {key: row[key] for key in ("backbone", "crop", "guided_filter")}
        for dataset, value in row["iou"].items():
            assert published("iou", dataset.lower(), **labels) == value


def test_ablation_of_corloc_is_that_of_table_4_as_shares(paper):
    for row in paper["table4_ablation_corloc"]:
        for dataset, value in row["corloc"].items():
            labels = {"crop": row["crop"], "guided_filter": row["guided_filter"]}
            assert published("corloc", dataset.lower(), method="Sempart", **labels) == pytest.approx(value / 100)


@pytest.mark.parametrize("suffix", ["", " + GF", " + BF"])
@pytest.mark.parametrize("method", ["TokenCut", "MOVE"])
def test_refiners_are_those_of_table_5(paper, method, suffix):
    refined = {"guided_filter": suffix == " + GF", "bilateral_solver": suffix == " + BF"}
    for dataset, figures in paper["table5_refiners"][method + suffix].items():
        for metric, value in figures.items():
            assert published(metric, dataset.lower(), method=method, table=5, **refined) == value


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("LOST", {"method": "LOST"}),
        ("Sempart (published)", {"method": "Sempart (published)"}),
        ("Two Tricks", {"method": "Sempart", "crop": True}),
        ("Two Tricks + BF", {"method": "Sempart", "crop": True, "bilateral_solver": True}),
        ("SelfMask w/ Two Tricks", {"method": "Sempart", "crop": True, "selfmask": True}),
        ("Sempart (reimplemented)", {"method": "Sempart", "crop": False}),
    ],
)
def test_methods_are_those_of_table_1(paper, name, labels):
    for dataset, figures in paper["table1_saliency"][name].items():
        for metric, value in figures.items():
            assert published(metric, dataset.lower(), table=1, **labels) == value


def test_numbers_that_were_read_in_the_paper_by_hand():
    assert published("iou", "duts-te", backbone="dino_vits8", crop=True, guided_filter=True) == 0.787
    assert published("corloc", "voc07", method="TokenCut") == 0.688


@pytest.mark.parametrize(
    ("metric", "dataset", "labels"),
    [
        ("iou", "ecssd", {"crop": True, "guided_filter": True}),  # of three backbones
        ("acc", "ecssd", {"backbone": "ibot_vits16", "crop": True}),  # table 3 has IoU alone
        ("iou", "ecssd[:320]", {"method": "LOST"}),
        ("iou", "ecssd", {"method": "LOST", "backbone": "descriptor"}),
    ],
)
def test_there_is_no_number_where_the_paper_has_none_or_several(metric, dataset, labels):
    assert published(metric, dataset, **labels) is None


@pytest.mark.parametrize("kind", [DUTSTest, DUTOMRON, ECSSD])
def test_only_a_set_of_the_published_size_is_whole(kind):
    name = kind.title.lower()
    assert is_whole(name)
    assert is_whole(name, kind.expected)
    assert not is_whole(name, kind.expected - 1)
    assert not is_whole(f"{name}[:{kind.expected}]")


@pytest.mark.parametrize(
    ("options", "row", "number"),
    [
        (TRICKS, "mask + guided filter", 0.787),
        (TRICKS, "mask", None),  # trained with the filter and not filtered: not in the paper
        (TRICKS | {"guided_filter": False}, "mask", 0.772),
        (TRICKS | {"guided_filter": False}, "mask + guided filter", None),
        (TRICKS | {"crop": False}, "mask", 0.761),  # without the crop there is no teacher to filter
        (TRICKS | {"crop": False}, "mask + guided filter", 0.784),
        (TRICKS | {"backbone": "descriptor"}, "mask + guided filter", None),
        ({"class_path": "Discovery", "method": "tokencut", "backbone": "dino_vits16"}, "mask", 0.576),
        (
            {"class_path": "Discovery", "method": "tokencut", "backbone": "dino_vits16"},
            "mask + bilateral solver",
            0.624,
        ),
        ({"class_path": "Discovery", "method": "tokencut", "backbone": "descriptor"}, "mask", None),
        ({"class_path": "Found"}, "mask", None),  # by fullres; the paper's is FOUND's own protocol
    ],
)
def test_row_of_a_run_stands_beside_the_papers_row_of_the_same_tricks(options, row, number):
    labels = labels_of_run(options, row, "fullres")
    assert (None if labels is None else published("iou", "duts-te", **labels)) == number


@pytest.mark.parametrize(
    ("labels", "number"),
    [
        ({"backbone": "dino_vits8", "crop": "yes", "guided_filter": "True"}, 0.787),
        ({"backbone": "dino_vits8", "crop": "false", "guided_filter": "true", "row": "mask"}, 0.761),
        ({"backbone": "dino_vits8", "crop": "true", "guided_filter": "true", "row": "mask"}, None),
        ({"method": "LOST"}, 0.518),
        ({"row": "mask"}, None),
    ],
)
def test_columns_of_a_table_name_the_papers_row(labels, number):
    found = labels_of_table(labels)
    assert (None if found is None else published("iou", "duts-te", **found)) == number
