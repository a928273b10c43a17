"""Features of a frozen backbone on disk: what was computed once for an image is read the next time."""

import hashlib
import inspect
import logging
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import safe_open
from torch import Tensor, nn

from segtricks.data.store import default_folder as image_folder
from segtricks.errors import UserError
from segtricks.runs import replacing

Output = Tensor | tuple[Tensor, ...]

_FORMAT = 1  # to be raised with any change of what an entry holds
log = logging.getLogger(__name__)


class FeatureCache:
    """Stands in for a backbone's ``forward``: images (B, 3, H, W) to what it returns, read from disk or computed.

    One ``.safetensors`` file for each image, with all that the backbone returns for it in the precision it has
    (0.8 MB for a photograph of 320 x 432 and a ViT-S/16, 3.3 MB for a ViT-S/8), named by a hash of the pixels that the
    backbone is given and of all that decides the result: its weights, layers and code, precision, kind of device, and
    the versions of torch and timm. So another size, crop, feature or checkpoint gets other entries, and any number
    of processes may share a folder. Nothing is ever deleted; the folder may be, at any time between runs.

    Where an image of a batch is not there, the whole batch is computed. So the same images in the same batches give the
    same numbers with and without the cache, bit by bit; in other batches, to the rounding in which batches differ. An
    entry that is damaged is named and made again.
    Where nothing can be written, one line says so and features are computed each time.

    Args:
        backbone: a frozen module in eval mode whose output, a tensor or a tuple of them, has the images first.
        folder: of the entries; None is ``$XDG_CACHE_HOME/segtricks/features``, by default below ``~/.cache``.

    Raises:
        UserError: the backbone's class was not read from a file, so that a change of it could not be noticed.
    """

    def __init__(self, backbone: nn.Module, folder: str | Path | None = None) -> None:
        self.folder = features_folder() if folder is None else Path(folder).expanduser()
        self.found = self.computed = 0
        """Images, so far."""
        self._forward: Callable[[Tensor], Output] = backbone.forward
        self._identity = identity(backbone)
        self._writable = True

    def __call__(self, images: Tensor) -> Output:
        """Features of images."""
        entries, kept = [self.entry(image) for image in images], list[list[Tensor]]()
        for entry in entries:
            if (found := self._load(entry)) is None:
                break
            kept.append(found)
        if len(kept) == len(images) > 0:
            self.found += len(images)
            stacked = tuple(torch.stack(part).to(images.device) for part in zip(*kept, strict=True))
            return stacked if len(stacked) > 1 else stacked[0]
        output = self._forward(images)
        self.computed += len(images)
        parts = output if isinstance(output, tuple) else (output,)
        for i, entry in enumerate(entries):
            if not entry.is_file():
                self._store(entry, [part[i] for part in parts])
        return output

    def entry(self, image: Tensor) -> Path:
        """Where the features of an image (3, H, W) are kept, or will be."""
        kind = image.device.type
        lower = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        settings = (self._identity, tuple(image.shape), image.dtype, kind, lower, torch.get_float32_matmul_precision())
        key = hashlib.blake2b(repr(settings).encode(), digest_size=20)
        key.update(_bytes(image))
        return self.folder / key.hexdigest()[:2] / f"{key.hexdigest()[2:]}.safetensors"

    def _load(self, entry: Path) -> list[Tensor] | None:
        try:
            with safe_open(entry, "pt") as file:
                parts = [file.get_tensor(str(i)) for i in range(len(file.keys()))]
                sound = file.metadata()["crc32"] == _checksum(parts)
        except FileNotFoundError:
            return None
        except Exception:  # damaged in one of many ways
            sound = False
        if sound:
            return parts
        log.warning("%s is damaged: its features are computed again", entry)
        entry.unlink(missing_ok=True)
        return None

    def _store(self, entry: Path, parts: list[Tensor]) -> None:
        if not self._writable:
            return
        parts = [part.detach().cpu().contiguous() for part in parts]
        try:
            with replacing(entry, durable=False) as temporary:  # what is damaged is made again
                named = {str(i): part for i, part in enumerate(parts)}
                safetensors.torch.save_file(named, temporary, {"crc32": _checksum(parts)})
        except (OSError, safetensors.SafetensorError) as error:
            self._writable = False
            log.warning("the feature cache %s cannot be written to, so it is not: %s", self.folder, error)


def cache_features(backbone: nn.Module, folder: str | Path | None = None) -> FeatureCache:
    """Let a backbone keep its features on disk from now on; :func:`forget_cache` ends it.

    For photographs that are seen as they are. In training, augmentation changes every image: each would be a new entry
    that is never read again.
    """
    cache = FeatureCache(backbone, folder)
    backbone.__dict__["forward"] = cache  # before the class's: no module of another name in checkpoints
    return cache


def forget_cache(backbone: nn.Module) -> None:
    """Let a backbone compute again."""
    backbone.__dict__.pop("forward", None)


def identity(backbone: nn.Module) -> str:
    """Return a hash of all that decides a frozen backbone's features, apart from the images and the precision."""
    import timm  # takes seconds

    hashed = hashlib.blake2b(digest_size=20)
    kind = type(backbone)
    try:
        files = [Path(inspect.getfile(kind)), *sorted(Path(__file__).parent.glob("*.py"))]
        source = b"".join(path.read_bytes() for path in files)
    except (TypeError, OSError) as error:
        raise UserError(
            f"The source of {kind.__name__} cannot be read, so a change of it could not be noticed.\n"
            "Next: move it to a file, or leave out --cache_features."
        ) from error
    about: tuple[Any, ...] = (_FORMAT, kind.__module__, kind.__qualname__, getattr(backbone, "name", ""))
    hashed.update(repr((*about, torch.__version__, timm.__version__, repr(backbone))).encode() + source)
    for name, tensor in [*backbone.named_parameters(), *backbone.named_buffers()]:
        hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        hashed.update(_bytes(tensor))
    return hashed.hexdigest()


def features_folder() -> Path:
    """``segtricks/features`` in the user's folder of caches."""
    return image_folder().with_name("features")


def _bytes(tensor: Tensor) -> Any:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data


def _checksum(parts: list[Tensor]) -> str:
    total = 0
    for part in parts:
        total = zlib.crc32(_bytes(part), total)
    return str(total)
