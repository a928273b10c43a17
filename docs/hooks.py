"""What the site adds to the pages in docs/: pages that live elsewhere in the repository, and roles of docstrings."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
ELSEWHERE = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "experiments/*/*.md",
    "experiments/*/*.csv",
    "experiments/*/*.png",
    "experiments/*/*.py",
    "notebooks/*.ipynb",
    "segtricks/released/*.md",
)
ROLE = re.compile(r":(?:func|class|meth|mod|attr|data):<code>~?([^<]*)</code>")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that live outside docs/, and what they link to, at their path in the repository."""
    for pattern in ELSEWHERE:
        for path in sorted(ROOT.glob(pattern)):
            files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links that work on GitHub into links of the site, whose root is docs/."""
    if "/" in page.file.src_uri:
        return markdown
    return markdown.replace("](../", "](").replace("](docs/", "](")


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show Sphinx roles of docstrings, such as ``:func:`name```, as code."""
    return ROLE.sub(r"<code>\1</code>", html)
