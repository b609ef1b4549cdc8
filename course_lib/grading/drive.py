"""What drivers share: they call an answer on given arrays and return what came of it,
as plain arrays.

A driver is `drive(answer, arrays) -> arrays`; it is public, and the student's check and
the grader use the same one. Nothing here knows what is right.
"""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

Arrays = dict[str, Tensor]
# of the finite difference; large enough for an answer that computes in float32
STEP = 0.05
LARGEST = 1_000_000  # elements of one output
FOREIGN = (
    str(Path(torch.__file__).parents[1]),
    str(Path(traceback.__file__).parent),
    str(Path(__file__).parents[1]),
)


class NotATensor(TypeError):
    """The answer returned something else than a tensor or a number."""


@dataclass(frozen=True)
class Failure:
    """An answer that raised: the exception's type, the line of the answer that did it,
    the message."""

    type: str
    line: str = ""
    message: str = ""


def run(drive: Callable, answer, arrays: Arrays) -> dict[str, np.ndarray] | Failure:
    """One case: the driver's outputs as float, integer or bool arrays, or how the
    answer failed. Raises nothing."""
    try:
        outputs = drive(answer, {name: array.clone() for name, array in arrays.items()})
        return {name: plain(value) for name, value in outputs.items()}
    # SystemExit and KeyboardInterrupt included: an answer may raise them
    except BaseException as error:
        frames = [
            f
            for f in traceback.extract_tb(error.__traceback__)
            if not _foreign(f.filename)
        ]
        kind = "Leftover" if _leftover(error) else type(error).__name__
        try:
            message = str(error)
        except BaseException:
            message = ""
        return Failure(kind, (frames[-1].line or "").strip() if frames else "", message)


def _foreign(filename: str) -> bool:
    return (
        filename.startswith(FOREIGN)
        or filename.endswith("drivers.py")
        or filename.startswith("<frozen")
    )


def _leftover(error: BaseException) -> bool:
    """Was NotImplementedError raised by a function that does more than that? Its stub
    was never deleted."""
    if type(error) is not NotImplementedError:
        return False
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    code = frames[-1].f_code
    arguments = (
        code.co_argcount
        + code.co_kwonlyargcount
        + bool(code.co_flags & 4)
        + bool(code.co_flags & 8)
    )
    more = len(code.co_names) > 1 or code.co_nlocals > arguments
    return (
        more
        and "NotImplementedError" in code.co_names
        and not _foreign(code.co_filename)
    )


def plain(value) -> np.ndarray:
    """A tensor or number as a NumPy array on the CPU. Raises NotATensor for anything
    that is not dense and real."""
    if isinstance(value, (bool, int, float, np.number, np.ndarray)):
        value = torch.as_tensor(value)
    if not isinstance(value, Tensor):
        raise NotATensor(f"expected a tensor, got {type(value).__name__}")
    if (
        value.layout != torch.strided
        or value.is_complex()
        or value.is_meta
        or value.is_quantized
    ):
        raise NotATensor(
            f"expected a dense tensor of real numbers, got {value.dtype} of layout "
            f"{value.layout}"
        )
    value = value.as_subclass(Tensor).detach()
    if value.numel() > LARGEST:
        raise NotATensor(
            f"expected at most {LARGEST:,} elements, got {value.numel():,}"
        )
    if value.dtype in (torch.float16, torch.bfloat16):
        value = value.float()
    return value.cpu().contiguous().numpy().copy()


def function(
    answer: Callable,
    tensors: Arrays,
    *parameters,
    differentiate: tuple[str, ...] = (),
    cotangent=None,
) -> Arrays:
    """Calls answer(*tensors, *parameters). Outputs:

    `value`; `unchanged`, whether the tensors are as they were; and where
    `differentiate` names some of the tensors: `gradient NAME`, the vector-Jacobian
    product for the cotangent (of the value's shape; 1 for a 0-d value), absent where no
    gradient flows; for float64 tensors `slope`, the central difference of <cotangent,
    value> along a fixed direction: it shows a gradient that is not that of the value.
    """
    given = {name: tensor.clone() for name, tensor in tensors.items()}
    value = answer(*given.values(), *parameters)
    unchanged = all(same_bits(given[name], tensors[name]) for name in tensors)
    outputs = {"value": value, "unchanged": torch.tensor(unchanged)}
    if not differentiate:
        return outputs
    shape = plain(value).shape  # what is no tensor ends here, in words of its own
    if cotangent is None or cotangent.shape != shape:
        cotangent = torch.ones(shape)
    leaves = {name: tensors[name].clone().requires_grad_() for name in differentiate}
    # of leaves too: they may be modified in place
    copies = [tensor.clone() for tensor in (tensors | leaves).values()]
    outputs |= gradients(answer(*copies, *parameters), leaves, cotangent)
    if all(tensors[name].dtype == torch.float64 for name in differentiate):
        ends = []
        for sign in (1, -1):
            moved = {
                name: tensors[name] + sign * STEP * direction(tensors[name])
                for name in differentiate
            }
            copies = [tensor.clone() for tensor in (tensors | moved).values()]
            ends.append(
                (
                    torch.from_numpy(plain(answer(*copies, *parameters))).double()
                    * cotangent
                ).sum()
            )
        outputs["slope"] = (ends[0] - ends[1]) / (2 * STEP)
    return outputs


