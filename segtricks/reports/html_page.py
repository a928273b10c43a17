"""Parts of one self-contained HTML page: no script, no network, no folder of the machine it was made on."""

import base64
import html
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

_PATH = re.compile(r"(?<![\w./:\\])(?:file://|~\w*|[A-Za-z]:)?(?:[/\\][^/\\\s'\"`,;:|<>()\[\]{}]+){2,}")

STYLE = """
:root { color-scheme: light dark; --text: #1c1e21; --dim: #5d646b; --line: #d5d9dd; --box: #f5f6f8; --back: #fff;
  --shade: rgb(0 0 0 / .3) }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e6e9; --dim: #a0a7ae; --line: #3b4046; --box: #1e2126; --back: #14161a;
    --shade: rgb(255 255 255 / .3) }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 68rem; background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0 }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .5rem; border-top: 1px solid var(--line); padding-top: 1rem }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem }
p { margin: .4rem 0 } .dim, figcaption, caption { color: var(--dim); font-size: .875rem }
.box { overflow-x: auto; margin: .5rem 0; background:
    linear-gradient(to right, var(--back) 40%, transparent) left / 2.5rem 100% no-repeat local,
    linear-gradient(to left, var(--back) 40%, transparent) right / 2.5rem 100% no-repeat local,
    linear-gradient(to right, var(--shade), transparent) left / 1rem 100% no-repeat,
    linear-gradient(to left, var(--shade), transparent) right / 1rem 100% no-repeat }
.box:focus-visible { outline: 2px solid currentColor }
table { border-collapse: collapse; font-size: .875rem; overflow-wrap: normal }
caption { text-align: left; padding-bottom: .3rem }
th, td { padding: .3rem .5rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
th { font-weight: 600; white-space: nowrap }
th.number { white-space: normal }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
tr.dim { font-size: inherit } tr.dim td, tr.dim th { font-style: italic }
td { white-space: nowrap } td.wide { white-space: normal; overflow-wrap: anywhere; min-width: 14rem }
.grid { display: grid; gap: .6rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)) }
.strip { display: grid; gap: .35rem; grid-template-columns: repeat(auto-fit, minmax(min(48%, 8rem), 1fr)) }
.strip figure { margin: 0 }
figure { margin: .6rem 0 } img { max-width: 100%; height: auto; display: block } .strip img { width: 100% }
.card { background: #fff; padding: .3rem; width: fit-content }
details { margin: .5rem 0 } summary { cursor: pointer; font-weight: 600; padding: .3rem 0 }
pre { background: var(--box); padding: .7rem; overflow-x: auto; font-size: .8125rem; line-height: 1.4 }
a { color: inherit }
@media (max-width: 40rem) {
  table { font-size: .8125rem } th, td { padding: .25rem .35rem } th { white-space: normal }
  td:not(.number) { white-space: normal; overflow-wrap: anywhere; min-width: 4.5rem } td.wide { min-width: 9rem }
  td:first-child:not(.number, .wide) { min-width: 5.8rem }
}
@media print {
  :root { --text: #000; --dim: #444; --line: #bbb; --box: #fff; --back: #fff }
  body { max-width: none; padding: 0; font-size: 10pt } h2, h3 { break-after: avoid }
  figure, tr, .box { break-inside: avoid } .box { overflow: visible; background: none } table { font-size: 7pt }
  th { white-space: normal } th, td { padding: .15rem .3rem } pre { white-space: pre-wrap }
  .grid { grid-template-columns: repeat(3, 1fr) } details:not([open]) { display: none }
}
""".strip()


def page(title: str, body: Iterable[str]) -> str:
    """Return a whole page. The policy in its head forbids scripts and anything from elsewhere."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            f"<title>{text(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>",
            *body,
            "</body>\n</html>\n",
        ]
    )


def text(value: Any) -> str:
    """Return any value as HTML text, absolute paths in it shortened to their last part."""
    plain = str(value).encode("utf-8", "backslashreplace").decode()
    return html.escape(_PATH.sub(lambda path: "…/" + re.split(r"[/\\]", path[0])[-1], plain))


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1, dim: Sequence[int] = (), caption: str = ""
) -> str:
    """Return a table that scrolls in a box of its own, with a shadow at the side where there is more of it.

    Args:
        header: titles of the columns.
        rows: of the same length; the first cell of each is its title.
        words: so many first columns hold text, the others figures.
        dim: numbers of rows that are there to compare with.
        caption: above the table.
    """
    head = "".join(_cell("th", title, i >= words, ' scope="col"') for i, title in enumerate(header))
    lines = []
    for number, row in enumerate(rows):
        cells = "".join(_cell("td", cell, i >= words) for i, cell in enumerate(row))
        lines.append(f'<tr class="dim">{cells}</tr>' if number in dim else f"<tr>{cells}</tr>")
    top = f"<caption>{text(caption)}</caption>" if caption else ""
    body = "\n".join(lines)
    name = text(caption or "table")
    return (
        f'<div class="box" tabindex="0" role="region" aria-label="{name}">\n<table>{top}\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def details(summary: str, body: str) -> str:
    """Return a part that opens on a click."""
    return f"<details><summary>{text(summary)}</summary>\n{body}\n</details>"


def svg(picture: str, name: str) -> str:
    """Return a chart, as an image of its own, so that the page's styles and names do not meet the chart's."""
    data = base64.b64encode(picture.encode()).decode()
    return f'<img alt="{text(name)}" src="data:image/svg+xml;base64,{data}">'


def photo(path: Path, name: str, side: int = 1100) -> str:
    """Return a picture file as an image of at most ``side`` pixels a side.

    Raises:
        OSError: it cannot be read.
    """
    with Image.open(path) as image:
        small = image.convert("RGB")
        small.thumbnail((side, side))
    file = io.BytesIO()
    small.save(file, "WEBP", quality=75)
    data = base64.b64encode(file.getvalue()).decode()
    return f'<img alt="{text(name)}" width="{small.width}" height="{small.height}" src="data:image/webp;base64,{data}">'


def _cell(kind: str, content: str, number: bool, attributes: str = "") -> str:
    style = ' class="number"' if number else ' class="wide"' if kind == "td" and len(content) > 40 else ""
    shown = text(content)
    if kind == "th":
        shown = shown.replace("_", "_<wbr>")
    return f"<{kind}{attributes}{style}>{shown}</{kind}>"
