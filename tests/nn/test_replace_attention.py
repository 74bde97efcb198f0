"""`replace_attention`, `restore_attention` and `from_torch`: a swap that loses nothing."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from support.processes import in_processes
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from clmer.nn import CrossModalAttention, replace_attention, restore_attention

X = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
ATTENTION = ("self_attn", "multihead_attn")


def layer(dropout: float = 0.1) -> nn.TransformerDecoderLayer:
    torch.manual_seed(0)
    return nn.TransformerDecoderLayer(16, 4, 32, dropout, batch_first=True)


class Model(nn.Module):
    """One module under two names, one with tied weights, one deep inside."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.MultiheadAttention(16, 4, batch_first=True)
        self.again = self.first
        self.tied = nn.MultiheadAttention(16, 4, batch_first=True)
        self.tied.in_proj_weight = self.first.in_proj_weight
        self.deep = nn.ModuleDict({"list": nn.ModuleList([nn.MultiheadAttention(16, 4)])})

    def forward(self, x: Tensor) -> Tensor:
        x = self.again(self.first(x, x, x)[0], x, x)[0]
        return self.deep["list"][0](*[self.tied(x, x, x)[0]] * 3)[0]


def test_parameters_mode_dtype_and_optimizer_stay() -> None:
    for change in (lambda m: m.eval().requires_grad_(False), lambda m: m.bfloat16().eval()):
        model = change(layer())
        before = {name: (p, p.requires_grad) for name, p in model.named_parameters()}
        modules = [getattr(model, name) for name in ATTENTION]
        x = X.to(model.linear1.weight.dtype)
        want = model(x, x)
        report = replace_attention(model)
        assert report.replaced == ATTENTION
        assert not report.left
        assert [getattr(model, name) for name in ATTENTION] == modules
        assert all(type(m) is CrossModalAttention and not m.training for m in modules)
        after = {name: (p, p.requires_grad) for name, p in model.named_parameters()}
        assert after.keys() == before.keys()
        assert all(after[k][0] is p and after[k][1] == asks for k, (p, asks) in before.items())
        digits = {} if x.dtype == torch.float32 else {"atol": 0.02, "rtol": 0.02}
        torch.testing.assert_close(model(x, x), want, **digits)
    model = layer()
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    replace_attention(model)
    old = model.self_attn.in_proj_weight.detach().clone()
    model(X, X).square().sum().backward()
    optimizer.step()
    assert not torch.equal(old, model.self_attn.in_proj_weight)


def test_hooks_run_once_and_their_handles_remove_them() -> None:
    model, calls = layer(0.0), []
    attention = model.self_attn
    handles = [
        attention.register_forward_pre_hook(lambda *_: calls.append("before")),
        attention.register_forward_hook(lambda *_: calls.append("after")),
        attention.register_full_backward_hook(lambda *_: calls.append("backward")),
        attention.register_state_dict_post_hook(lambda *_: calls.append("state_dict")),
        attention.register_load_state_dict_pre_hook(lambda *_: calls.append("load")),
    ]
    replace_attention(model)
    for _ in range(2):
        calls.clear()
        model(X, X).sum().backward()
        model.load_state_dict(model.state_dict())
        assert calls == ["before", "after", "backward", "state_dict", "load"]
        restore_attention(copy.deepcopy(model))  # of a copy: this one stays ours
    for handle in handles:
        handle.remove()
    calls.clear()
    model(X, X).sum().backward()
    model.load_state_dict(model.state_dict())
    assert calls == []
    assert type(attention) is CrossModalAttention


def test_shared_tied_deep_and_the_model_itself() -> None:
    theirs = Model()
    ours = copy.deepcopy(theirs)
    report = replace_attention(ours)
    assert report.replaced == ("first", "tied", "deep.list.0")
    assert ours.first is ours.again
    assert ours.tied.in_proj_weight is ours.first.in_proj_weight
    torch.testing.assert_close(ours(X), theirs(X))
    alone = nn.MultiheadAttention(16, 4)
    assert replace_attention(alone).replaced == ("",)
    assert "(the model)" in str(restore_attention(alone))
    assert type(alone) is nn.MultiheadAttention


