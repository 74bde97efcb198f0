import numpy as np
import pytest
import scipy.signal
import torch
from support.bandpass_cases import SOS

from clmer.ops import sosfiltfilt
from clmer.ops.bandpass.zero_phase import steady_state


@pytest.mark.parametrize("padtype", ["odd", "even", "constant", None])
@pytest.mark.parametrize("padlen", [None, 0, 1, 40])
@pytest.mark.parametrize("time", [41, 300])
def test_equals_scipy(padtype, padlen, time):
    torch.manual_seed(time)
    x = torch.randn(2, 3, time, dtype=torch.float64) + 42
    y = sosfiltfilt(x, SOS, padtype=padtype, padlen=padlen)
    want = scipy.signal.sosfiltfilt(SOS.numpy(), x.numpy(), -1, padtype, padlen)
    np.testing.assert_allclose(y.numpy(), want, rtol=0, atol=1e-11)


def test_the_steady_state_is_scipys():
    want = scipy.signal.sosfilt_zi(SOS.numpy())
    np.testing.assert_allclose(steady_state(SOS).numpy(), want, rtol=0, atol=1e-11)


def test_the_gradient_is_exact():
    x = torch.randn(2, 45, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: sosfiltfilt(x, SOS), x)


def test_dtypes_and_reference():
    x = torch.randn(2, 60)
    y = sosfiltfilt(x, SOS)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y, sosfiltfilt(x.double(), SOS, impl="reference").float())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"padtype": "mirror"}, "expected one of"),
        ({"padlen": 30}, "less than T, 30"),
        ({"padlen": -1}, "at least 0"),
        ({"sos": SOS[:, :5]}, r"expected \[\.\.\., T\] and \[S, 6\]"),
    ],
)
def test_errors(change, message):
    with pytest.raises(ValueError, match=message):
        sosfiltfilt(**{"x": torch.ones(2, 30), "sos": SOS} | change)
