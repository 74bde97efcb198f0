"""
A streaming filter beside SciPy
===============================

A headset sends some samples at a time. Filtered chunk by chunk with the state carried on, the
signal is the one that a single pass gives, to the last bit, whatever the chunks.
"""

# %%
# A band of 4 to 45 Hz, and a generated signal: an offset of 4200 uV as headsets have it, a rhythm
# of 10 Hz, mains hum of 50 Hz and noise.
import matplotlib.pyplot as plt
import numpy as np
import scipy.signal

from clmer.signal import Bandpass, Chain, Notch, butter_bandpass, sosfilt

fs = 500
rng = np.random.default_rng(0)
time = np.arange(4 * fs) / fs
rhythm = 20 * np.sin(2 * np.pi * 10 * time)
hum = 15 * np.sin(2 * np.pi * 50 * time)
x = 4200 + rhythm + hum + rng.normal(0, 5, (8, len(time)))  # 8 channels, uV
sos = butter_bandpass(4, 45, fs)

# %%
# As SciPy
# --------
#
# The functions have SciPy's signatures. ``zi`` goes in and comes out, as in
# ``scipy.signal.sosfilt``.
ours, theirs = sosfilt(sos, x), scipy.signal.sosfilt(sos, x)
print(
    f"largest difference from SciPy: {abs(ours - theirs).max():.1e} uV of {abs(theirs).max():.0f}"
)
zi = np.zeros((len(sos), len(x), 2))
first, zi = sosfilt(sos, x[:, :700], zi=zi)
rest, zi = sosfilt(sos, x[:, 700:], zi=zi)
print("two calls with zi equal one call:", np.array_equal(np.hstack([first, rest]), ours))

# %%
# As a stream
# -----------
#
# ``Chain`` joins filters into one pass. A stream begins in the steady state of its first sample,
# so that the offset makes no transient: an ordinary filter that begins at zero would show 4200 uV
# of it.
stream = Chain(Notch(50, fs), Bandpass(4, 45, fs))
cuts = np.cumsum(rng.integers(1, 40, 200))
chunks = np.split(x, cuts[cuts < x.shape[1]], axis=1)
y = np.hstack([stream.push(chunk) for chunk in chunks])
whole = Chain(Notch(50, fs), Bandpass(4, 45, fs)).push(x)
print(f"{len(chunks)} chunks of 1 to 39 samples equal one push:", np.array_equal(y, whole))

# %%
# The picture
# -----------
#
# Above, the response of the band-pass; below, a second of the signal as it came (its offset taken
# away), and as the stream gave it, with dots at the ends of the chunks.
figure, (above, below) = plt.subplots(2, figsize=(7, 6), layout="constrained")
hertz, response = scipy.signal.freqz_sos(sos, worN=np.geomspace(0.5, 240, 800), fs=fs)
above.semilogx(hertz, 20 * np.log10(abs(response)))
above.axvspan(4, 45, alpha=0.15)
above.set(ylim=(-80, 5), xlabel="frequency (Hz)", ylabel="gain (dB)", title="4 to 45 Hz")
shown = (time >= 2) & (time < 3)
below.plot(time[shown], x[0, shown] - 4200, color="0.7", label="as it came, less 4200 uV")
below.plot(time[shown], y[0, shown], label="filtered, chunk by chunk")
ends = cuts[(cuts > 2 * fs) & (cuts <= 3 * fs)] - 1
below.plot(time[ends], y[0, ends], ".", color="C3", label="ends of chunks")
below.set(xlabel="time (s)", ylabel="uV")
below.legend(loc="upper right", ncols=3, fontsize="small")

# %%
# The same op with gradients, for tensors: :func:`clmer.sosfilt`. Gaps, counts of integers and what
# differs from SciPy: :doc:`/bandpass`.
