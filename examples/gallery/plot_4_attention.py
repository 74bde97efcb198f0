"""
Our attention in a model that exists
====================================

Two lines: ``replace_attention(model)`` for models that use ``nn.MultiheadAttention``, and
``attn_implementation="clmer"`` for Hugging Face transformers. Weights, optimizer and hooks stay
what they are, and so do the outputs.
"""

# %%
# A torch model
# -------------
#
# An encoder of short sequences, as tokens of signals are. The report names what was replaced.
import copy
import time

import matplotlib.pyplot as plt
import torch
from torch import nn

from clmer.nn import replace_attention

torch.manual_seed(0)
torch.set_num_threads(1)
layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
theirs = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
ours = copy.deepcopy(theirs)
print(replace_attention(ours))

x = torch.randn(64, 40, 32)
padding = torch.zeros(64, 40, dtype=torch.bool)
padding[:, 30:] = True
for model in (theirs, ours):
    model(x, src_key_padding_mask=padding)[:, :30].square().mean().backward()
difference = (theirs(x) - ours(x)).abs().max()
pairs = zip(theirs.parameters(), ours.parameters(), strict=True)
gradients = max((a.grad - b.grad).abs().max() for a, b in pairs)
print(f"largest difference: outputs {difference:.1e}, gradients {gradients:.1e}")

# %%
# Hugging Face
# ------------
#
# After ``register()`` every model that takes an implementation by name takes ours. A small BERT
# with random weights here, so that nothing needs to be downloaded; padding included.
from transformers import BertConfig, BertModel

from clmer.integrations.transformers import register

register()
sizes = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}
config = BertConfig(vocab_size=100, num_hidden_layers=2, attn_implementation="sdpa", **sizes)
bert = BertModel(config).eval()
words = torch.randint(0, 100, (16, 30))
mask = torch.ones_like(words)
mask[:, 20:] = 0
with torch.no_grad():
    before = bert(words, attention_mask=mask).last_hidden_state[:, :20]
    bert.set_attn_implementation("clmer")
    after = bert(words, attention_mask=mask).last_hidden_state[:, :20]
print(f"BERT, sdpa and clmer: largest difference {(before - after).abs().max():.1e}")

# %%
# What it brings
# --------------
#
# The attention layer alone, forward and backward, 64 sequences, 4 heads of 8 features, with
# dropout as in training. Processor time of one thread, the least of several rounds in turn, on
# whatever machine built this page: a rough picture. :doc:`/results` and :doc:`/dropin` have
# careful figures, also of whole models and of where ours is not faster.
lengths = [16, 32, 64, 128]
layers = {"nn.MultiheadAttention": nn.MultiheadAttention(32, 4, dropout=0.1, batch_first=True)}
layers["CrossModalAttention"] = copy.deepcopy(layers["nn.MultiheadAttention"])
replace_attention(layers["CrossModalAttention"])
least = {name: [float("inf")] * len(lengths) for name in layers}
for place, length in enumerate(lengths):
    x = torch.randn(64, length, 32, requires_grad=True)
    for _ in range(12):
        for name, module in layers.items():
            begin = time.process_time()
            module(x, x, x, need_weights=False)[0].sum().backward()
            least[name][place] = min(least[name][place], time.process_time() - begin)

# %%
# The picture
# -----------
figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
for name, seconds in least.items():
    axis.plot(lengths, [1000 * s for s in seconds], "o-", label=name)
axis.set_xscale("log", base=2)
axis.set_yscale("log")
axis.set_xticks(lengths, lengths)
axis.set(
    xlabel="tokens", ylabel="ms, forward and backward", title="one attention layer, one thread"
)
axis.legend()
