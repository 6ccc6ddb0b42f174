"""The addresses that client libraries send to, with and without a trailing slash: a redirect would lose events."""

from collections.abc import Callable

from django.urls import URLPattern, re_path

from sources import clients
from sources.collect import PATHS, TELEMETRY, CollectView
from sources.rules.spec import SHORT, TYPES

KEY = r"(?P<key>[\w-]{1,64})"


def urls(wake: Callable[[int], object]) -> list[URLPattern]:
    """For the root of the site. `wake(source id)` is called after each accepted request."""
    collect = CollectView.as_view(wake=wake)
    calls = "|".join([*TYPES, "batch", *SHORT, TELEMETRY])
    return [
        re_path(rf"^v1/(?P<route>{calls})/?$", collect, name="collect"),
        re_path(rf"^v1/projects/{KEY}/settings/?$", clients.SettingsView.as_view(), name="client-settings"),
        re_path(rf"^v1/pixel/(?P<route>{calls})/?$", clients.PixelView.as_view(wake=wake), name="pixel"),
        re_path(r"^beacon/v1/(?P<route>batch)/?$", collect, name="collect-beacon"),  # RudderStack, as a page closes
        re_path(rf"^api/s/(?:s2s/)?(?P<route>{calls})/?$", collect, name="collect-jitsu"),
        re_path(r"^sourceConfig/?$", clients.SourceConfigView.as_view(), name="source-config"),
        re_path(
            rf"^analytics\.js/v1/{KEY}/analytics\.min\.js$", clients.AnalyticsJsView.as_view(), name="analytics-js"
        ),
        re_path(r"^analytics-next/bundles/(?P<name>[\w-]+(?:\.[\w-]+)*)$", clients.BundleView.as_view(), name="bundle"),
        re_path(r"^p\.js$", clients.JitsuScriptView.as_view(), name="jitsu-script"),
        # Everything else there: an error as clients know it, never a page, and its owner sees it.
        re_path(rf"^{PATHS}$", collect, {"route": ""}, name="collect-unknown"),
    ]
