"""Functions for drivers: they call an answer on given arrays and return its outputs as
plain arrays.

A driver is a function `drive(answer, arrays) -> arrays`. Drivers are public, and the
student's check and the grader use the same ones. Nothing here contains an expected
value. Drivers that look at more than the outputs are in `probes`.
"""

import importlib.util
import inspect
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

import numpy as np
import torch
from torch import Tensor, nn

Arrays = dict[str, Tensor]
# Step of the finite difference: large enough for an answer that computes in float32.
STEP = 0.05
LARGEST = 1_000_000  # most elements of one output
# Folders of files whose lines are not the student's.
FOREIGN = (
    str(Path(torch.__file__).parents[1]),
    str(Path(traceback.__file__).parent),
    str(Path(__file__).parents[1]),
)


class NotATensor(TypeError):
    """The answer returned something that is not a tensor or a number."""


@dataclass(frozen=True)
class Failure:
    """The exception that an answer raised: its type, the line of the answer that raised
    it, and the message.

    Two types are not those of exceptions. "Leftover": the answer still contains the
    line of its stub. "Unsolved": the answer calls a function that still raises
    NotImplementedError; then `message` is the name of this function, and `line` is the
    call.
    """

    type: str
    line: str = ""
    message: str = ""


def run(drive: Callable, answer, arrays: Arrays) -> dict[str, np.ndarray] | Failure:
    """Returns the driver's outputs for one case as float, integer or bool arrays, or
    the failure of the answer. Raises nothing."""
    try:
        outputs = drive(answer, {name: array.clone() for name, array in arrays.items()})
        return {name: plain(value) for name, value in outputs.items()}
    # SystemExit and KeyboardInterrupt too: an answer may raise them
    except BaseException as error:
        stack = traceback.extract_tb(error.__traceback__)
        frames = [frame for frame in stack if not _foreign(frame.filename)]
        kind, line = type(error).__name__, frames[-1].line if frames else None
        try:
            message = str(error)
        except BaseException:
            message = ""
        if _unfinished(error):
            if len(frames) > 1:
                kind, message, line = "Unsolved", _name(error), frames[-2].line
            elif _has_other_code(error):
                kind = "Leftover"
        return Failure(kind, (line or "").strip(), message)


def _foreign(filename: str) -> bool:
    """Tests whether the file is not the student's."""
    return (
        filename.startswith(FOREIGN)
        or filename.endswith(("drivers.py", "exercises.py"))
        or filename.startswith("<frozen")
    )


def _raised_in(error: BaseException) -> CodeType:
    """Returns the code of the function that raised the exception."""
    return [frame for frame, _ in traceback.walk_tb(error.__traceback__)][-1].f_code


def _unfinished(error: BaseException) -> bool:
    """Tests whether NotImplementedError was raised by a line of the notebook that names
    it, as the line of a stub does. Operations that torch does not support raise the
    same exception."""
    if type(error) is not NotImplementedError:
        return False
    code = _raised_in(error)
    return "NotImplementedError" in code.co_names and not _foreign(code.co_filename)


def _name(error: BaseException) -> str:
    """Returns the name of the function, method or class that raised the exception."""
    code = _raised_in(error)
    name = getattr(code, "co_qualname", code.co_name)  # from Python 3.11 on
    return name.rpartition("<locals>.")[2].removesuffix(".__init__")


def _has_other_code(error: BaseException) -> bool:
    """Tests whether the function that raised the exception does more than that: then
    the student has not deleted the line of the stub."""
    code = _raised_in(error)
    starred = bool(code.co_flags & inspect.CO_VARARGS)
    starred += bool(code.co_flags & inspect.CO_VARKEYWORDS)
    arguments = code.co_argcount + code.co_kwonlyargcount + starred
    return len(code.co_names) > 1 or code.co_nlocals > arguments


def plain(value) -> np.ndarray:
    """Returns a tensor or number as a NumPy array on the CPU. Raises NotATensor for
    everything else, for a tensor that is not dense and real, and for one of more than
    LARGEST elements."""
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
    """Calls answer(*tensors, *parameters) and returns these outputs:

    - `value`, and the outputs of `changes`.
    - `gradient NAME` for each tensor that `differentiate` names: the vector-Jacobian
      product with the cotangent. It is absent if no gradient flows. The cotangent has
      the value's shape; without one, or with another shape, it is all ones.
    - `slope`, if `differentiate` names tensors and all of them are float64: the central
      difference of <cotangent, value> along a fixed direction. It depends on the values
      alone, so it reveals a gradient that is not the gradient of the value.
    """
    given = {name: tensor.clone() for name, tensor in tensors.items()}
    value = answer(*given.values(), *parameters)
    outputs = {"value": value} | changes(given, tensors)
    if not differentiate:
        return outputs
    shape = plain(value).shape  # raises NotATensor with a clear message
    if cotangent is None or cotangent.shape != shape:
        cotangent = torch.ones(shape)
    leaves = {name: tensors[name].clone().requires_grad_() for name in differentiate}
    # The leaves are copied too, because the answer may modify its arguments in place.
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
            end = torch.from_numpy(plain(answer(*copies, *parameters))).double()
            ends.append((end * cotangent).sum())
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
    """Calls answer(*tensors, *settings) and returns the outputs of `function`.

    tensors, settings: names of arrays of the case; a setting is passed as a number.
    names: for an answer that returns several values, the names of these values; then
    the outputs are those of `several`, without gradients. flows, stops: the tensors
    that a gradient should reach, and those that no gradient should reach. Their
    gradients are computed if the case has a `cotangent`. The gradients of `stops` need
    a call of their own, and `slope` does not include these tensors.
    """
    given = {name: a[name] for name in tensors}
    numbers = [a[name].item() for name in settings]
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


