"""`map` over threads that yields in order and never runs far ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    size: Callable[[Item], int],
    budget: int,
) -> Generator[Result]:
    """`map(work, items)`, the work on `workers` threads while the caller draws the next item.

    Args:
        work: called in a thread; what it holds the GIL for is not done side by side.
        items: drawn in the caller's thread.
        workers: threads; with one, everything is done in the caller's.
        size: bytes that an item keeps alive until its result is yielded.
        budget: bytes that items may keep alive together, beside the one drawn last.

    Returns:
        The results in the items' order. An error of `work`, or of drawing an item, comes in its
        turn, as from `map`: after the results of all items before it. What has not begun by then is
        not started; what has is waited for.
    """
    if workers == 1:
        yield from map(work, items)
        return
    waiting: deque[tuple[Future[Result], int]] = deque()
    held = 0
    with ThreadPoolExecutor(workers, thread_name_prefix="clmer") as pool:
        try:
            for future, own in _submitted(pool, work, items, size):
                while waiting and (held + own > budget or len(waiting) >= 2 * workers):
                    first, done = waiting.popleft()
                    yield first.result()
                    held -= done
                waiting.append((future, own))
                held += own
            while waiting:
                yield waiting.popleft()[0].result()
        finally:
            for future, _ in waiting:
                future.cancel()


def _submitted(
    pool: ThreadPoolExecutor,
    work: Callable[[Item], Result],
    items: Iterable[Item],
    size: Callable[[Item], int],
) -> Iterator[tuple[Future[Result], int]]:
    source = iter(items)
    while True:
        try:
            item = next(source)
        except StopIteration:
            return
        except Exception as error:  # it waits for its turn
            failed: Future[Result] = Future()
            failed.set_exception(error)
            yield failed, 0
            return
        yield pool.submit(work, item), size(item)
        del item
