"""The table at the end: every figure with the moment it is of."""

from datetime import datetime

from rich.table import Table

from quickstart.figures import InSpace, Membership, Profiles, Replayed, Run

Row = tuple[str, str, datetime | None]


def table(run: Run) -> Table:
    shown = Table(title="What was found", title_justify="left", show_edge=False, pad_edge=False)
    shown.add_column("")
    shown.add_column("", justify="right")
    shown.add_column("as of (UTC)")
    for section in (_counts(run), _space("Dev", run.dev), _space("Prod", run.prod)):
        for label, value, as_of in section:
            shown.add_row(label, value, as_of.strftime("%Y-%m-%d %H:%M:%S") if as_of else "")
        shown.add_section()
    return shown


def _counts(run: Run) -> list[Row]:
    counts = run.counts
    return [
        ("messages sent in this run", f"{counts.sent:,}", counts.as_of),
        ("  of them rejected", f"{counts.rejected:,}", counts.as_of),
        ("  of them doubled", f"{counts.doubled:,}", counts.as_of),
        ("messages archived in all", f"{counts.archived:,}", counts.as_of),
    ]


def _space(label: str, space: InSpace) -> list[Row]:
    rows = [*_replay(label, space.replayed), *_profiles(label, space.profiles)]
    for audience in space.audiences:
        rows += _audience(label, audience)
    return rows


def _replay(label: str, replayed: Replayed) -> list[Row]:
    value = f"{replayed.events:,} events in {replayed.seconds:.1f} s ({replayed.rate:,.0f}/s)"
    return [(f"{label}: replay", value, replayed.as_of)]


def _profiles(label: str, profiles: Profiles) -> list[Row]:
    verdict = "differ" if profiles.faults else "equal"
    value = f"{profiles.resolved:,} / {profiles.reference:,} ({verdict})"
    rows: list[Row] = [(f"{label}: profiles, console / naive resolver", value, profiles.as_of)]
    if profiles.pairs:
        value = f"{profiles.pairs.precision:.4f} / {profiles.pairs.recall:.4f}"
        rows.append((f"{label}: pairs of messages, precision / recall", value, profiles.as_of))
    return rows


def _audience(label: str, audience: Membership) -> list[Row]:
    truth = "unknown" if audience.truth is None else f"{audience.truth:,}"
    verdict = "differ" if audience.faults else "equal"
    return [
        (f"{label}: “{audience.name}” by preview", f"{audience.preview:,}", audience.preview_as_of),
        (
            "  by compute / truth / delivered",
            f"{audience.computed:,} / {truth} / {audience.delivered:,} ({verdict})",
            audience.as_of,
        ),
    ]