def on_case(
    answer: Callable,
    a: Arrays,
    tensors: tuple[str, ...],
    settings: tuple[str, ...] = (),
    flows: tuple[str, ...] = (),
    stops: tuple[str, ...] = (),
    names: tuple[str, ...] = (),
) -> Arrays:
    """`function` for answer(*tensors, *settings), all of them named from the case's
    arrays. names: of the things that come back, where there are several; then it is
    `several`, without gradients.

    A case that brings a `cotangent` asks for the gradients of those that `flows` names
    too, and of those of `stops` where there are any, in a call of their own: they have
    no part in `slope`.
    """
    given, numbers = (
        {name: a[name] for name in tensors},
        [a[name].item() for name in settings],
    )
    if names:
        return several(answer, names, given, *numbers)
    if "cotangent" not in a:
        return function(answer, given, *numbers)
    outputs = function(
        answer, given, *numbers, differentiate=flows, cotangent=a["cotangent"]
    )
    if stops:
        leaves = {name: a[name].clone().requires_grad_() for name in stops}
        copies = [tensor.clone() for tensor in (given | leaves).values()]
        outputs |= gradients(answer(*copies, *numbers), leaves, a["cotangent"])
    return outputs


def parts(came, names: tuple[str, ...]):
    """What came back, if it is as many things as there are names. Raises TypeError for
    anything else."""
    if not isinstance(came, (tuple, list)) or len(came) != len(names):
        word = (
            f"{len(came)} things"
            if isinstance(came, (tuple, list))
            else type(came).__name__
        )
        raise TypeError(f"expected {len(names)} things, {', '.join(names)}, got {word}")
    return came


def several(
    answer: Callable, names: tuple[str, ...], tensors: Arrays, *parameters
) -> Arrays:
    """Calls answer(*tensors, *parameters), which returns as many things as there are
    names. Outputs: these by name, and `unchanged`, whether the tensors are as they
    were."""
    given = {name: tensor.clone() for name, tensor in tensors.items()}
    found = dict(zip(names, parts(answer(*given.values(), *parameters), names)))
    unchanged = all(same_bits(given[name], tensors[name]) for name in tensors)
    return found | {"unchanged": torch.tensor(unchanged)}


def by_number(
    answer: Callable, a: Arrays, given: tuple[str, ...], groups: dict[str, str]
) -> Arrays:
    """Asks for several numbers, once for each place of the arrays (Q,) that `given`
    names. The numbers have letters; groups: the letters of each output, as in
    {"losses": "ab", "cost": "c"}. Outputs: (Q,) for one letter, (Q, letters) for
    several, float64. Raises TypeError for another number of numbers."""
    letters = tuple("".join(groups.values()))
    rows = []
    for question in zip(*(a[name].tolist() for name in given)):
        came = answer(*question)
        came = came.tolist() if isinstance(came, Tensor) else came
        rows.append([float(part) for part in parts(came, letters)])
    said, outputs, start = torch.tensor(rows, dtype=torch.float64), {}, 0
    for name, group in groups.items():
        numbers = said[:, start : start + len(group)]
        outputs[name] = numbers if len(group) > 1 else numbers[:, 0]
        start += len(group)
    return outputs


def gradients(value, leaves: Arrays, cotangent=None) -> Arrays:
    """`gradient NAME` of <cotangent, value> for each leaf that `value` depends on."""
    if not isinstance(value, Tensor) or not value.requires_grad:
        return {}
    # Given to autograd.grad itself, a cotangent would cost the import of sympy, a third
    # of a second a process.
    total = value.sum() if cotangent is None else (value * cotangent).sum()
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {
        f"gradient {name}": gradient
        for name, gradient in zip(leaves, found)
        if gradient is not None
    }


def layer(kind: type[nn.Module], weight: Tensor, bias: Tensor, **options) -> nn.Module:
    """A layer of that kind, nn.Linear or nn.Conv2d, with this weight (out, in, ...) and
    bias (out,) as parameters."""
    built = kind(*weight.shape[1::-1], dtype=weight.dtype, **options)
    built.weight, built.bias = nn.Parameter(weight), nn.Parameter(bias)
    return built


def named_parameters(**networks: nn.Module) -> dict[str, nn.Parameter]:
    """All parameters of the networks by name: `NETWORK PARAMETER`."""
    return {
        f"{name} {part}": p
        for name, network in networks.items()
        for part, p in network.named_parameters()
    }


def direction(tensor: Tensor) -> Tensor:
    """A fixed direction in the tensor's space, with no symmetry that an answer could
    share."""
    return torch.arange(1, tensor.numel() + 1, dtype=tensor.dtype).cos().view_as(tensor)


def same_bits(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    # NaN is NaN
    return bool(((first == second) | (first != first) & (second != second)).all())
