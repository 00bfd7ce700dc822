"""Progress bars on standard error, by tqdm."""

from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

from tiebreak.operations import Report


@contextmanager
def bar(shown: bool | Report, description: str, *, unit: str = "", in_bytes: bool = False) -> Iterator[Report | None]:
    """Yield what an operation reports to: a bar for True, the caller's own function, or nothing for False."""
    if not isinstance(shown, bool):
        yield shown
        return
    if not shown:
        yield None
        return
    with tqdm(desc=description, unit="B" if in_bytes else unit or "it", unit_scale=in_bytes, leave=True) as drawn:

        def report(done: int, total: int, message: str) -> None:
            drawn.total = total or None
            if message:
                drawn.set_postfix_str(message, refresh=False)
            drawn.update(done - drawn.n)
            drawn.refresh()

        yield report
