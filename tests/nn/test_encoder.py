"""The convolutional encoder and its token views."""

from __future__ import annotations

import math

import pytest
import torch

from clmer.nn.encoder import (
    Encoder,
    SpectralEncoder,
    as_tokens,
    feature_count,
    log_spectrogram,
)


@pytest.mark.parametrize(
    ("tokens", "width", "expected"),
    [(40, 32, 160), (40, 16, 80), (3, 32, 129), (3, 16, 66), (2, 32, 128), (19, 32, 133)],
)
def test_feature_count_is_the_next_multiple(tokens: int, width: int, expected: int) -> None:
    assert feature_count(tokens, width) == expected


@pytest.mark.parametrize("length", [1, 2, 7, 25, 128, 256, 257, 640])
def test_output_has_the_announced_steps(length: int) -> None:
    encoder = Encoder(3, length, width=4, features=10)
    z = encoder(torch.randn(2, 3, length))
    assert z.shape == (2, 10, encoder.steps)
    assert encoder.steps >= 2


def test_steps_of_the_usual_windows() -> None:
    assert [Encoder(1, length).steps for length in (25, 128, 640)] == [5, 18, 29]


def test_long_series_get_the_strided_kernel() -> None:
    assert Encoder(1, 256).blocks[0][0].kernel_size == (8,)
    first = Encoder(1, 257).blocks[0][0]
    assert (first.kernel_size, first.stride) == ((25,), (3,))


def test_widths_double_up_to_the_features() -> None:
    encoder = Encoder(5, 25)
    assert [block[0].out_channels for block in encoder.blocks] == [32, 64, 128]


def test_parts_are_called_where_somebody_waits_for_it() -> None:
    encoder, x = Encoder(3, 64, width=4, features=10).eval(), torch.randn(2, 3, 64)
    want, seen = encoder(x), []
    block = encoder.blocks[0]
    handle = block[2].register_forward_hook(lambda module, inputs, output: seen.append(output))
    torch.testing.assert_close(encoder(x), want)
    assert seen[0].min() == 0
    handle.remove()
    other = torch.nn.SyncBatchNorm.convert_sync_batchnorm(encoder)
    torch.testing.assert_close(other(x), want)


def test_dropout_leaves_the_running_statistics_alone() -> None:
    torch.manual_seed(0)
    encoder, x = Encoder(4, 25, width=8, dropout=0.5), torch.randn(64, 4, 25)
    for _ in range(100):
        encoder(x)
    encoder.dropout.p = 0.0
    in_training = encoder(x)
    torch.testing.assert_close(encoder.eval()(x), in_training, rtol=0.02, atol=0.02)


def test_output_depends_on_every_sample_and_channel() -> None:
    encoder = Encoder(4, 25, width=8).eval()
    x = torch.randn(2, 4, 25, requires_grad=True)
    encoder(x).square().sum().backward()
    assert x.grad is not None
    assert bool((x.grad != 0).all())


def test_tokens_are_blocks_of_features_over_all_steps() -> None:
    z = torch.arange(2 * 6 * 5.0).view(2, 6, 5)
    tokens = as_tokens(z, 3)
    assert tokens.shape == (2, 3, 10)
    torch.testing.assert_close(tokens[1, 2], z[1, 4:6].flatten())
    by_time = as_tokens(z, "time")
    assert by_time.shape == (2, 5, 6)
    torch.testing.assert_close(by_time[1, 3], z[1, :, 3])


def test_token_shape_is_what_as_tokens_gives() -> None:
    encoder = Encoder(34, 25, width=16, features=feature_count(2, 16))
    z = encoder(torch.randn(3, 34, 25))
    for tokens in (2, "time"):
        assert as_tokens(z, tokens).shape[1:] == encoder.token_shape(tokens)  # type: ignore[arg-type]


def test_wrong_input_says_what_was_expected() -> None:
    encoder = Encoder(4, 25)
    with pytest.raises(ValueError, match=r"expected x \[B, 4, 25\], got \[2, 25, 4\]"):
        encoder(torch.randn(2, 25, 4))
    with pytest.raises(ValueError, match="channels=0"):
        Encoder(0, 25)
    with pytest.raises(ValueError, match="tokens=0"):
        feature_count(0)
    with pytest.raises(ValueError, match="divisor of the encoder's 128 features.*got 3"):
        as_tokens(torch.randn(2, 128, 5), 3)
    with pytest.raises(ValueError, match="z \\[B, F, T'\\]"):
        as_tokens(torch.randn(128, 5), 2)


@pytest.mark.parametrize(("length", "fs"), [(640, 128.0), (25, 25.0), (5, 128.0)])
def test_a_spectral_encoder_takes_windows_and_gives_features(length: int, fs: float) -> None:
    encoder = SpectralEncoder(3, length, fs, width=4)
    z = encoder(torch.randn(5, 3, length))
    assert z.shape == (5, encoder.features, encoder.steps)
    assert z.isfinite().all()
    with pytest.raises(ValueError, match=rf"expected x \[B, 3, {length}\]"):
        encoder(torch.randn(5, 2, length))


def test_log_spectrogram_tells_bands_and_times() -> None:
    fs, time = 128.0, torch.arange(640) / 128.0
    wave = (2 * math.pi * 10.0 * time).sin() * (time < 2.0)
    power = log_spectrogram(torch.stack([wave, 3 * wave])[None], fs)[0]
    assert power.shape == (10, 33)
    bands = power.view(2, 5, 33)
    assert bands[0, :, :8].mean(1).argmax() == 2  # alpha
    assert bands[0, 2, :8].min() > bands[0, 2, 20:].max() + 5  # only where the wave is
    torch.testing.assert_close(bands[1, 2, :8], bands[0, 2, :8] + 2 * math.log(3))
