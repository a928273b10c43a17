"""``segtricks app``: a page in the browser to try a model on photographs."""

import os
from argparse import ArgumentTypeError, Namespace
from collections.abc import Awaitable, Callable, Iterator, Sequence
from math import log10
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from segtricks.commands.options import OptionParser, add_device_option, checked_device
from segtricks.errors import UserError

USAGE = "[--run runs/NAME] [--port 7860] [--share]"
_POLICY = b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"

_STAYS = "Photographs stay on the machine that runs this page."
_RADIUS, _EPS = "Guided filter: radius", "Guided filter: eps"
_STYLE = "#mask .image-container {background: var(--neutral-400)}"  # a white mask has an edge

_Scope = dict[str, Any]
_Send = Callable[[_Scope], Awaitable[None]]


def main(words: Sequence[str]) -> None:
    """Run the command with its option words, until it is interrupted."""
    parser = OptionParser("app", USAGE)
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--run", metavar="runs/NAME", help="the run folder; its best checkpoint is taken")
    model.add_argument("--released", action="store_true", help="the head that ships with segtricks (default)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 lets other machines in")
    parser.add_argument("--port", type=_port, default=7860, help="of the page (default 7860)")
    parser.add_argument("--share", action="store_true", help="a public address too, through servers of gradio")
    add_device_option(parser)
    options = parser.parse_args(words)
    _gradio()
    from segtricks.commands.predictor import load_soft

    page = make_page(load_soft(options.run).to(checked_device(options.device)))
    launch(page, options)
    page.block_thread()


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise ArgumentTypeError(f"{text!r} is not a number from 1 to 65535")
    return int(text)


def make_page(model: Any) -> Any:
    """Return gradio's page for a model of one soft mask a photograph."""
    from segtricks.methods.adjustable_masks import AdjustableMasks
    from segtricks.methods.base import PLAIN

    gradio, masks = _gradio(), AdjustableMasks(model)
    own_radius = 0 if model.predicted_row == PLAIN else model.refiner.radius

    def show(photograph: str | None, *choices: Any) -> tuple[Any, Any]:
        if photograph is None:
            return None, None
        try:
            return masks.show(photograph, *choices)
        except UserError as error:
            raise gradio.Error(str(error), duration=None, print_exception=False) from error

    def files(photograph: str | None, *choices: Any) -> Iterator[tuple[Any, ...]]:
        with TemporaryDirectory() as folder:  # gradio copies what is yielded, and deletes its copies after an hour
            paths = (None, None) if photograph is None else masks.files(Path(folder), photograph, *choices)
            yield tuple(gradio.DownloadButton(value=path, interactive=path is not None) for path in paths)

    with gradio.Blocks(title="segtricks", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gradio.Markdown(f"# segtricks\nMasks by {model.description}. {_STAYS}")
        with gradio.Row():
            photograph = gradio.Image(
                label="Photograph", type="filepath", image_mode=None, sources=["upload"], buttons=["fullscreen"]
            )
            overlay = gradio.Image(label="Overlay", format="jpeg", interactive=False, buttons=["fullscreen"])
        with gradio.Row():
            with gradio.Column():
                threshold = gradio.Slider(0.05, 0.95, 0.5, step=0.01, label="Threshold")
                radius = gradio.Slider(
                    0, max(40, own_radius), own_radius, step=1, label=_RADIUS, info="In pixels; 0 is no filter"
                )
                exponent = gradio.Slider(
                    -6, 0, log10(model.refiner.eps), step=0.25, label=_EPS, info="As a power of ten"
                )
                with gradio.Row():
                    cutout = gradio.DownloadButton("Download cut-out", interactive=False, variant="primary")
                    binary = gradio.DownloadButton("Download mask", interactive=False)
            mask = gradio.Image(label="Mask", format="png", interactive=False, buttons=["fullscreen"], elem_id="mask")
        choices = [threshold, radius, exponent]
        inputs, pictures = [photograph, *choices], [overlay, mask]
        seen = photograph.change(show, inputs, pictures, trigger_mode="always_last", api_name="mask")
        moved = gradio.on(
            [choice.change for choice in choices],
            show,
            inputs,
            pictures,
            trigger_mode="always_last",
            show_progress="hidden",
            api_visibility="private",
        )
        for event, visibility in ((seen, "public"), (moved, "private")):
            event.success(
                files, inputs, [cutout, binary], show_progress="hidden", api_name="files", api_visibility=visibility
            )
    return page


def launch(page: Any, options: Namespace) -> str:
    """Serve the page in threads and return its address.

    Raises:
        UserError: the port is taken.
    """
    themes = _gradio().themes
    try:
        _, address, public = page.launch(
            server_name=options.host,
            server_port=options.port,
            share=options.share,
            quiet=True,
            show_error=True,
            prevent_thread_lock=True,
            ssr_mode=False,
            footer_links=[],
            css=_STYLE,
            theme=themes.Base(primary_hue="teal", font=["system-ui", "sans-serif"], font_mono=["monospace"]),
            app_kwargs={"middleware": [(_OwnHostAlone, (), {})]},
        )
    except OSError as error:
        raise UserError(
            f"--port {options.port} of {options.host} cannot be used ({error}).\nNext: pass another."
        ) from error
    print(f"The page is at {public or address}. Stop it with Ctrl-C.", flush=True)
    return str(address)


class _OwnHostAlone:
    """Keeps browsers from fetching anything from other hosts than the page's, such as fonts."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: _Scope, receive: Any, send: _Send) -> None:
        async def with_policy(message: _Scope) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", _POLICY)]
            await send(message)

        await self.app(scope, receive, with_policy)


def _gradio() -> Any:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # it is read when gradio is imported, and when it starts
    try:
        import gradio
    except ImportError:
        raise UserError('segtricks app needs gradio.\nNext: pip install "segtricks[app]"') from None
    return gradio
