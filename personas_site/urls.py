"""Every address of the product. Who may use one is stated on its view and enforced by access.gate."""

from django.urls import URLPattern, URLResolver, include, path, re_path

from personas_site import deletions_page, errors, guide, health, home, overview, sample_page, search, space_pages
from personas_site.pipeline import wake
from sources import collect_urls
from sources import urls as source_urls


def _wake_archive(source_id: int) -> None:
    wake("archive")


urlpatterns: list[URLPattern | URLResolver] = [
    path("api/", include("access.api.urls")),
    path("api/", include("sources.api.urls")),
    path("api/", include("identity.api.urls")),
    path("api/", include("audiences.api.urls")),
    path("api/", include("destinations.api.urls")),
    path("", include("access.urls")),
    path("w/<slug:workspace>/", home.workspace, name="workspace"),
    path("w/<slug:workspace>/search", search.search, name="search"),
    path("w/<slug:workspace>/s/<slug:space>/", overview.space, name="space"),
    path("w/<slug:workspace>/s/<slug:space>/guide", guide.guide, name="space-guide"),
    path("w/<slug:workspace>/spaces", space_pages.spaces, name="spaces"),
    path("w/<slug:workspace>/deletions", deletions_page.deletions, name="deletions"),
    path("w/<slug:workspace>/spaces/new", space_pages.space_new, name="space-new"),
    path("w/<slug:workspace>/s/<slug:space>/settings", space_pages.space_settings, name="space-settings"),
    path("w/<slug:workspace>/s/<slug:space>/settings/delete", space_pages.space_delete, name="space-delete"),
    path("w/<slug:workspace>/sample", sample_page.sample, name="sample"),
    *source_urls.urls(wake=_wake_archive),
    path("", include("identity.urls")),
    path("", include("audiences.urls")),
    path("", include("destinations.urls")),
    *collect_urls.urls(wake=_wake_archive),
    re_path(r"^api/.*$", errors.unknown_api),
    path("livez", health.livez, name="livez"),
    path("readyz", health.readyz, name="readyz"),
]

handler400 = errors.bad_request
handler403 = errors.forbidden
handler404 = errors.missing
handler500 = errors.failed
