"""`clmer doctor`: what is installed, built and used here, as text for an issue."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from importlib import import_module, metadata
from pathlib import Path

import clmer
from clmer.cli.extras import WHAT_FOR, Package, extras_of, look, version_of
from clmer.storage import stores_folder
from clmer.text import laid_out

#: What the package stands on.
LIBRARIES = ("torch", "triton", "numpy", "scipy", "scikit-learn", "mne", "matplotlib")
#: Where the kernel's driver says its version.
_DRIVER = Path("/proc/driver/nvidia/version")
_PROCESSOR = Path("/proc/cpuinfo")

Rows = list[tuple[str, str]]


def run(*, extras: bool) -> int:
    """Print it; the exit code, which is always 0."""
    for title, rows in sections(tries=extras):
        print(f"{title}\n{laid_out(rows)}", flush=True)
    return 0


def sections(*, tries: bool) -> Iterator[tuple[str, Rows]]:
    """Headings and what stands below them.

    Args:
        tries: import the optional packages.
    """
    yield f"clmer {clmer.__version__}", versions()
    yield "built", built()
    yield "this machine", [*processor(), *gpus()]
    yield "folders", folders()
    yield 'extras (pip install "clmer[NAME]")', extra_rows(tries)


def versions() -> Rows:
    """Python's, the system's and the libraries' versions."""
    system = f"{platform.system()} {platform.release()}, {platform.machine()}"
    libc = " ".join(platform.libc_ver())
    return [
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("system", f"{system}, {libc}" if libc.strip() else system),
        *((name, version_of(name) or "not installed") for name in LIBRARIES),
    ]


def built() -> Rows:
    """What the native module was built with; why it cannot be loaded, where it cannot."""
    try:
        native = import_module("clmer._native")
        names = import_module("clmer.ops").__all__
    except (ImportError, OSError) as error:
        return [("native module", f"cannot be loaded: {without_paths(str(error))}")]
    info = native.build_info()
    ops = [n.removesuffix("_reference") for n in names if n.endswith("_reference")]
    cuda = f"none: {info['cuda_why']}"
    if info["cuda"]:
        architectures = " ".join(info["cuda_architectures"])
        cuda = f"{info['cuda']} for {architectures} ({info['cuda_why']})"
    return [
        ("ops", ", ".join(ops)),
        ("compiler", info["compiler"]),
        ("CPU paths", f"{' '.join(info['simd_levels'])}; in use here: {info['simd_in_use']}"),
        ("CUDA kernels", cuda),
    ]


def processor() -> Rows:
    """The processor, its vector instructions and the threads that torch takes."""
    text = _PROCESSOR.read_text(encoding="utf-8") if _PROCESSOR.is_file() else ""
    model = re.search(r"^model name\s*: (.+)$", text, re.M)
    flags = re.search(r"^(?:flags|Features)\s*: (.+)$", text, re.M)
    vector = re.compile(r"sse4_2|avx\w*|fma|f16c|amx\w*|asimd\w*|neon|sve\w*")
    known = [each for each in (flags[1].split() if flags else []) if vector.fullmatch(each)]
    usable = len(os.sched_getaffinity(0))
    asked = os.environ.get("OMP_NUM_THREADS")
    rows = [
        ("processor", model[1] if model else platform.machine()),
        ("vectors", " ".join(known) or "unknown"),
        ("processors", f"{usable} for this process, {os.cpu_count()} in all"),
    ]
    try:
        count = import_module("torch").get_num_threads()
    except (ImportError, OSError) as error:
        return [*rows, ("torch", f"cannot be imported: {without_paths(str(error))}")]
    said = "OMP_NUM_THREADS is not set" if asked is None else f"OMP_NUM_THREADS={asked}"
    return [*rows, ("threads", f"{count} of torch; {said}")]


def gpus() -> Rows:
    """The GPUs that torch can use, or why none; and the driver."""
    said = _DRIVER.read_text(encoding="utf-8") if _DRIVER.is_file() else ""
    version = re.search(r"\b\d+\.\d+(\.\d+)*\b", said)
    driver = ("driver", version[0] if version else "none of NVIDIA's is loaded")
    try:
        torch = import_module("torch")
    except (ImportError, OSError):
        return [driver]
    if torch.version.cuda is None:
        return [("GPU", f"none that can be used: torch {torch.__version__} has no CUDA"), driver]
    if not torch.cuda.is_available():
        return [("GPU", f"none that torch {torch.__version__} can use"), driver]
    found = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
    return [
        *(
            (f"GPU {n}", f"{each.name}, sm_{each.major}{each.minor}, {each.total_memory >> 20} MiB")
            for n, each in enumerate(found)
        ),
        ("torch's CUDA", torch.version.cuda),
        driver,
    ]


def folders() -> Rows:
    """$CLMER_DATA and $CLMER_CACHE, and whether they can be used; the home folder is `~`."""
    data, cache = os.environ.get("CLMER_DATA"), os.environ.get("CLMER_CACHE")
    kept = _without_home(cache) if cache else "not set, so ~/.cache/clmer"
    return [
        ("CLMER_DATA", f"{_without_home(data)}: {_state(Path(data))}" if data else "not set"),
        ("CLMER_CACHE", f"{kept}: {_state(stores_folder(None))}"),
    ]


def _without_home(folder: str) -> str:
    """A folder with `~` for the home folder, whose name is mostly somebody's."""
    path, home = Path(folder), os.path.expanduser("~")
    return str("~" / path.relative_to(home)) if path.is_relative_to(home) else folder


def _state(folder: Path) -> str:
    if not folder.exists():
        return "not there"
    if not folder.is_dir():
        return "no folder"
    return "writable" if os.access(folder, os.W_OK | os.X_OK) else "not writable"


def extra_rows(tries: bool) -> Rows:
    """Each extra: whether it is complete, its packages and what it is for."""
    try:
        requirements = metadata.requires("clmer") or []
    except metadata.PackageNotFoundError:
        return [("unknown", "clmer is imported from a folder; pip install . tells its extras")]
    found = look(extras_of(requirements), tries)
    return [
        (extra, text)
        for extra, packages in found.items()
        for text in (f"{_complete(packages)} - {WHAT_FOR.get(extra, '')}", _packages(packages))
    ]


def _complete(packages: list[Package]) -> str:
    if any(each.error for each in packages):
        return "broken"
    missing = sum(not each.version for each in packages)
    return "missing" if missing == len(packages) else "incomplete" if missing else "complete"


def _packages(packages: list[Package]) -> str:
    """Their versions, what is missing, and what an import said."""
    said = []
    for each in packages:
        state = f" {each.version}" if each.version else ": not installed"
        error = f" (import fails: {without_paths(each.error)})" if each.error else ""
        said.append(f"{each.name}{state}{error}")
    return "; ".join(said)


def without_paths(text: str) -> str:
    """A message without the folders of the files that it names: they tell who somebody is."""
    return re.sub(r"(?<![\w.])~?(?:/[^\s:'\"()/]+)*/([^\s:'\"()/]+)", r"\1", text)
