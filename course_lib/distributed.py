"""What several processes need: who am I, and a gather that lets the gradient through.
Start them with `torchrun`."""

import os

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of processes that train together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, 0 <= rank < world_size()."""
    return dist.get_rank() if world_size() > 1 else 0


def start() -> torch.device:
    """Joins the process group that torchrun announces in the environment, if any;
    returns this process's device."""
    local = int(os.environ.get("LOCAL_RANK", 0))
    device = (
        torch.device("cuda", local)
        if torch.cuda.is_available()
        else torch.device("cpu")
    )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


class _Gather(torch.autograd.Function):
    """torch.distributed.nn.functional.all_gather does the same, but warns that it is
    deprecated (torch 2.14); what is to replace it is private and not in torch 2.6."""

    @staticmethod
    def forward(ctx, x):
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, grad):
        # Every process's loss saw our rows: their gradients add up, and only our own
        # rows lead further back.
        grad = grad.contiguous().clone()
        dist.all_reduce(grad)
        return grad.chunk(dist.get_world_size())[dist.get_rank()]


def gather(x: Tensor) -> Tensor:
    """The rows (n, ...) of all processes in rank order, (world_size n, ...), with
    gradient; x itself when alone.

    A loss of gathered rows that every process computes in full has, after
    DistributedDataParallel has averaged over the processes, exactly the gradient of one
    process on the joint batch. n must be the same everywhere.
    """
    return x if world_size() == 1 else _Gather.apply(x.contiguous())


def any_process(flag: Tensor) -> bool:
    """True where a 0-d bool tensor is true in at least one process (all must call it:
    it waits for the device)."""
    if world_size() > 1:
        flag = flag.float()
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag)
