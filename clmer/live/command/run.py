"""`clmer live`: streams in, the probabilities of each window out, as it happens."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from clmer.data.face.windows import FACE_TOKENS
from clmer.errors import ConfigError
from clmer.live import Live
from clmer.live.command.loop import Session
from clmer.live.command.screen import Screen
from clmer.live.command.table import Table, check_new
from clmer.live.lsl import PredictionsOutlet, open_sources
from clmer.live.opening import check_usable
from clmer.live.outlets import import_lsl
from clmer.live.page import LivePage
from clmer.live.record import Recorder, new_recording, remove_files
from clmer.pipeline.options.reference import ALL, NONE
from clmer.pipeline.reference_rows import check_given, how_to_record
from clmer.pipeline.run.load import load
from clmer.pipeline.run.trained import TrainedRun
from clmer.pipeline.share.hub import local_folder
from clmer.pipeline.split.windows import Windows
from clmer.predict import split_notes
from clmer.predict.command import Given
from clmer.predict.model import choose_model


def live(
    run: str,
    stream: Sequence[str],
    face_stream: str | None,
    map: Sequence[str],
    unit: str,
    reference: Sequence[str],
    rate: float | None,
    out: str | None,
    lsl: str | None,
    record: str | None,
    page: str | None,
    accept_mismatch: bool,
    split: str | None,
    model: str | None,
    device: str,
    timeout: float,
    patience: float,
    seconds: float | None,
    flags: Mapping[str, str],
) -> int:
    """Predict streams until Ctrl-C, or for so many seconds.

    `flags` are the options' names on the command line, for what is printed.

    Raises:
        ConfigError: options that do not fit the run or the streams.
        DataError: a run, file or stream that cannot be used.
    """
    names = [*stream, *([] if face_stream is None else [face_stream])]
    _check(names, lsl, timeout=timeout, patience=patience, seconds=seconds)
    renamed = _renamed(map)
    if out is not None:
        check_new(out)
    recorded = None if record is None else new_recording(Path(record))
    clock: Callable[[], float] = import_lsl().local_clock
    folder = local_folder(run)
    chosen, lines = choose_model(folder, model)
    trained = load(folder, split, device, chosen)
    check_usable(trained, face=face_stream is not None, accept=accept_mismatch)
    known, remarks = _reference(trained, reference, rate, unit)
    screen = Screen(trained.classes, flags)
    for line in [*lines, *split_notes(trained), *remarks]:
        screen.say(line)
    sources = open_sources(names, timeout, unit=unit, say=screen.say)
    with ExitStack() as closed:
        for source in sources:
            closed.callback(source.close)
        engine = Live(
            trained,
            {source.name: source.format for source in sources},
            names=renamed,
            reference=known,
            accept_mismatch=accept_mismatch,
            patience_s=patience,
        )
        closed.callback(screen.close)
        session = Session(engine, sources, clock)
        session.tell(windows=screen.window, events=screen.event)
        session.tell(ticks=lambda: screen.show(engine.reference_left_s, session.missing))
        if page is not None:
            screen.say(f"page: {_open_page(closed, session, trained, page)}")
        said = _open_outputs(closed, session, trained, out=out, lsl=lsl, record=recorded)
        with _stopped_by_signals() as is_stopped:
            session.run(is_stopped, math.inf if seconds is None else seconds)
    for line in (screen.summary(), *session.summary(), *said()):
        screen.say(line)
    return 0


def _open_outputs(
    closed: ExitStack,
    session: Session,
    trained: TrainedRun,
    *,
    out: str | None,
    lsl: str | None,
    record: Path | None,
) -> Callable[[], list[str]]:
    """Open what is asked for, have it told and closed; what says of it at the end what is where.

    Where one cannot be opened, the files of the others are removed: they would be in the way of the
    next start.
    """
    said: list[Callable[[], list[str]]] = []
    with ExitStack() as undone:
        if lsl is not None:
            outlet = PredictionsOutlet(lsl, trained.classes)
            closed.callback(outlet.close)
            session.tell(windows=outlet.window, events=outlet.event)
        if out is not None:
            table = Table(out, trained.classes, session.clock)
            undone.callback(remove_files, table.paths)
            closed.callback(table.close)
            session.tell(windows=table.window, events=table.event)
            said.append(table.said)
        if record is not None:
            recorder = closed.enter_context(Recorder(record, session.formats, trained.classes))
            session.tell(
                samples=recorder.add,
                windows=recorder.add_window,
                events=lambda event: recorder.event(str(event), event.time_s),
            )
            said.append(recorder.said)
        undone.pop_all()
    return lambda: [line for each in said for line in each()]


def _open_page(closed: ExitStack, session: Session, trained: TrainedRun, address: str) -> str:
    """Open the session's page, have it told and closed; where it is."""
    signals = {n: each for n, each in trained.modalities.items() if n not in FACE_TOKENS}
    page = closed.enter_context(
        LivePage(
            trained.classes,
            {name: each.channels for name, each in signals.items()},
            {name: each.unit for name, each in signals.items()},
            title=f"clmer live {trained.folder}",
            address=address,
        )
    )
    session.tell(windows=page.add_window, ticks=lambda: page.show(session.engine, session.missing))
    return page.url


def _check(names: Sequence[str], lsl: str | None, **seconds: float | None) -> None:
    """Refuse what can be told before anything is loaded."""
    if not names:
        raise ConfigError("`stream`: found none, expected the name of an LSL stream")
    if lsl in names:
        raise ConfigError(f"`lsl`: found {lsl}, which is read, expected another name")
    for option, value in seconds.items():
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"`{option}`: found {value:g}, expected seconds above 0")


def _renamed(words: Sequence[str]) -> dict[str, str]:
    """The stream's channel of each of the run's that has another name there, of A=B."""
    found: dict[str, str] = {}
    for word in words:
        name, _, other = word.partition("=")
        if not name or not other or name in found:
            raise ConfigError(
                f"`map`: found {word}, expected RUN'S=STREAM'S names of a channel, each of the "
                "run's once"
            )
        found[name] = other
    return found


def _reference(
    trained: TrainedRun, words: Sequence[str], rate: float | None, unit: str
) -> tuple[float | Windows | None, list[str]]:
    """Seconds to take first, or the windows of a known stretch; and what to say of it."""
    if ALL in (trained.config.reference, *words):
        raise ConfigError(
            f"`reference={ALL}`: a session has no end to be read against; train with "
            "`reference=LABEL:SECONDS`, and give a known stretch of this person"
        )
    kind = trained.config.reference
    if words or kind == NONE:
        check_given(kind, {} if words else None)
    if not words and kind != NONE:
        raise ConfigError(
            f"`reference`: found none, expected so many first seconds of the session, or a file: "
            f"{how_to_record(kind)} (`reference={kind}` in training)"
        )
    if not words:
        return None, []
    if len(words) == 1 and (seconds := _seconds(words[0])) is not None:
        return seconds, []
    given = Given(rate=rate, unit=unit, face_start=None, face_rate=None, face_id=None)
    stretch = given.stretch(trained, words, recorded={}, face=None)
    return stretch.windows, [stretch.said]


def _seconds(word: str) -> float | None:
    """A number of seconds; None for a file's name."""
    try:
        seconds = float(word)
    except ValueError:
        return None
    if not 0 < seconds < math.inf:
        raise ConfigError(f"`reference`: found {word}, expected seconds above 0, or a file")
    return seconds


@contextmanager
def _stopped_by_signals() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM end a block by what it asks, so that no row is cut; a second one kills."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped.is_set
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, frame: object) -> None:
        stopped.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, stop)
    try:
        yield stopped.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
