import pytest

from segtricks.reports.comparison_tables import markdown, write_table
from segtricks.scoring.compare import compare
from segtricks.scoring.results import read_results

from ..conftest import result


def test_markdown_shows_what_was_changed_and_keeps_published_numbers_apart(make_run):
    whole = result("ecssd", images=1000, mask={"iou": 0.5}, refined={"iou": 0.75})
    runs = [
        make_run(name, {"ecssd": whole}, crop=crop, guided_filter=crop) for name, crop in (("a", False), ("b|c", True))
    ]
    text = markdown(compare([r for run in runs for r in read_results(run)]))
    assert text.splitlines()[2:8] == [
        "| run | crop | guided_filter | row | images | iou | Δ iou | published iou |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | ---: |",
        "| a | false | false | mask | 1,000 | 0.5000 |  | 0.853 |",
        "| a | false | false | mask + guided filter | 1,000 | 0.7500 | +0.2500 | 0.869 |",
        r"| b\|c | true | true | mask | 1,000 | 0.5000 | +0.0000 |  |",
        r"| b\|c | true | true | mask + guided filter | 1,000 | 0.7500 | +0.2500 | 0.862 |",
    ]


@pytest.mark.parametrize(("dataset", "images"), [("ecssd", 400), ("ecssd[:1000]", 1000)])
def test_parts_of_a_set_have_no_published_number(make_run, dataset, images):
    run = make_run("a", {"e": result(dataset, images=images, mask={"iou": 0.5})}, crop=False)
    assert "published" not in markdown(compare(read_results(run)))


def test_table_read_again_gives_the_same_figures(make_run, tmp_path):
    contents = {"e": result(mask={"iou": 0.5, "acc": 0.9}, refined={"iou": 0.75, "acc": 0.8})}
    runs = [make_run("a", contents, crop=False), make_run("b", contents, crop=True)]
    first = compare([r for run in runs for r in read_results(run)])
    write_table(tmp_path / "compare.csv", first)
    again = read_results(tmp_path / "compare.csv")
    assert [each.metrics["iou"] for each in again] == [0.5, 0.75, 0.5, 0.75]
    assert [each.options["model.crop"] for each in again] == ["false", "false", "true", "true"]