def test_restored_is_what_it_was() -> None:
    model = layer()
    fields = {name: dict(vars(getattr(model, name))) for name in ATTENTION}
    replace_attention(model, impl="reference")
    assert all(getattr(model, name).impl == "reference" for name in ATTENTION)
    report = restore_attention(model)
    assert report.replaced == ATTENTION
    for name in ATTENTION:
        module = getattr(model, name)
        assert type(module) is nn.MultiheadAttention
        assert vars(module).keys() == fields[name].keys()
        assert not module._forward_pre_hooks
    built = CrossModalAttention(16, 4, impl="reference")
    assert restore_attention(built).replaced == ("",)
    assert "impl" not in vars(built)


def forwards(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    called: list[nn.Module] = []
    plain = CrossModalAttention.forward

    def counted(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        called.append(self)
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(CrossModalAttention, "forward", counted)
    return called


def test_fast_paths_do_not_bypass_it_and_the_field_is_torchs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called = forwards(monkeypatch)
    torch.manual_seed(0)
    theirs = nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), 2)
    ours = copy.deepcopy(theirs.eval())
    replace_attention(ours)
    assert all(each.self_attn._qkv_same_embed_dim for each in ours.layers)
    assert not CrossModalAttention(16, 4, kdim=8)._qkv_same_embed_dim
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        for masks in ({}, {"src_key_padding_mask": padding}):
            called.clear()
            with mode():
                out, want = ours(X, **masks), theirs(X, **masks)
            kept = ~padding if masks else torch.ones(2, 5, dtype=torch.bool)
            torch.testing.assert_close(out[kept], want[kept])
            assert {id(m) for m in called} == {id(each.self_attn) for each in ours.layers}
    # What reads the fields, as LoRA does, finds all that it finds in torch's module.
    m = ours.layers[0].self_attn
    x = X.transpose(0, 1)
    assert m.in_proj_weight is not None
    out, _ = F.multi_head_attention_forward(
        x, x, x, m.embed_dim, m.num_heads, m.in_proj_weight, m.in_proj_bias, m.bias_k, m.bias_v,
        m.add_zero_attn, 0.0, m.out_proj.weight, m.out_proj.bias, training=False,
    )  # fmt: skip
    torch.testing.assert_close(out.transpose(0, 1), m(X, X, X)[0])


