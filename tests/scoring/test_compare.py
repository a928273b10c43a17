import pytest

from segtricks.errors import UserError
from segtricks.scoring.compare import compare, short_names
from segtricks.scoring.results import Result, read_results

from ..conftest import result


def rows(*figures, **options):
    return [
        Result("study", "ecssd", "fullres", "mask", {"iou": value}, options={"seed": str(seed), **options})
        for seed, value in enumerate(figures)
    ]


def test_seeds_become_a_mean_with_the_deviation_of_a_sample():
    (group,) = compare([*rows(0.5, 0.7, crop="true"), *rows(0.1, crop="false")]).groups
    first, second = group.results
    assert (first.metrics["iou"], first.spread["iou"], first.seeds) == (pytest.approx(0.6), pytest.approx(0.02**0.5), 2)
    assert (second.metrics["iou"], second.spread, second.seeds) == (0.1, {}, 1)
    assert group.differing == ["crop"]


def test_rows_of_the_same_seed_are_not_averaged_in_silence():
    with pytest.raises(UserError, match="same seed 0"):
        compare(rows(0.5) + rows(0.6))


def test_runs_that_differ_in_their_seed_are_averaged_only_if_asked(make_run):
    runs = [
        make_run(name, {"e": result(mask={"iou": iou})}, seed)
        for seed, (name, iou) in enumerate([("a", 0.2), ("b", 0.4)])
    ]
    results = [each for run in runs for each in read_results(run)]
    assert len(compare(results).groups[0].results) == 2
    (mean,) = compare(results, average_seeds=True).groups[0].results
    assert (mean.run, mean.metrics["iou"], mean.seeds) == ("a, b", pytest.approx(0.3), 2)


def test_runs_of_other_options_are_never_averaged(make_run):
    runs = [make_run(name, {"e": result(mask={"iou": 0.2})}, seed, crop=bool(seed)) for seed, name in enumerate("ab")]
    results = [each for run in runs for each in read_results(run)]
    assert len(compare(results, average_seeds=True).groups[0].results) == 2


def test_data_sets_protocols_and_changed_choices_stay_apart():
    def one(dataset, protocol, **choices):
        return Result(dataset + protocol, dataset, protocol, "mask", {"iou": 0.5}, choices)

    image, none = one("ecssd", "fullres", polarity="image"), one("ecssd", "fullres", polarity="none")
    older = one("ecssd", "fullres")  # of a time when there was no such choice
    comparison = compare([image, none, one("ecssd", "sod"), one("duts-te", "fullres", polarity="image"), older])
    assert [(group.protocol, len(group.results)) for group in comparison.groups] == [
        ("fullres (polarity image)", 2),
        ("fullres (polarity none)", 1),
        ("sod", 1),
        ("fullres", 1),
    ]
    assert "4 tables: figures of different data sets or protocols cannot be compared." in comparison.notes()


def test_other_numbers_of_images_are_noted():
    results = [Result(str(n), "ecssd", "fullres", "mask", {"iou": 0.5}, images=n) for n in (400, 1000)]
    assert "ecssd, protocol fullres: not all rows are of the same images: 400, 1,000." in compare(results).notes()


@pytest.mark.parametrize("baseline", ["b", "runs/b", "runs/b/", "model.crop=true", "crop=TRUE,row=mask", "run=b"])
def test_baseline_is_a_run_or_its_columns(make_run, baseline):
    contents = {"e": result(mask={"iou": 0.5}, refined={"iou": 0.75})}
    runs = [make_run("a", contents, crop=False), make_run("b", contents, crop=True)]
    (group,) = compare([r for run in runs for r in read_results(run)], baseline=baseline).groups
    assert (group.baseline.run, group.baseline.row) == ("b", "mask")
    assert group.differences("iou").fillna(9).tolist() == [0, 0.25, 9, 0.25]


def test_unknown_metric_and_baseline_name_those_that_there_are():
    with pytest.raises(UserError, match=r"'miou'. Allowed: iou"):
        compare(rows(0.5), ["miou"])
    with pytest.raises(UserError, match=r"'nine'. Runs: study"):
        compare(rows(0.5), baseline="nine")


def test_options_are_called_by_their_last_part_where_that_is_enough():
    names = ["model.crop", "model.refiner.eps", "model.optimizer.eps"]
    assert [short for _, short in short_names(names)] == ["crop", "model.refiner.eps", "model.optimizer.eps"]


def test_a_set_without_the_baseline_is_named():
    both = [Result(run, "ecssd", "fullres", "mask", {"iou": 0.5}) for run in "ab"]
    other = Result("b", "duts-te", "fullres", "mask", {"iou": 0.5})
    assert (
        "duts-te, protocol fullres: no differences, no row is the baseline a."
        in compare([*both, other], baseline="a").notes()
    )
    assert not [note for note in compare([*both, other]).notes() if "no differences" in note]
