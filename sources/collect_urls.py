"""The addresses that client libraries send to, with and without a trailing slash: a redirect would lose events."""

from collections.abc import Callable

from django.urls import URLPattern, re_path

from sources.collect import CollectView
from sources.rules.spec import SHORT, TYPES


def urls(wake: Callable[[int], object]) -> list[URLPattern]:
    """For the root of the site. `wake(source id)` is called after each accepted request."""
    routes = "|".join([*TYPES, "batch", *SHORT])
    return [re_path(rf"^v1/(?P<route>{routes})/?$", CollectView.as_view(wake=wake), name="collect")]