class Scaled(nn.MultiheadAttention):
    """A subclass with a forward of its own."""

    def forward(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        out, weights = super().forward(*args, **kwargs)
        return 2 * out, weights


class Named(nn.MultiheadAttention):
    """A subclass by name only."""


class OwnAttention(nn.Module):
    """Attention that is no `nn.MultiheadAttention`."""


def test_what_is_left_is_said() -> None:
    accelerated = nn.MultiheadAttention(16, 4)
    accelerated.forward = accelerated.forward  # type: ignore[method-assign]
    model = nn.ModuleDict(
        {
            "scaled": Scaled(16, 4),
            "named": Named(16, 4),
            "set": accelerated,
            "own": nn.Sequential(OwnAttention()),
            "quantised": torch.ao.nn.quantizable.MultiheadAttention(16, 4),
            "ours": CrossModalAttention(16, 4),
            "plain": nn.MultiheadAttention(16, 4),
        }
    )
    kinds = {name: type(m) for name, m in model.items() if name != "plain"}
    with pytest.warns(UserWarning, match=r"(?s)1 now CrossModal.*plain.*6 left:.*scaled: subclass"):
        report = replace_attention(model)
    assert report.replaced == ("plain",)
    assert {name: type(model[name]) for name in kinds} == kinds
    for name, reason in {
        "scaled": "Scaled may have a forward of its own",
        "named": "Named may have code of its own",
        "set": "its forward was set on the object",
        "own.0": r"code of its own \(its class: OwnAttention\)",
        "quantised": r"quantised \(torch.ao",
        "ours": "is one already",
    }.items():
        with pytest.raises(AssertionError, match=reason):
            raise AssertionError(report.left[name])
    assert repr(report) == str(report)


def test_a_model_without_any_is_said(recwarn: pytest.WarningsRecorder) -> None:
    with pytest.warns(UserWarning, match="found no nn.MultiheadAttention"):
        replace_attention(nn.Sequential(OwnAttention()))
    with pytest.warns(UserWarning, match="found no CrossModalAttention"):
        restore_attention(nn.Linear(2, 2))
    recwarn.clear()
    model = layer()
    replace_attention(model)
    assert set(replace_attention(model).left.values()) == {"is one already"}
    replace_attention(nn.Sequential(OwnAttention(), layer()))
    assert not recwarn.list


@pytest.mark.parametrize("name", ["in_proj_weight", "out_proj"])
def test_parametrized(name: str) -> None:
    model = layer(0.0).eval()
    module = model.self_attn
    at = (module, name) if name == "in_proj_weight" else (module.out_proj, "weight")
    parametrizations.weight_norm(*at)
    want, original = model(X, X), at[0].parametrizations[at[1]].original0
    assert replace_attention(model).replaced == ATTENTION
    assert isinstance(module, CrossModalAttention)
    torch.testing.assert_close(model(X, X), want)
    model(X, X).sum().backward()
    assert original.grad is not None
    assert bool(original.grad.any())
    again = copy.deepcopy(model)
    assert restore_attention(again).replaced == ATTENTION
    assert not isinstance(again.self_attn, CrossModalAttention)
    torch.testing.assert_close(again(X, X), want)
    parametrize.remove_parametrizations(*at)
    assert type(module) is CrossModalAttention
    torch.testing.assert_close(model(X, X), want)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("how", ["pruned", "weight_norm"])
def test_weights_that_a_hook_computes(how: str) -> None:
    model = layer(0.0)
    module = model.self_attn
    if how == "pruned":
        prune.l1_unstructured(module, "in_proj_weight", 0.5)
    else:
        torch.nn.utils.weight_norm(module, "in_proj_weight")
    want = model(X, X)
    replace_attention(model)
    torch.testing.assert_close(model(X, X), want)
    held = {name for name, _ in module.named_parameters()}
    changed = "in_proj_weight_orig" if how == "pruned" else "in_proj_weight_g"
    with torch.no_grad():
        getattr(module, changed).mul_(2.0)
    assert changed in held
    assert not torch.equal(model(X, X), want)
    if how == "pruned":
        prune.remove(module, "in_proj_weight")
        assert (module.in_proj_weight == 0).sum() == module.in_proj_weight.numel() // 2


def test_from_torch_shares_and_leaves_the_other() -> None:
    theirs = nn.MultiheadAttention(16, 4, 0.25, kdim=8, add_bias_kv=True, batch_first=True)
    calls: list[str] = []
    theirs.register_forward_hook(lambda *_: calls.append("hook"))
    ours = CrossModalAttention.from_torch(theirs.eval().requires_grad_(False), impl="reference")
    assert type(theirs) is nn.MultiheadAttention
    assert not theirs._forward_pre_hooks
    assert (ours.impl, ours.dropout, ours.kdim, ours.training) == ("reference", 0.25, 8, False)
    for (name, own), (other, p) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        assert name == other
        assert own is p
    key = X[..., :8]
    torch.testing.assert_close(ours(X, key, X), theirs(X, key, X))
    assert calls == ["hook"] * 2
    for other in (Scaled(16, 4), nn.Linear(2, 2)):
        with pytest.raises(ValueError, match="from_torch: found .*expected nn.MultiheadAttention"):
            CrossModalAttention.from_torch(other)  # type: ignore[arg-type]
    theirs.forward = theirs.forward  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="one with a forward of its own"):
        CrossModalAttention.from_torch(theirs)


