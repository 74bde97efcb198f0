"""Other people's pipelines on these filters: they call `scipy.signal`, and get ours."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import scipy.signal

from clmer.signal.offline import sosfilt, sosfiltfilt
from clmer.signal.transfer import filtfilt, lfilter

_OURS = {each.__name__: each for each in (lfilter, filtfilt, sosfilt, sosfiltfilt)}


@contextmanager
def replacing_scipy() -> Iterator[Counter[str]]:
    """Within the block `scipy.signal.lfilter`, `filtfilt`, `sosfilt` and `sosfiltfilt` are ours.

        with clmer.signal.replacing_scipy() as calls:
            signals, info = neurokit2.ecg_process(ecg, 500)
        print(calls)  # Counter({'sosfiltfilt': 2, 'filtfilt': 1})

    Code that looks them up in `scipy.signal` when it runs gets ours (NeuroKit2, BioSPPy, MNE, ...);
    what was bound before by `from scipy.signal import filtfilt` stays SciPy's. It holds for the
    whole process, other threads included.

    Yields:
        How often each was called.
    """
    calls: Counter[str] = Counter()

    def counting(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def counted(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return function(*args, **kwargs)

        return counted

    before = {name: getattr(scipy.signal, name) for name in _OURS}
    try:
        for name, function in _OURS.items():
            setattr(scipy.signal, name, counting(name, function))
        yield calls
    finally:
        for name, function in before.items():
            setattr(scipy.signal, name, function)
