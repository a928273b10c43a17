"""``segtricks fit --model.from_run RUN``: a training that starts from the options and the weights of an earlier run."""

import json
from collections.abc import Sequence
from pathlib import Path

from segtricks.data.coco import reading_coco
from segtricks.packaged import find_config, read_yaml
from segtricks.runs import flat
from segtricks.training.hub_runs import find_run, shared_address

_FROM, _LABELS = "--model.from_run", "--data.masks"


def with_earlier_run(configs: Sequence[str], words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return configs and words of a new ``fit``, before them the config of the run that it starts from, if it does.

    One that was shared is fetched, and ``model.from_run`` is then the folder that it lies in. The categories of labels
    in a COCO file become ``model.classes``; of a file that a config names, unless that config has classes of its own.

    Raises:
        UserError: there is no such run, it cannot be fetched, or the file is damaged.
    """
    run, labels = _value_of(_FROM, words), _value_of(_LABELS, words)
    for config in reversed(configs):
        options = flat(read_yaml(find_config(config), "trainer: {max_epochs: 5}"))
        run = run or options.get(_FROM[2:])
        if labels is None and (named := options.get(_LABELS[2:])) is not None:
            has_classes = any(name.startswith("model.classes") for name in options)
            labels = "" if has_classes else named
    if run is None:
        return list(configs), list(words)
    folder = find_run(run)
    fetched = [] if shared_address(run) is None else [_FROM, str(folder)]
    return [str(folder / "config.yaml"), *configs], [*_class_words(labels), *words, *fetched]


def _class_words(labels: str | None) -> list[str]:
    path = Path(labels or "").expanduser()
    if not path.is_file():
        return []
    with reading_coco(path):
        content = json.loads(path.read_bytes())
        names = {int(item["category_id"]): str(item["category_id"]) for item in content.get("annotations", ())}
        names |= {int(item["id"]): str(item["name"]) for item in content.get("categories", ())}
    classes = {number: names[number] for number in sorted(names)}
    return ["--model.num_things", str(len(classes)), "--model.classes", json.dumps(classes)] if classes else []


def _value_of(option: str, words: Sequence[str]) -> str | None:
    """The value of an option's last occurrence."""
    found = None
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name.startswith("--") and f"--{name[2:].replace('-', '_')}" == option:
            found = value if equals else "".join(words[place + 1 : place + 2])
    return found
