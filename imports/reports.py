"""Files that an import gives: the template, and the rows that were rejected."""

from collections.abc import Iterator

from identity.rules.policy import policy_of
from imports import queries
from imports.models import ProfileImport
from imports.rules.rows import importable
from spaces import personal
from spaces.models import Space

EXAMPLES = ("first_name", "plan")  # of traits


def template_row(space: Space) -> list[str]:
    """The header of a file for this space."""
    return [*importable(policy_of(space.identity_policy)), *EXAMPLES]


def rejected_rows(of: ProfileImport) -> Iterator[list[str]]:
    """Row, reason, and what stands in the row; masked for whoever may not see personal data."""
    # The mask is of the request; whoever streams is asked for the rows when that is over.
    is_masked = personal.masked()
    names = [use.name or name for use, name in zip(of.uses, of.header, strict=True)]
    for record, problems in queries.rejected(of):
        reason = " ".join(f"{problem.column}: {problem.sentence}".removeprefix(": ") for problem in problems)
        with personal.masking(is_masked):
            values = [
                personal.value(names[place] if place < len(names) else "", value, names=personal.OF_PEOPLE)
                for place, value in enumerate(record.values)
            ]
        yield [str(record.row), reason, *values]
