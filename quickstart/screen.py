"""What the user sees while it runs: numbered steps, sentences, and a bar for whatever takes longer than a second."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

Moved = Callable[..., None]  # moved(done, total=…, note="…")


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
        columns = [TextColumn(f"  {escape(label)}"), BarColumn(24), TaskProgressColumn(), TimeElapsedColumn()]
        with Progress(*columns, TextColumn("{task.fields[note]}"), console=self.console) as bar:
            task = bar.add_task(label, total=total, note="")

            def moved(done: float, *, total: float | None = None, note: str = "") -> None:
                bar.update(task, completed=done, note=note, total=total)

            yield moved
            known = bar.tasks[0].total
            bar.update(task, completed=known if known is not None else 1, total=known if known is not None else 1)
