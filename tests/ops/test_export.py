"""Programs that leave CLMER behind: decompositions, ONNX, TorchScript's refusals."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

import clmer
from clmer import ops
from clmer.nn import Bandpass, ContrastiveModel, CrossModalAttention, Encoder, Fusion, NTXentLoss
from clmer.ops.bandpass.blocks import sosfilt_blocks
from clmer.signal import butter_bandpass

X = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
HEADS = X.unflatten(2, (4, 4)).transpose(1, 2)
LAST_TWO = torch.arange(5) > 2


class Calls(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *x):
        return self.function(*x)


def fusion():
    torch.manual_seed(0)
    sizes = {"token_length": 6, "dim": 8, "heads": 2, "cross_layers": 2, "memory_layers": 1}
    return Fusion({"physio": (5, 16), "face": (5, 16)}, 2, **sizes)


def clmer_model():
    """The encoders and the fusion of a trained CLMER, as one module."""
    torch.manual_seed(0)
    encoders = nn.ModuleList(Encoder(5, 16, width=8, features=10) for _ in range(2))
    shape = encoders[0].token_shape(5)
    classifier = Fusion({"a": shape, "b": shape}, 2, dim=8, heads=2, cross_layers=1)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoders, self.classifier = encoders, classifier

        def forward(self, a, b):
            pairs = zip(self.encoders, (a, b), strict=True)
            return self.classifier([clmer.nn.as_tokens(e(x), 5) for e, x in pairs])

    return Model()


MODELS = {
    "module": lambda: (CrossModalAttention(16, 4, batch_first=True), (X, X, X)),
    "module, sequence first": lambda: (CrossModalAttention(16, 4), (X, X, X)),
    "key_padding_mask": lambda: (
        Calls(lambda x: ops.cross_attention(x, x, x, key_padding_mask=LAST_TWO)), (HEADS,)
    ),
    "causal": lambda: (Calls(lambda x: ops.cross_attention(x, x, x, is_causal=True)), (HEADS,)),
    "bias": lambda: (
        Calls(lambda x, b: ops.scaled_dot_product_attention(x, x, x, attn_mask=b)),
        (HEADS, torch.randn(5, 5)),
    ),
    "Bandpass": lambda: (Bandpass(128, 4, 45), (torch.randn(2, 3, 300),)),
    "Fusion": lambda: (fusion(), ([X, X],)),
    "CLMER": lambda: (clmer_model(), (X, X)),
}  # fmt: skip


@pytest.fixture(params=MODELS)
def model_and_arguments(request):
    model, arguments = MODELS[request.param]()
    return model.eval(), arguments


def clmer_ops(program):
    return {str(n.target) for n in program.graph.nodes if "clmer" in str(n.target)}


def test_decomposed_program_holds_no_op_of_clmer(model_and_arguments):
    model, arguments = model_and_arguments
    program = torch.export.export(model, arguments)
    assert clmer_ops(program.run_decompositions())  # by PyTorch's own table they stay
    plain = program.run_decompositions(ops.decompositions())
    assert not clmer_ops(plain)
    torch.testing.assert_close(plain.module()(*arguments), model(*arguments))


def test_onnxruntime_agrees(model_and_arguments):
    pytest.importorskip("onnxscript", reason="onnx, onnxscript and onnxruntime: clmer[onnx]")
    runtime = pytest.importorskip("onnxruntime", reason="clmer[onnx]")
    model, arguments = model_and_arguments
    with torch.no_grad():
        want = model(*arguments)
    proto = torch.onnx.export(model, arguments, dynamo=True, verbose=False).model_proto
    assert {node.domain for node in proto.graph.node} <= {""}
    session = runtime.InferenceSession(proto.SerializeToString())
    given = torch.utils._pytree.tree_leaves(arguments)
    feeds = {i.name: x.numpy() for i, x in zip(session.get_inputs(), given, strict=True)}
    got = [torch.from_numpy(each) for each in session.run(None, feeds)]
    wanted = [want] if isinstance(want, torch.Tensor) else list(want)
    torch.testing.assert_close(got, wanted)


@pytest.mark.slow
def test_saved_program_loads_without_clmer(tmp_path):
    program = torch.export.export(CrossModalAttention(16, 4).eval(), (X, X, X))
    load = "import sys, torch; torch.export.load(sys.argv[1]); assert 'clmer' not in sys.modules"

    def loads(program, name):
        torch.export.save(program, tmp_path / name)
        command = [sys.executable, "-c", load, str(tmp_path / name)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert loads(program.run_decompositions(ops.decompositions()), "plain.pt2").returncode == 0
    refused = loads(program, "clmer.pt2")
    assert refused.returncode != 0
    said = "failed to resolve torch.ops.clmer.cross_attention.default to an operator"  # docs
    assert said in refused.stderr
    assert "import the custom op" in refused.stderr
    assert "RuntimeError: We ran into an error when deserializing the saved file" in refused.stderr
    again = torch.export.load(tmp_path / "clmer.pt2").module()(X, X, X)
    torch.testing.assert_close(again, program.module()(X, X, X))


def test_any_batch():
    batch = torch.export.Dim("batch")
    x = {name: torch.randn(3, 5, 16) for name in ("physio", "face")}
    shapes = ({"physio": {0: batch}, "face": {0: batch}},)
    model = fusion().eval()
    program = torch.export.export(model, (x,), dynamic_shapes=shapes)
    program = program.run_decompositions(ops.decompositions())
    other = {name: torch.randn(7, 5, 16) for name in x}
    torch.testing.assert_close(program.module()(other), model(other))


@pytest.mark.parametrize("time", [0, 1, 5, 64, 65, 1000])
@pytest.mark.parametrize("band", [(4, 45, 128), (0.1, 40, 512), (0.5, None, 256), (None, 40, 250)])
def test_blocks_are_sosfilt(band, time):
    low, high, fs = band
    sos = torch.from_numpy(butter_bandpass(low, high, fs, 4))
    x = 10 * torch.randn(3, time, dtype=torch.float64) + 50
    state = torch.randn(3, len(sos), 2, dtype=torch.float64)
    got, want = sosfilt_blocks(x, sos, state), ops.sosfilt(x, sos, state)
    for a, b in zip(got, want, strict=True):
        peak = float(b.abs().max()) if b.numel() else 0.0
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10 * peak)


def test_blocks_keep_the_samples_before_a_nan():
    sos = torch.from_numpy(butter_bandpass(4, 45, 128, 4))
    x, state = torch.randn(2, 200), torch.zeros(2, len(sos), 2, dtype=torch.float64)
    clean, _ = sosfilt_blocks(x, sos, state)
    x[0, 100] = torch.nan
    y, end = sosfilt_blocks(x, sos, state)
    assert y[0, 100:].isnan().all()
    assert end[0].isnan().all()
    torch.testing.assert_close(y[0, :100], clean[0, :100])
    torch.testing.assert_close(y[1], clean[1])


@pytest.mark.parametrize("name", ops.__all__)
def test_script_of_a_function_is_refused_with_a_sentence(name):
    function = getattr(ops, name)

    def calls(x: torch.Tensor):
        return function(x, x, x)

    for each in (function, calls):
        with pytest.raises(RuntimeError, match=rf"clmer\.ops\.{name} cannot be written in Torch"):
            torch.jit.script(each)


@pytest.mark.parametrize(
    "module",
    [
        Bandpass(128, 4, 45),
        NTXentLoss(),
        Encoder(4, 128),
        fusion(),
        nn.Sequential(CrossModalAttention(8, 2)),
        ContrastiveModel.__new__(ContrastiveModel),
    ],
    ids=lambda module: type(module).__name__,
)
def test_script_of_a_module_is_refused_with_a_sentence(module):
    with pytest.raises(RuntimeError, match="has kernels that TorchScript does not know"):
        torch.jit.script(module)


def test_traced_attention_can_be_saved(tmp_path):
    model = CrossModalAttention(16, 4, batch_first=True).eval()
    traced = torch.jit.trace(model, (X, X, X), check_trace=False)
    traced.save(str(tmp_path / "traced.pt"))
    again = torch.jit.load(str(tmp_path / "traced.pt"))
    torch.testing.assert_close(again(X, X, X), model(X, X, X))
