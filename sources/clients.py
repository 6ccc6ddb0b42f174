"""What client libraries ask for beside sending: settings, their own scripts, a pixel. Only the host is ours.

The answers are those that each library was seen to work with (spec/ecosystem.md §1). The scripts are the vendors', from
npm, where `make assets` has installed them; without them their addresses say so.
"""

import binascii
import json
from base64 import b64decode, urlsafe_b64decode
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponse
from django.views import View

from sources import scripts
from sources.collect import CollectView, Refused, error_answer, named_key, preflight, sender_of, with_cors
from sources.models import Source
from spaces.needs import ANYONE

EMBEDDED_KEY = "__WRITE_KEY__"  # stands in analytics.js for the write key of the page
SCRIPT_AGE = "public, max-age=3600"
BATCHING = {"strategy": "batching", "config": {"size": 10, "timeout": 1000}}  # one request for up to ten events
URL_SAFE = str.maketrans(" +/", "--_")  # a plus is a blank in a query
PIXEL = b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")


class ClientView(View):
    """A GET from any page. Raise Refused for an error."""

    needs: ClassVar[dict[str, str]] = {"": ANYONE}

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            answer = preflight(request) if request.method == "OPTIONS" else super().dispatch(request, *args, **kwargs)
        except Refused as refused:
            answer = error_answer(refused.status, refused.code, refused.message)
        return with_cors(request, answer)  # type: ignore[arg-type]


class SettingsView(ClientView):
    """GET /v1/projects/<key>/settings, which analytics.js and the mobile libraries load first.

    Without `apiHost` analytics.js would send to its vendor, and without `sampleRate` its telemetry, too.
    """

    def get(self, request: HttpRequest, key: str) -> HttpResponse:
        sender_of(key)
        destination: dict[str, Any] = {
            "apiKey": key,
            "apiHost": f"{request.get_host()}/v1",
            "protocol": request.scheme,
            "retryQueue": True,
        }
        if request.is_secure():  # older versions of analytics.js send batches by HTTPS alone, whatever `protocol` says
            destination["deliveryStrategy"] = BATCHING
        return _json(
            {
                "integrations": {"Segment.io": destination},
                "plan": {"track": {"__default": {"enabled": True}}, "identify": {}, "group": {}},
                "metrics": {"sampleRate": 0},
                "edgeFunction": {},
                "middlewareSettings": {},
                "enabledMiddleware": {},
                "remotePlugins": [],
                "legacyVideoPluginsEnabled": False,
            }
        )


class SourceConfigView(ClientView):
    """GET /sourceConfig/?writeKey=, which RudderStack's browser library loads first."""

    def get(self, request: HttpRequest) -> HttpResponse:
        key = named_key(request)
        source = Source.objects.select_related("workspace").get(pk=sender_of(key).source_id)
        return _json(
            {
                "source": {
                    "id": source.public_id,
                    "name": source.name,
                    "writeKey": key,
                    "enabled": True,  # what a disabled source sends is rejected where its owner sees it
                    "workspaceId": source.workspace.public_id,
                    "config": {},
                    "destinations": [],
                    "connections": [],
                }
            }
        )


class AnalyticsJsView(ClientView):
    """GET /analytics.js/v1/<key>/analytics.min.js: Segment's script, for this write key."""

    def get(self, request: HttpRequest, key: str) -> HttpResponse:
        return _script(scripts.ANALYTICS_JS, key)


class BundleView(ClientView):
    """GET /analytics-next/bundles/<name>: parts that Segment's script loads when it needs them."""

    def get(self, request: HttpRequest, name: str) -> HttpResponse:
        return _script(scripts.bundle(name))


class JitsuScriptView(ClientView):
    """GET /p.js: Jitsu's script, which reads the write key from its own tag."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return _script(scripts.JITSU)


class PixelView(CollectView):
    """GET /v1/pixel/<call>?data=<JSON, in base64 or not>: for e-mails. Always 200 and an image, whatever was sent."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method == "OPTIONS":
            return with_cors(request, preflight(request))
        given = request.GET.get("data", "").strip()
        if given.startswith("{"):
            body = given.encode()
        else:
            try:  # some clients leave the padding out, and a query has made blanks of the pluses
                body = urlsafe_b64decode(given.translate(URL_SAFE) + "=" * (-len(given) % 4))
            except (binascii.Error, ValueError):
                body = given.encode(errors="replace")
        request.method = "POST"
        request._stream = BytesIO(body)
        # What it answers is dropped: an e-mail program shows an image, and would show a broken one for an error.
        super().dispatch(request, *args, **kwargs)
        return with_cors(request, HttpResponse(PIXEL, content_type="image/gif"))


def _script(script: Path, key: str = "") -> HttpResponse:
    """key: the write key of the page. Raises Refused."""
    try:
        text = scripts.text_of(script).replace(EMBEDDED_KEY, key)
    except FileNotFoundError:
        message = "This script is not installed here: whoever runs the console can do so by `make assets`."
        raise Refused(404, "not_installed", message) from None
    return HttpResponse(text, content_type="text/javascript; charset=utf-8", headers={"Cache-Control": SCRIPT_AGE})


def _json(content: Any) -> HttpResponse:
    return HttpResponse(json.dumps(content), content_type="application/json")
