"""Training in several processes: the number of a process, and a gather with gradient.
`torchrun` starts the processes."""

import os

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """The number of processes that train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, 0 <= rank < world_size()."""
    return dist.get_rank() if world_size() > 1 else 0


def start() -> torch.device:
    """Joins the process group and returns the device of this process.

    torchrun describes the group in environment variables. Without them there is only
    this process, and no group.
    """
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


class _Gather(torch.autograd.Function):
    """Concatenates the rows of all processes, with gradient.

    torch.distributed.nn.functional.all_gather does the same, but torch 2.14 warns at
    each call that it is deprecated.
    """

    @staticmethod
    def forward(ctx, x):
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, grad):
        # The loss of every process depends on the rows of this process, so their
        # gradient is the sum over processes. Only this process's rows depend on its x.
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)
        return grad.chunk(dist.get_world_size())[dist.get_rank()]


def gather(x: Tensor) -> Tensor:
    """Concatenates the rows x (n, ...) of all processes in rank order, with gradient:
    (world_size n, ...). With one process, returns x itself.

    Let every process compute the same loss from all gathered rows, and let
    DistributedDataParallel average the gradients over processes. The result is exactly
    the gradient of one process on the whole batch. n must be the same in all processes.
    """
    return x if world_size() == 1 else _Gather.apply(x.contiguous())


def any_process(flag: Tensor) -> bool:
    """Returns whether the 0-d bool tensor is true in at least one process.

    All processes must call it. It waits for the device.
    """
    if world_size() > 1:
        flag = flag.float()
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag)
