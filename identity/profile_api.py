"""The Profile API: servers of customers read people and accounts of a space. After Segment's, with the same addresses.

Plain views: no session, no serializer. A token of the space says who asks; there are no CORS headers, since it is for
servers only, whose tokens no browser may have. Addresses are as free as identifiers are: no character is an error of
ours.
"""

import logging
import math
from base64 import b64decode
from typing import Any, ClassVar

import msgspec
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, re_path
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from access.authentication import SpaceReader, space_reader
from identity import profile_reads
from identity.derived import DerivedReads
from identity.profile_reads import READS, Json, ProfileQuery
from identity.queries import COLLECTIONS
from identity.rules.profile_requests import (
    AUTHENTICATION,
    CODES,
    INVALID_REQUEST,
    PATHS,
    RATE_LIMIT,
    VALIDATION,
    ReadRefused,
    error_body,
    not_found,
)
from spaces import limits, rates
from spaces.errors import is_ours
from spaces.lanes import PROFILES
from spaces.needs import ANYONE

logger = logging.getLogger(__name__)

COLLECTION = r"^v1/(?:spaces|namespaces)/(?P<space_id>[^/]+)/collections/(?P<collection>[^/]+)/profiles"
METHODS = ("get", "head", "post")
RETRY_AFTER_S = 5
AT_ONCE_S, MOST_AT_ONCE = 0.05, 10  # what a process takes of a rate at once: of so many seconds, and at most so many

_taken: dict[int, int] = {}  # by space, how many requests may be answered before Redis is asked again
NO_CALL = "There is no such call."


def urls(derived: DerivedReads) -> list[URLPattern]:
    """For the root of the site."""
    # A value may have any character in it, slashes and line ends too: what follows the last slash is the read.
    person = rf"{COLLECTION}/(?P<name>[\s\S]+)/(?P<read>{'|'.join(READS)})/?\Z"
    return [
        re_path(rf"{COLLECTION}/?\Z", ProfileList.as_view(derived=derived), name="profile-api-list"),
        re_path(rf"{COLLECTION}/batch/?\Z", ProfileBatch.as_view(derived=derived), name="profile-api-batch"),
        re_path(person, ProfileRead.as_view(derived=derived), name="profile-api-read"),
        re_path(rf"^{PATHS}\Z", UnknownRead.as_view(), name="profile-api-unknown"),
    ]


@method_decorator(csrf_exempt, name="dispatch")
class SpaceRead(View):
    """One call. Raises nothing: whatever goes wrong is said in the shape of the Profile API."""

    needs: ClassVar[dict[str, str]] = {"": ANYONE}  # the token, which is not one of a user, is read here
    lanes: ClassVar[dict[str, str]] = {"": PROFILES}
    derived: Any = None  # DerivedReads, handed over by `urls`

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            reader = _reader(request)
            _keep_to_rate(reader)
            # From here on statements keep to what the workspace may take, as those of the console do.
            limits.asking(reader.workspace)
            method = str(request.method).lower()
            read = getattr(self, method, None) if method in METHODS else None
            if read is None:
                raise ReadRefused(405, INVALID_REQUEST, f"This call is not made by {method.upper()}.")
            body = msgspec.json.encode(read(self._asked(request, reader, **kwargs), request, **kwargs))
        except ReadRefused as refused:
            answer = refusal(refused.status, refused.message, code=refused.code, retry_after_s=refused.retry_after_s)
            if refused.status == 405:
                answer["Allow"] = ", ".join(method.upper() for method in METHODS if hasattr(self, method))
            return answer
        except RequestDataTooBig:
            return refusal(400, "That is too much for one request.", code=VALIDATION)
        except Exception as error:
            logger.exception("%s of the Profile API failed", type(self).__name__)
            if is_ours(error):
                return refusal(500, "Something went wrong on our side. It is in the log; please try again.")
            return refusal(503, "The service is busy. Try again.", retry_after_s=RETRY_AFTER_S)
        return HttpResponse(body, content_type="application/json")

    def _asked(
        self, request: HttpRequest, reader: SpaceReader, *, space_id: str = "", collection: str = "", **kwargs: str
    ) -> ProfileQuery:
        """Raises ReadRefused. Another space's id is as unknown as one that nobody has."""
        # 404 and not 403: whether there is such a space is nobody else's business.
        if space_id != reader.space:
            raise not_found(NO_CALL if not space_id else "Space was not found.")
        if collection not in COLLECTIONS:
            raise ReadRefused(400, VALIDATION, "The parameter `collection` must be users or accounts.")
        return ProfileQuery(reader, collection, request.GET, self.derived)


class ProfileRead(SpaceRead):
    def get(self, asked: ProfileQuery, request: HttpRequest, *, name: str, read: str, **kwargs: str) -> Json:
        return READS[read](asked, name)


class ProfileList(SpaceRead):
    def get(self, asked: ProfileQuery, request: HttpRequest, **kwargs: str) -> Json:
        return profile_reads.profiles(asked)


class ProfileBatch(SpaceRead):
    def post(self, asked: ProfileQuery, request: HttpRequest, **kwargs: str) -> Json:
        return profile_reads.traits_of_many(asked, request.body)


class UnknownRead(SpaceRead):
    """Every other address there: an error as programs know it, never a page."""

    def get(self, asked: ProfileQuery, request: HttpRequest) -> Json:
        raise not_found(NO_CALL)

    post = get


def refusal(status: int, message: str, *, code: str = "", retry_after_s: int = 0) -> HttpResponse:
    """An error as the Profile API says it. code: when it does not follow from the status."""
    body = error_body(code or CODES.get(status, INVALID_REQUEST), message)
    answer = HttpResponse(body, status=status, content_type="application/json")
    # Else Django would log the address, which names a person, perhaps thousands of times a second.
    answer._has_been_logged = True  # type: ignore[attr-defined]
    if status == 401:
        answer["WWW-Authenticate"] = 'Basic realm="Profile API"'
    if retry_after_s:
        answer["Retry-After"] = str(retry_after_s)
    return answer


def _reader(request: HttpRequest) -> SpaceReader:
    """Whose token it is. Raises ReadRefused."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    try:
        secret = b64decode(value.strip(), validate=True).decode().partition(":")[0] if scheme.lower() == "basic" else ""
    except ValueError:  # no base64, or no text
        secret = ""
    reader = space_reader(secret) if secret else None
    if reader is None:
        message = "Send a token of this space's Profile API as the user name of Basic authorization, with no password."
        raise ReadRefused(401, AUTHENTICATION, message)
    return reader


def _keep_to_rate(reader: SpaceReader) -> None:
    """Raises ReadRefused when the space is asked more often than it may be, by all of its tokens together."""
    rate = settings.LIMITS.reads(reader.space)
    if not rate:
        return
    left = _taken.get(reader.space_id, 0)
    if not left:  # several are taken at once: to ask Redis costs as much as the read itself
        left = int(min(max(rate * AT_ONCE_S, 1), MOST_AT_ONCE))
        if wait := rates.spend(f"profiles:{reader.space_id}", rate=rate, burst=max(rate, 1.0), cost=left):
            message = f"More than {rate:g} requests a second for this space. Try again later."
            raise ReadRefused(429, RATE_LIMIT, message, retry_after_s=math.ceil(wait))
    _taken[reader.space_id] = left - 1
