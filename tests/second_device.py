"""A device beside the CPU, made of the CPU: code written for a GPU runs, checked and counted, where there is none.

Tensors on it say that they are on ``DEVICE`` and hold one of the CPU. Inside :class:`SecondDevice`, operations on them
are computed on the CPU and give what they give there. Tensors of both devices in one operation are an error as on a
GPU, and each operation that makes a GPU's host wait (a number that is read, a shape that depends on values, an upload
that is not asked to run beside) is noted. Not for inference mode, in which torch hands over operations whole.
"""

import traceback
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")  # the one other device that autograd knows without hardware

aten = torch.ops.aten
_WAIT = {
    aten._local_scalar_dense,
    aten.equal,
    aten.nonzero,
    aten.masked_select,
    aten._unique2,
    aten.unique_dim,
    aten.repeat_interleave,
    aten.bincount,
}
_NO_BYTES = {aten._upsample_bilinear2d_aa, aten._upsample_bicubic2d_aa}


class FarTensor(Tensor):
    """A tensor of the CPU that says it is on :data:`DEVICE`."""

    near: Tensor
    is_cuda = True  # code may ask, to let uploads of a few numbers run beside

    @staticmethod
    def __new__(cls, near: Tensor) -> "FarTensor":
        common = {"dtype": near.dtype, "layout": near.layout, "device": DEVICE}
        if near.layout == torch.strided:
            common |= {"strides": near.stride(), "storage_offset": near.storage_offset()}
        return torch.Tensor._make_wrapper_subclass(cls, near.size(), **common)

    def __init__(self, near: Tensor) -> None:
        self.near = near

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.near.__reduce_ex__(protocol)

    def __repr__(self) -> str:
        return f"FarTensor({self.near})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} of a tensor on the second device, outside of SecondDevice()")


class _Construction(TorchFunctionMode):
    """What torch does for the device before an operation of it: numbers from and to Python."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") == DEVICE:
            return func(*args, **kwargs | {"device": "cpu"}).to(DEVICE)
        if func is Tensor.tolist:
            return args[0].cpu().tolist()
        if func is Tensor.data_ptr and isinstance(args[0], FarTensor):
            return args[0].near.data_ptr()
        return func(*args, **kwargs)


class SecondDevice(TorchDispatchMode):
    """Context in which :data:`DEVICE` can be computed on; ``waits`` says what made the host wait, and where."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self._construction = _Construction()

    def __enter__(self) -> "SecondDevice":
        self._construction.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._construction.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        far = [tensor for tensor in tensors if isinstance(tensor, FarTensor)]
        if func.overloadpacket is aten._to_copy:
            return self._moved(func, args[0], kwargs)
        to_far = kwargs.get("device") is not None and torch.device(kwargs["device"]) == DEVICE
        if not far and not to_far:
            return func(*args, **kwargs)
        if func.overloadpacket is aten.copy_:
            self._note_move(isinstance(args[0], FarTensor), far=args[1], beside=(*args, False)[2])
        else:
            self._check(func, args, tensors)
        if kwargs.get("device") is not None:
            kwargs["device"] = "cpu"
        owners = {id(tensor.near): tensor for tensor in far}
        result = func(*tree_map(_near, args), **tree_map(_near, kwargs))

        def wrapped(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            return owners[id(value)] if id(value) in owners else FarTensor(value)

        if func.overloadpacket is aten.copy_:
            return args[0]
        return tree_map(wrapped, result)

    def _check(self, func: Any, args: Any, tensors: list[Tensor]) -> None:
        near = [tensor for tensor in tensors if not isinstance(tensor, FarTensor) and tensor.ndim > 0]
        if func.overloadpacket in _NO_BYTES and tensors[0].dtype == torch.uint8:
            raise NotImplementedError(f"{func} of uint8 is not there on a GPU")
        indexed = func.overloadpacket in (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_)
        if near and not (indexed and isinstance(args[0], FarTensor)):
            raise AssertionError(f"{func}: tensors on two devices, {[tuple(tensor.shape) for tensor in tensors]}")
        by_mask = indexed and any(index is not None and index.dtype == torch.bool for index in args[1])
        if near or by_mask or func.overloadpacket in _WAIT:
            self._note(str(func))

    def _moved(self, func: Any, tensor: Tensor, kwargs: dict[str, Any]) -> Tensor:
        was, device = isinstance(tensor, FarTensor), kwargs.pop("device", None)
        to = was if device is None else torch.device(device) == DEVICE
        if was != to:
            self._note_move(to, far=tensor, beside=bool(kwargs.get("non_blocking")))
        moved = func(_near(tensor), **kwargs)
        return FarTensor(moved) if to else moved

    def _note_move(self, to: bool, far: Any, beside: bool) -> None:
        if to != isinstance(far, FarTensor) and not (to and beside):
            self._note("upload" if to else "download")

    def _note(self, what: str) -> None:
        stack = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_stack()]
        places = [place for place in stack if "/torch/" not in place and __file__ not in place]
        self.waits.append(f"{what} at {places[-1]}")


def _near(value: Any) -> Any:
    return value.near if isinstance(value, FarTensor) else value
