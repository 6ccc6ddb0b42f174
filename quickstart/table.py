"""The table at the end: every figure with the moment it is of. It fits into 80 columns."""

from datetime import datetime

from rich.markup import escape
from rich.table import Table

from quickstart.figures import InSpace, Run

Row = tuple[str, str, str, datetime | None]  # label, value, verdict, as of
LABEL = 32  # columns


def table(run: Run) -> Table:
    shown = Table(title="What was found", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    shown.add_column("", max_width=LABEL, no_wrap=True, overflow="ellipsis")
    shown.add_column("", justify="right")
    shown.add_column("")
    shown.add_column("as of (UTC)")
    counts = run.counts
    in_all: list[Row] = [
        ("messages sent in this run", f"{counts.sent:,}", "", counts.as_of),
        ("  of them rejected", f"{counts.rejected:,}", "", counts.as_of),
        ("  of them doubled", f"{counts.doubled:,}", "", counts.as_of),
        ("messages archived in all", f"{counts.archived:,}", "", counts.as_of),
    ]
    for section in (in_all, _space(run.dev), _space(run.prod)):
        shown.add_row()
        for *texts, as_of in section:
            shown.add_row(*map(escape, texts), as_of.strftime("%Y-%m-%d %H:%M:%S") if as_of else "")
    return shown


def _space(space: InSpace) -> list[Row]:
    replayed, profiles = space.replayed, space.profiles
    rows: list[Row] = [
        (space.name, "", "", None),
        ("  events replayed", f"{replayed.events:,}", "", replayed.as_of),
        ("    in", f"{replayed.seconds:.1f} s ({replayed.rate:,.0f}/s)", "", replayed.as_of),
        ("  profiles", f"{profiles.resolved:,}", "", profiles.as_of),
        ("    by the naive resolver", f"{profiles.reference:,}", _verdict(profiles.faults), profiles.as_of),
    ]
    if profiles.pairs:  # of a file nobody knows who really did what
        rows.append(("    pairs of messages, precision", f"{profiles.pairs.precision:.4f}", "", profiles.as_of))
        rows.append(("    pairs of messages, recall", f"{profiles.pairs.recall:.4f}", "", profiles.as_of))
        rows.append(("      mean per person", f"{profiles.pairs.recall_per_person:.4f}", "", profiles.as_of))
    for audience in space.audiences:
        truth = "unknown" if audience.truth is None else f"{audience.truth:,}"
        rows += [
            (f"  {audience.name}", "", "", None),
            ("    by preview", f"{audience.preview:,}", "", audience.preview_as_of),
            ("    by compute", f"{audience.computed:,}", "", audience.as_of),
            ("    by the truth", truth, "", audience.as_of),
            ("    delivered", f"{audience.delivered:,}", _verdict(audience.faults), audience.as_of),
        ]
    return rows


def _verdict(faults: list[str]) -> str:
    return "differs" if faults else "equal"