def test_copies_and_pickles_keep_fast_paths_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).eval()
    replace_attention(model)
    called = forwards(monkeypatch)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with torch.no_grad():
            torch.testing.assert_close(other(X), model(X))
        assert len(called) == 2
        called.clear()
    torch.save(model, tmp_path / "m.pt")
    torch.save((X, model(X)), tmp_path / "xy.pt")
    code = (
        "import torch\n"
        f"m = torch.load({str(tmp_path / 'm.pt')!r}, weights_only=False)\n"
        f"x, y = torch.load({str(tmp_path / 'xy.pt')!r})\n"
        "calls = []\n"
        "for k in range(3): m.self_attn.register_forward_pre_hook(lambda *_: calls.append(k))\n"
        "m.self_attn.register_forward_hook(lambda *_: calls.append('after'))\n"
        "torch.testing.assert_close(m(x), y)\n"
        "assert len(calls) == 4 and len(m.self_attn._forward_pre_hooks) == 4\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_compiled_before() -> None:
    torch._dynamo.reset()
    model = layer(0.0)
    compiled = torch.compile(model, backend="eager")
    want = compiled(X, X)
    replace_attention(model)
    torch.testing.assert_close(compiled(X, X), want)
    with torch.profiler.profile() as profile:
        compiled(X, X)
    ops = [event.key for event in profile.key_averages()]
    assert "clmer::cross_attention" in ops


def test_torchscript_is_refused_and_restored_takes_it() -> None:
    model = layer(0.0).eval()
    replace_attention(model)
    with pytest.raises(RuntimeError, match="CrossModalAttention.*restore_attention"):
        torch.jit.script(model)
    assert isinstance(model.self_attn, CrossModalAttention)
    out = model(X, X)
    restored = copy.deepcopy(model)
    restore_attention(restored)
    scripted = torch.jit.script(restored.self_attn)
    torch.testing.assert_close(scripted(X, X, X)[0], model.self_attn(X, X, X)[0])
    torch.testing.assert_close(restored(X, X), out)
    with pytest.warns(UserWarning, match="TorchScript: MultiheadAttention"):
        replace_attention(scripted)


def fully_sharded_worker(rank: int, world: int, path: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=world)
    from torch.distributed.fsdp import FSDPModule, fully_shard

    mesh = dist.init_device_mesh("cpu", (world,))
    theirs = layer(0.0)
    want = theirs(X, X)
    want.square().sum().backward()
    grad = theirs.self_attn.in_proj_weight.grad
    ours = layer(0.0)
    fully_shard(ours.self_attn, mesh=mesh)
    assert replace_attention(ours).replaced == ATTENTION
    assert isinstance(ours.self_attn, CrossModalAttention)
    assert isinstance(ours.self_attn, FSDPModule)
    torch.testing.assert_close(ours(X, X), want)
    ours(X, X).square().sum().backward()
    torch.testing.assert_close(ours.self_attn.in_proj_weight.grad.full_tensor(), grad)
    restore_attention(ours)
    assert not isinstance(ours.self_attn, CrossModalAttention)
    torch.testing.assert_close(ours(X, X), want)
    dist.destroy_process_group()


def test_fully_sharded(tmp_path: Path) -> None:
    in_processes(fully_sharded_worker, 1, tmp_path)


def test_lora() -> None:
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(16, 4, 32, 0.0, batch_first=True)
    results = []
    for ours in (False, True):
        torch.manual_seed(1)
        config = peft.LoraConfig(target_modules=["self_attn"], r=2, init_lora_weights=False)
        adapted = peft.get_peft_model(copy.deepcopy(model), config)
        if ours:
            assert len(replace_attention(adapted).replaced) == 1
        out = adapted(X)
        out.square().sum().backward()
        grads = [p.grad for name, p in adapted.named_parameters() if "lora" in name]
        results.append([out, *grads])
        torch.testing.assert_close(adapted.merge_and_unload()(X), out)
    torch.testing.assert_close(*results)
