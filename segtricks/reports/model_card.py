"""The model card of a run that is shared: what it is, how it was trained, how good it is."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, Template

import segtricks
from segtricks.backbones.registry import PRETRAINED
from segtricks.methods.base import SegmentationModule, weights_of
from segtricks.metrics.measures import HEADLINES, MEASURES
from segtricks.reports.page import shown
from segtricks.reports.tables import figure
from segtricks.scoring.results import Result, flat_config, is_before, read_config, read_file, result_files

_OPTIONS = (
    *("data.train", "data.masks", "data.size", "data.test_size", "data.batch_size", "seed_everything"),
    *(
        "trainer.max_epochs",
        "trainer.max_steps",
        "trainer.precision",
        "model.optimizer.class_path",
        "model.optimizer.lr",
    ),
    *("model.feature", "model.layer", "model.tau", "model.crop", "model.guided_filter"),
)
_UNSET = ("none", "null", "")
_WITHOUT_LABELS = "Without any mask or label, on photographs alone."
_WITH_PSEUDO_LABELS = "On photographs and the masks or labels that data.masks names."


def model_card(run: Path, module: SegmentationModule, address: str, license: str | None) -> str:
    """Return the card as Markdown with the header that a hub reads; it names no folder of this machine.

    Args:
        run: the run folder.
        module: its model.
        address: of the shared run, ``hf://owner/name``.
        license: of what was trained, as the hub spells it; None names none.

    Raises:
        UserError: a file of the run is damaged.
    """
    options = flat_config(read_config(run), trained=True)
    results: list[Result] = []
    for file in result_files(run):
        if not is_before(file):
            results += read_file(file, run.name, options)
    measured = set().union(*(result.metrics for result in results))
    measures = [name for name in HEADLINES if name in measured]
    backbone = str(module.identity().get("backbone", ""))
    known = PRETRAINED.get(backbone)
    return _template().render(
        address=address,
        name=address.rpartition("/")[2],
        method=type(module).__name__,
        backbone=backbone,
        backbone_license=known.license if known else "",
        weights=weights_of(module) or "made by a formula",
        parameters=sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad),
        learns=_WITHOUT_LABELS if module.target_kind is None else _WITH_PSEUDO_LABELS,
        options=[(name, _cell(options[name])) for name in _OPTIONS if options.get(name, "") not in _UNSET],
        titles=[MEASURES[name].title for name in measures],
        scores=list(_lines(results, measures)),
        license=license,
        version=segtricks.__version__,
    )


def _lines(results: Sequence[Result], measures: Sequence[str]) -> Iterator[list[str]]:
    for result in results:
        known = {name: figure(value) for name, value in result.metrics.items()}
        figures = [known.get(name, "") for name in measures]
        names = [_cell(text) for text in (result.dataset, result.protocol, result.row)]
        yield [*names, str(result.images or ""), *figures]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


@cache
def _template() -> Template:
    loader = PackageLoader("segtricks.reports", "")
    return Environment(loader=loader, finalize=shown, trim_blocks=True, keep_trailing_newline=True).get_template(
        "model_card.md.j2"
    )