def parts(returned, names: tuple[str, ...]):
    """Returns the answer's result if it is a tuple or list with one value for each
    name. Raises TypeError for anything else."""
    several_values = isinstance(returned, (tuple, list))
    if several_values and len(returned) == len(names):
        return returned
    got = f"{len(returned)} things" if several_values else type(returned).__name__
    raise TypeError(f"expected {len(names)} things, {', '.join(names)}, got {got}")


def several(
    answer: Callable, names: tuple[str, ...], tensors: Arrays, *parameters
) -> Arrays:
    """Calls answer(*tensors, *parameters), which has to return one value for each name.
    Returns these values by name, and the outputs of `changes`."""
    given = {name: tensor.clone() for name, tensor in tensors.items()}
    found = dict(zip(names, parts(answer(*given.values(), *parameters), names)))
    return found | changes(given, tensors)


def changes(given: Arrays, before: Arrays) -> Arrays:
    """Compares the tensors that an answer got with copies from before the call. Returns
    these outputs:

    - `unchanged`: True if the answer neither modified the tensors nor switched on their
      `requires_grad`.
    - `changed NAME`: the new content of each tensor that it modified. No property
      compares it, but it helps to tell apart mistakes that modify an argument.
    """
    modified = {
        name: tensor
        for name, tensor in given.items()
        if not same_bits(tensor, before[name])
    }
    wants = [
        name
        for name, tensor in given.items()
        if tensor.requires_grad and not before[name].requires_grad
    ]
    contents = {
        f"changed {name}": tensor
        for name, tensor in modified.items()
        if tensor.numel() <= LARGEST
    }
    return {"unchanged": torch.tensor(not modified and not wants)} | contents


def by_number(
    answer: Callable, a: Arrays, given: tuple[str, ...], groups: dict[str, str]
) -> Arrays:
    """Calls an answer that returns several numbers, once for each of Q questions.

    given: the names of the arrays (Q,) with the arguments. Each returned number has a
    letter. groups: the letters of each output, in the order in which the answer returns
    them, for example {"losses": "ab", "cost": "c"}. Returns float64 tensors: (Q,) for
    an output of one letter, (Q, letters) for several. Raises TypeError if the answer
    returns more or fewer numbers than there are letters.
    """
    letters = tuple("".join(groups.values()))
    rows = []
    for question in zip(*(a[name].tolist() for name in given)):
        returned = answer(*question)
        if isinstance(returned, Tensor):
            returned = returned.tolist()
        rows.append([float(part) for part in parts(returned, letters)])
    table, outputs, start = torch.tensor(rows, dtype=torch.float64), {}, 0
    for name, group in groups.items():
        numbers = table[:, start : start + len(group)]
        outputs[name] = numbers if len(group) > 1 else numbers[:, 0]
        start += len(group)
    return outputs


def gradients(value, leaves: Arrays, cotangent=None) -> Arrays:
    """Returns `gradient NAME` of <cotangent, value> for each leaf that `value` depends
    on."""
    if not isinstance(value, Tensor) or not value.requires_grad:
        return {}
    # The cotangent is not passed to autograd.grad, because that would import sympy:
    # a third of a second in each process.
    total = value.sum() if cotangent is None else (value * cotangent).sum()
    found = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    return {
        f"gradient {name}": gradient
        for name, gradient in zip(leaves, found)
        if gradient is not None
    }


def layer(kind: type[nn.Module], weight: Tensor, bias: Tensor, **options) -> nn.Module:
    """Returns a layer of this kind, nn.Linear or nn.Conv2d, with this weight
    (out, in, ...) and bias (out,) as parameters."""
    built = kind(*weight.shape[1::-1], dtype=weight.dtype, **options)
    built.weight, built.bias = nn.Parameter(weight), nn.Parameter(bias)
    return built


def named_parameters(**networks: nn.Module) -> dict[str, nn.Parameter]:
    """Returns all parameters of the networks by name: `NETWORK PARAMETER`."""
    return {
        f"{name} {part}": p
        for name, network in networks.items()
        for part, p in network.named_parameters()
    }


def direction(tensor: Tensor) -> Tensor:
    """Returns a fixed direction in the tensor's space. It has no symmetry, because an
    answer with the same symmetry could hide a wrong gradient."""
    return torch.arange(1, tensor.numel() + 1, dtype=tensor.dtype).cos().view_as(tensor)


def same_bits(first: Tensor, second: Tensor) -> bool:
    """Tests whether shape, dtype and all elements are equal; NaN is equal to NaN."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    both_nan = (first != first) & (second != second)
    return bool(((first == second) | both_nan).all())


def load_module(path: Path) -> ModuleType:
    """Returns a Python file as a module: a file of drivers, or an author's file."""
    spec = importlib.util.spec_from_file_location(path.stem.lstrip("0123456789_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
