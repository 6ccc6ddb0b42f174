"""What the user sees while it runs: numbered steps, sentences, and a bar for as long as something takes."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

Moved = Callable[..., None]  # moved(done, total=…, note="…")
SOON, EVERY = 1.0, 5.0  # seconds until a line says what is going on, and between the next ones, where bars cannot move


class Screen:
    def __init__(self) -> None:
        self.console = Console(highlight=False)

    def step(self, number: int, title: str) -> None:
        self.console.print(f"\n[bold]Step {number}  {escape(title)}[/bold]")

    def say(self, text: str) -> None:
        self.console.print(f"  {escape(text)}", soft_wrap=True)

    def fault(self, text: str) -> None:
        self.console.print(f"  [red]✗ {escape(text)}[/red]", soft_wrap=True)

    def good(self, text: str) -> None:
        self.console.print(f"  [green]✓[/green] {escape(text)}", soft_wrap=True)

    @contextmanager
    def progress(self, label: str, total: float | None = None) -> Iterator[Moved]:
        """A bar for as long as the block runs. Without a total it only shows that something is going on."""
        shown = self._bar(label, total) if self.console.is_terminal else self._lines(label, total)
        with shown as moved:
            yield moved

    @contextmanager
    def _lines(self, label: str, total: float | None) -> Iterator[Moved]:
        """The same for a file or a pipe: a line once it takes a while, and one now and then."""
        whole, spoken = total, time.monotonic()

        def moved(done: float, *, total: float | None = None, note: str = "") -> None:
            nonlocal whole, spoken
            whole = total if total is not None else whole
            if time.monotonic() - spoken >= EVERY:
                spoken = time.monotonic()
                share = f"{done:,.0f} of {whole:,.0f}" if whole else f"{done:,.0f}"
                self.say("  ".join(filter(None, (f"{label}: {share}", note))))

        timer = Timer(SOON, self.say, [f"{label} …"])
        timer.daemon = True  # it must not keep a process that has failed
        timer.start()
        try:
            yield moved
        finally:
            timer.cancel()

    @contextmanager
    def _bar(self, label: str, total: float | None) -> Iterator[Moved]:
        columns = [TextColumn(f"  {escape(label)}"), BarColumn(24), TaskProgressColumn(), TimeElapsedColumn()]
        with Progress(*columns, TextColumn("{task.fields[note]}"), console=self.console, transient=True) as bar:
            task = bar.add_task(label, total=total, note="")

            def moved(done: float, *, total: float | None = None, note: str = "") -> None:
                bar.update(task, completed=done, note=note, total=total)

            yield moved
