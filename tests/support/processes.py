"""Tests as several ranks of a gloo group."""

import os
import time

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def joined(rank, world, path):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=world)
    return dist.group.WORLD


def in_processes(worker, world, tmp_path):
    """Worker(rank, world, path) as so many ranks; the first error of any fails the test."""
    together = mp.get_context("spawn").Barrier(world)
    arguments = (together, worker, world, str(tmp_path / "store"))
    context = mp.spawn(run_and_leave, arguments, nprocs=world, join=False)
    deadline = time.monotonic() + 300
    while not context.join(timeout=10):
        if time.monotonic() > deadline:
            for process in context.processes:
                process.kill()
            pytest.fail(f"{world} ranks of {worker.__name__} still run after 300 s")


def run_and_leave(rank, together, worker, world, path):
    worker(rank, world, path)
    together.wait()  # another may still be connecting to this one
    # No group is destroyed, and nothing torn down: a DistributedDataParallel that goes after its
    # group joins gloo's threads with the GIL held, which one of them may want (torch 2.13).
    os._exit(0)
