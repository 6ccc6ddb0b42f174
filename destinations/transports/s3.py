"""S3 and what speaks as it does: signed by botocore, sent through the door out like every call by HTTP."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from destinations.models import Destination
from destinations.rules.contract import DestinationRequest
from destinations.transports import http
from spaces.answers import Answer

ERROR = re.compile(rb"<Error>.*?<Code>(.*?)</Code>.*?<Message>(.*?)</Message>", re.DOTALL)


@contextmanager
def calls(destination: Destination, settings: Any) -> Iterator[Callable[[DestinationRequest], Answer]]:
    """Signed when they are sent, not when they are planned: a signature is good for a quarter of an hour."""
    keys = Credentials(settings.access_key_id, settings.secret_access_key, settings.session_token or None)
    signer = S3SigV4Auth(keys, "s3", settings.region)
    with http.calls(destination, settings) as send:

        def call(request: DestinationRequest) -> Answer:
            signed = AWSRequest(request.method, request.url, headers=dict(request.headers), data=request.body)
            signer.add_auth(signed)
            answer = send(replace(request, headers=dict(signed.headers.items())))
            error = ERROR.search(answer.body)
            # Its two sentences out of a page of XML, for whoever has to mend it.
            return answer if answer.ok or not error else replace(answer, body=b": ".join(error.groups()))

        yield call
