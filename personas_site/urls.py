"""Every address of the product. Who may use one is stated on its view and enforced by access.gate."""

from functools import partial

from django.urls import URLPattern, URLResolver, include, path, re_path

from audiences.profile_traits import CurrentReads, derived_of
from audiences.trait_search import having
from destinations.split_effects import effects_of
from identity import profile_api
from identity.api import urls as identity_urls
from identity.pages import urls as identity_pages
from personas_site import errors, health, metrics
from personas_site.pipeline import wake
from personas_site.waking import Waker
from sources import collect_urls
from sources.pages import urls as source_urls

_archive = Waker(partial(wake, "archive"))


urlpatterns: list[URLPattern | URLResolver] = [
    *collect_urls.urls(wake=lambda source_id: _archive.ask()),  # first: asked for most
    *profile_api.urls(CurrentReads()),
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
    path("health", health.health, name="health"),
    path("metrics", metrics.metrics, name="metrics"),
    path("api/", include("access.api.urls")),
    path("api/", include("alerts.api.urls")),
    path("api/", include("sources.api.urls")),
    path("api/", include(identity_urls.urls(derived=derived_of, having=having, effects=effects_of))),
    path("api/", include("imports.api.urls")),
    path("api/", include("audiences.api.urls")),
    path("api/", include("destinations.api.urls")),
    path("api/", include("profiles_sync.api.urls")),
    path("api/", include("privacy.api.urls")),
    path("", include("access.pages.urls")),
    path("", include("alerts.pages.urls")),
    *source_urls.urls(wake=lambda source_id: wake("archive")),
    *identity_pages.urls(having=having, effects=effects_of),
    path("", include("imports.pages.urls")),
    path("", include("audiences.pages.urls")),
    path("", include("destinations.pages.urls")),
    path("", include("profiles_sync.pages.urls")),
    path("", include("privacy.pages.urls")),
    path("", include("console.pages.urls")),
    re_path(r"^api/.*$", errors.unknown_api),
]

handler400 = errors.bad_request
handler403 = errors.forbidden
handler404 = errors.missing
handler500 = errors.failed
