"""A graphics card for machines that have none: its tensors are on "card:0" and refuse to be read as arrays.

The values lie on the host, inside the tensor, and every operation is done there, so results equal the CPU's.
What a real card refuses is refused: `np.asarray` of a tensor, and operations that mix both devices.
`make card` runs the notebooks on it. What only CUDA has (half precision, Triton) it does not show.
"""

from typing import Any

import torch
from torch.utils import backend_registration
from torch.utils._device import _device_constructors
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

NAME = "card"
# A real card takes these from the host: copies, and indices.
MIXED = {"copy_", "_to_copy", "index", "index_put", "index_put_", "_index_put_impl_"}


class OnCard(torch.Tensor):
    """A tensor that says it lies on the card; `held` has its values."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> "OnCard":
        made = torch.Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            layout=held.layout, device=f"{NAME}:0", requires_grad=held.requires_grad,
        )  # fmt: skip
        made.held = held.detach()
        return made

    def __repr__(self) -> str:
        return f"OnCard({self.held})"

    def tolist(self) -> Any:
        """Return the numbers, as a real card does: the host waits for them."""
        return self.held.tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Card(TorchDispatchMode):
    """Sees what makes new tensors on the card."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Generator(torch.Generator):
    def __new__(cls, device: Any = "cpu") -> "_Generator":
        return super().__new__(cls, "cpu")


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Do an operation with the values on the host; its result lies where a real card's would."""
    name, leaves = func.__name__.split(".")[0], tree_leaves((args, kwargs))
    tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    on_card = [isinstance(tensor, OnCard) for tensor in tensors]
    if any(on_card) and name not in MIXED and any(t.dim() for t in tensors if not isinstance(t, OnCard)):
        raise RuntimeError(f"Expected all tensors to be on the same device, but {name} got {NAME}:0 and cpu")
    wanted = next((leaf for leaf in leaves if isinstance(leaf, torch.device)), None)
    to_card = any(on_card) if wanted is None else wanted.type == NAME
    if name == "copy_":
        to_card = on_card[0]
    result = func(*tree_map(_lowered, args), **tree_map(_lowered, kwargs))
    if not to_card:
        return result
    lifted = tree_map(lambda leaf: OnCard(leaf) if isinstance(leaf, torch.Tensor) else leaf, result)
    return return_and_correct_aliasing(func, args, kwargs, lifted) if any(on_card) else lifted


def _lowered(leaf: Any) -> Any:
    if isinstance(leaf, torch.device) and leaf.type == NAME:
        return torch.device("cpu")
    return leaf.held if isinstance(leaf, OnCard) else leaf


def install() -> None:
    """Make torch believe in the card, for the rest of this process."""
    backend_registration._setup_privateuseone_for_python_backend(NAME)
    module = getattr(torch, NAME)
    module.get_rng_state = lambda device=None: torch.get_rng_state()
    module.set_rng_state = lambda state, device=None: None
    module.device_count = lambda: 1
    torch.inference_mode = torch.no_grad  # its tensors count no versions, which views of a subclass need
    torch.Generator = _Generator
    build = torch.tensor
    _device_constructors()  # remembers the functions that `with torch.device(…)` reaches: the originals

    def tensor(data: Any, *, device: Any = None, requires_grad: bool = False, **kwargs: Any) -> torch.Tensor:
        made = build(data, **kwargs)
        return (made if device is None else made.to(device)).requires_grad_(requires_grad)

    torch.tensor = tensor  # the original makes its tensor where no mode sees it
    _Card().__enter__()
