"""`fit_split`: the training of one split, from windows to a `SplitModel`.

Training, the scikit-learn classifier and the estimate of the training time call it. Read it first;
the loop over epochs is `clmer.pipeline.loop.fit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from clmer.baselines import ModelSpec
from clmer.data.splits import Split
from clmer.data.store.store import Modality
from clmer.nn import ContrastiveModel, Encoder
from clmer.nn.random_state import drawn_from, own_random_state, seeded
from clmer.nn.shard import Shard, undo_ddp_mean
from clmer.pipeline.config import ModelConfig
from clmer.pipeline.loop import Recorder, Schedule, Unrecorded, fit, seed_of
from clmer.pipeline.models import (
    ChosenModel,
    Tokens,
    build_encoder,
    build_model,
    chosen_models,
    log_probabilities,
    member_names,
)
from clmer.pipeline.ranks import Ranks
from clmer.pipeline.split_model import CONTRASTIVE, TOKENIZER, FittedModel, SplitModel
from clmer.pipeline.tokenizer import Tokenizer, WindowArrays, raw_tokens

#: Norm that the fusion stage's gradients are clipped to.
CLIP = 0.8


def fit_split(
    config: ModelConfig,
    windows: WindowArrays,
    y: np.ndarray,
    split: Split,
    *,
    classes: tuple[str, ...],
    device: torch.device | str = "cpu",
    recorder: Recorder | None = None,
    ranks: Ranks | None = None,
    name: str = "split1",
) -> SplitModel:
    """Train both stages on a split's training part.

    Args:
        config: what to train, its sizes, for how long.
        windows: all windows, N of them.
        y: [N] class of each, -1 for none.
        split: rows to train on, and those by which the epoch is chosen (none: the last one is
            kept). Its test rows are not looked at.
        classes: names, in the order of y's numbers.
        device: where to train.
        recorder: keeps progress, so that a killed fit goes on; None keeps nothing.
        ranks: processes that share stage 1; None for this one alone. Stage 2 is trained by the
            first: the other ranks' result has no classifiers.
        name: of the split; seeds and the recorder's names follow from it.

    Returns:
        The trained model. The caller's random state is what it was before; fits in several threads
        end as each would alone.

    Raises:
        ConfigError: a model cannot be trained on these windows.
        DataError: a loss was not finite; a file of the recorder is damaged or cannot be written.
    """
    device = torch.device(device)
    recorder, ranks = recorder or Unrecorded(), ranks or Ranks()
    with own_random_state(device):
        tokenizer = Tokenizer.fit(windows, split.train, config.token_kind, config.normalize)
        x = tokenizer.standardise(windows.arrays, device, windows.people)
        encoders: dict[str, Encoder] = {}
        if config.contrastive:
            encoders = fit_encoders(config, windows.modalities, x, split, recorder, ranks, name)
        tokenizer, tokens = fit_tokens(tokenizer, split.train, x, encoders)
        models: dict[str, FittedModel] = {}
        if config.fusion and ranks.leads:
            for key, chosen in chosen_models(config, tuple(windows.modalities)).items():
                part = select_tokens(chosen, tokens)
                fs = windows.modalities[chosen.modalities[0]].fs
                trainer = _Classifiers(config, part, y, split, len(classes), fs, device, recorder)
                models[key] = trainer.fit(chosen, f"{name}/{key}")
    model = SplitModel(config, tokenizer, encoders, models, classes, device)
    recorder.save_tensors(f"{name}/{TOKENIZER}", *model.tokenizer_state())
    return model


def fit_control(
    model: SplitModel,
    tokens: Mapping[str, Tokens],
    y: np.ndarray,
    split: Split,
    recorder: Recorder,
    name: str,
) -> FittedModel:
    """A split's first classifier, trained once more on other labels.

    Args:
        model: the split's, whose tokens are taken.
        tokens: of all windows, see `all_tokens`.
        y: [N] the other labels.
        split: what the model was trained on.
        recorder: keeps progress.
        name: of the control, "split1/permuted".
    """
    chosen = next(iter(model.models.values())).chosen
    part = select_tokens(chosen, tokens)
    fs = model.tokenizer.modalities[chosen.modalities[0]].fs
    count, device = len(model.classes), model.device
    with own_random_state(device):
        trainer = _Classifiers(model.config, part, y, split, count, fs, device, recorder)
        return trainer.fit(chosen, name)


# --- stage 1: one encoder per modality, no labels -----------------------------------------------
class ContrastiveModels(nn.ModuleDict):
    """A contrastive model per modality; they share nothing but the step."""

    def forward(
        self, x: Mapping[str, Tensor], generator: torch.Generator, shard: Shard | None
    ) -> dict[str, Tensor]:
        """Eq. 4 summed over modalities, and its terms."""
        parts = {name: self[name](part, generator, shard=shard) for name, part in x.items()}
        line = {
            f"{name}_{key}": parts[name][key] for name in parts for key in ("sample", "temporal")
        }
        return {"loss": torch.stack([part["loss"] for part in parts.values()]).sum(), **line}


def fit_encoders(
    config: ModelConfig,
    modalities: Mapping[str, Modality],
    x: Mapping[str, Tensor],
    split: Split,
    recorder: Recorder,
    ranks: Ranks,
    name: str,
) -> dict[str, Encoder]:
    """Train the encoders on the windows of the training part: all ranks together.

    Args:
        config: sizes and epochs.
        modalities: by name.
        x: [N, C, T] standardised windows by modality.
        split: its training rows count.
        recorder: keeps progress.
        ranks: the processes that share each batch.
        name: of the split.
    """
    model = new_contrastive(config, modalities, x)
    optimizer = adam(model, lr=3e-4, betas=(0.9, 0.99), weight_decay=3e-4)
    rows = torch.from_numpy(split.train).to(next(iter(x.values())).device)
    schedule = Schedule(config.epochs_contrastive, config.batch, amp=config.amp == "bf16")
    losses = contrastive_losses(model, x, ranks)
    fit(recorder, f"{name}/{CONTRASTIVE}", model, optimizer, losses, rows, schedule, config.seed)
    return {modality: cast(ContrastiveModel, part).encoder for modality, part in model.items()}


def new_contrastive(
    config: ModelConfig, modalities: Mapping[str, Modality], x: Mapping[str, Tensor]
) -> ContrastiveModels:
    """Untrained contrastive models of all modalities, on x's device."""
    kind: Any = config.temporal
    models = {}
    for name, part in x.items():
        with drawn_from(encoder_generator(config, name)):
            encoder = build_encoder(config, modalities[name], part.shape[2])
            models[name] = ContrastiveModel(encoder, temporal=kind)
    return ContrastiveModels(models).to(next(iter(x.values())).device)


