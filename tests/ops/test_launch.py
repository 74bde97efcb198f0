"""Launches without Triton's own bookkeeping: which calls share a compiled form; without a GPU."""

import importlib.util

import pytest
import torch

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not installed"
)


class Parameter:
    def __init__(self, name, free):
        self.name, self.do_not_specialize = name, free


class Kernel:
    """What of a triton.JITFunction a launch uses; `compiled` has an entry a compilation."""

    __name__ = "kernel"
    arg_names = ("x", "n", "BLOCK", "WIDE")

    def __init__(self, free=True):
        self.params = [Parameter("x", False), Parameter("n", free)]
        self.compiled, self.ran = [], []

    def __getitem__(self, grid):
        def compile_and_run(*arguments, **constants):
            self.compiled.append((grid, arguments, constants))
            return Form(self.ran)

        return compile_and_run


class Form:
    def __init__(self, ran):
        self.ran = ran

    def __getitem__(self, grid):
        return lambda *arguments: self.ran.append((grid, arguments))


@pytest.fixture
def launch(monkeypatch):
    from clmer.kernels import _launch

    monkeypatch.setattr(_launch.triton, "JITFunction", Kernel)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(_launch, "_FORMS", {})

    def call(kernel, x, n, programs=3, warps=4, **constants):
        constants = {"WIDE": True, "BLOCK": 16} | constants
        _launch.launch(kernel, programs, (x, n), constants, {"num_warps": warps})

    return call


def test_the_second_call_runs_what_the_first_compiled(launch):
    kernel, x = Kernel(), torch.zeros(32)
    launch(kernel, x, 5)
    launch(kernel, x + 1, 7, programs=9)
    assert len(kernel.compiled) == 1
    ((grid, arguments),) = kernel.ran
    assert grid == (9, 1, 1)
    assert arguments[1:] == (7, 16, True)  # constants in the kernel's order
    launch(kernel, x, 5, programs=0)
    assert len(kernel.ran) == 1


def test_what_a_form_depends_on_is_in_the_key(launch, monkeypatch):
    kernel, x = Kernel(), torch.zeros(64)
    calls = [
        lambda: launch(kernel, x, 5),
        lambda: launch(kernel, x.to(torch.bfloat16), 5),
        lambda: launch(kernel, x[1:], 5),  # not at 16 bytes
        lambda: launch(kernel, None, 5),
        lambda: launch(kernel, x, 2**31),
        lambda: launch(kernel, x, 0.5),
        lambda: launch(kernel, x, x),
        lambda: launch(kernel, x, 5, BLOCK=32),
        lambda: launch(kernel, x, 5, warps=8),
    ]
    for _ in range(2):
        for call in calls:
            call()
    assert len(kernel.compiled) == len(calls)
    assert len(kernel.ran) == len(calls)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    calls[0]()
    assert len(kernel.compiled) == len(calls) + 1


@pytest.mark.parametrize("n", [1, 16, 5, True])
def test_an_integer_that_triton_would_specialise_is_refused(launch, n):
    with pytest.raises(TypeError, match="kernel: n: an integer is specialised"):
        launch(Kernel(free=False), torch.zeros(4), n)
