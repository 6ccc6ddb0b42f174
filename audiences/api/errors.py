"""What refusals of the services of audiences are in the API: which field of the body is at fault, or which status."""

from rest_framework.exceptions import APIException, ValidationError

from access.api.errors import as_answered
from access.errors import Conflict, Unavailable, invalid
from audiences.cases import BrokenCases
from audiences.queries import NotComputed, Unanswerable
from audiences.rules.folders import FolderRefused
from audiences.rules.labels import LabelRefused
from audiences.rules.sql_rows import RowsError
from audiences.rules.validation import DefinitionError
from audiences.services import KeyRefused

NOT_NOW = "This cannot be worked out just now. Try again in a moment."
FIELDS = {KeyRefused: "key", LabelRefused: "labels", FolderRefused: "folder", RowsError: "query"}


@as_answered.register(KeyRefused)
@as_answered.register(LabelRefused)
@as_answered.register(FolderRefused)
@as_answered.register(RowsError)
def _(error: ValueError) -> ValidationError:
    return invalid(str(error), FIELDS[type(error)])


@as_answered.register
def _(error: BrokenCases) -> ValidationError:
    return ValidationError({"despiteCases": error.messages})


@as_answered.register
def _(error: NotComputed) -> APIException:
    return Conflict(str(error))


@as_answered.register
def _(error: Unanswerable) -> APIException:
    return Unavailable(NOT_NOW)


# Not registered: of a definition that is kept it would be nobody's body that is wrong.
def wrong(error: DefinitionError) -> ValidationError:
    """The error of a definition at its place in the body: `definition.all[1].within`."""
    return invalid(error.message, f"definition.{error.path}" if error.path else "definition")