def encoder_generator(config: ModelConfig, modality: str) -> torch.Generator:
    """What the weights of a modality's encoder are drawn from: the seed and the name decide."""
    return seeded(seed_of(config.seed, "encoder", modality))


def contrastive_losses(model: ContrastiveModels, x: Mapping[str, Tensor], ranks: Ranks) -> Any:
    """The losses of a step, whose batch is spread over the ranks where there are several."""
    call: nn.Module = model
    if ranks.group is not None:
        call = DistributedDataParallel(model, process_group=ranks.group)

    def losses(rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        shard = ranks.shard(len(rows))
        found = call({name: part[rows] for name, part in x.items()}, generator, shard)
        return {**found, "loss": undo_ddp_mean(found["loss"], ranks.count)}

    return losses


def adam(model: nn.Module, *, lr: float, graph: bool = False, **options: Any) -> torch.optim.Adam:
    """Adam in one kernel; where a CUDA graph will hold it, its rate is a tensor on the device."""
    rate: Any = lr
    if graph:
        rate = torch.tensor(lr, device=next(model.parameters()).device)
    return torch.optim.Adam(model.parameters(), rate, fused=True, capturable=graph, **options)


# --- stage 2: classifiers, on tokens --------------------------------------------------------------
def fit_tokens(
    tokenizer: Tokenizer,
    train: np.ndarray,
    x: Mapping[str, Tensor],
    encoders: Mapping[str, Encoder],
) -> tuple[Tokenizer, dict[str, Tokens]]:
    """The tokens of every kind that a `ModelSpec` names, and the tokenizer that makes them.

    Args:
        tokenizer: the split's.
        train: rows of x whose statistics count.
        x: [N, C, T] standardised windows by modality.
        encoders: of stage 1, where there is one.
    """
    tokenizer, stage = tokenizer.fit_tokens(x, encoders, train)
    return tokenizer, {"stage": stage, "raw": raw_tokens(tokenizer, x)}


@torch.no_grad()
def all_tokens(model: SplitModel, x: Mapping[str, Tensor]) -> dict[str, Tokens]:
    """The tokens of every kind, of standardised windows, by a trained split."""
    return {"stage": model.tokens(x), "raw": raw_tokens(model.tokenizer, x)}


def select_tokens(chosen: ChosenModel, tokens: Mapping[str, Tokens]) -> Tokens:
    """What one model reads of the tokens."""
    return {name: tokens[chosen.spec.tokens][name] for name in chosen.modalities}


class _Classifiers:
    """The fusion stage of a split: members of one model on one set of tokens and labels."""

    def __init__(
        self,
        config: ModelConfig,
        tokens: Tokens,
        y: np.ndarray,
        split: Split,
        classes: int,
        fs: float,
        device: torch.device,
        recorder: Recorder,
    ) -> None:
        self.config, self.tokens, self.y, self.split = config, tokens, y, split
        self.classes, self.fs, self.device, self.recorder = classes, fs, device, recorder

    def fit(self, chosen: ChosenModel, name: str) -> FittedModel:
        """Every member, trained one after the other."""
        names = member_names(name, self.config.members)
        return FittedModel(chosen, [self._member(chosen.spec, member) for member in names])

    def _member(self, spec: ModelSpec, name: str) -> nn.Module:
        """One model; it ends at its best epoch (the last one where nothing is held back)."""
        config, split = self.config, self.split
        # The paper's five orders share one model seed (IV-C); elsewhere each split has its own.
        start = name.split("/", 1)[1] if config.one_start else name
        shapes = {key: (part.shape[1], part.shape[2]) for key, part in self.tokens.items()}
        with drawn_from(seeded(seed_of(config.seed, start))):
            model = build_model(spec, shapes, self.classes, config, self.fs)
        model = model.to(self.device)
        optimizer = adam(model, graph=config.graph, **spec.adam)
        labels = torch.from_numpy(self.y).to(self.device)
        counts = torch.bincount(labels[split.train], minlength=self.classes).clamp(min=1)
        weight = (len(split.train) / (self.classes * counts)).float()
        schedule = Schedule(
            config.epochs_fusion,
            config.batch,
            clip=CLIP,
            patience=config.patience,
            amp=config.amp == "bf16",
            graph=config.graph,
        )
        losses = fusion_losses(model, self.tokens, labels, weight)
        rows = torch.from_numpy(split.train).to(self.device)
        validate = (lambda: self._validate(model, weight)) if len(split.val) else None
        fit(self.recorder, name, model, optimizer, losses, rows, schedule, config.seed, validate)
        return model

    def _validate(self, model: nn.Module, weight: Tensor) -> tuple[float, float]:
        """Balanced accuracy and weighted cross-entropy on the validation part."""
        known = self.y[self.split.val]
        logp = torch.from_numpy(log_probabilities(model, self.tokens, self.split.val))
        score = balanced_accuracy_score(known, logp.argmax(1).numpy())
        loss = nn.functional.nll_loss(logp, torch.from_numpy(known), weight.cpu().double())
        return float(score), float(loss)


def fusion_losses(model: nn.Module, tokens: Tokens, y: Tensor, weight: Tensor) -> Any:
    """Cross-entropy, classes weighted."""

    def losses(rows: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        logits = model({name: part[rows] for name, part in tokens.items()})
        return {"loss": nn.functional.cross_entropy(logits, y[rows], weight)}

    return losses
