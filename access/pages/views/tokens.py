"""Pages of tokens, of the API and of a space's Profile API: create one, see its secret once, revoke it."""

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache

from access import services
from access.models import ProfileToken, Token
from access.pages.people_forms import NewProfileToken, NewToken
from access.pages.tables import listed
from access.requests import PageRequest, origin_of
from spaces.needs import needs


@never_cache
@needs("workspace.read")
def tokens(request: PageRequest, workspace: str) -> HttpResponse:
    """The member's tokens; for an owner everybody's. A POST creates one or revokes one; `?revoke=` asks first."""
    return _page(
        request,
        services.tokens_of(request.membership),
        NewToken,
        lambda name: services.create_token(request.workspace, request.user, name=name, by=request),
        services.revoke_token,
        template="access/tokens.html",
        asked=lambda token: {"base": "base_workspace.html", "place": "API tokens", "of": token.user.email},
        context={"everybody": request.membership.may("workspace.manage")},
    )


@never_cache
@needs("space.admin")
def profile_tokens(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """The Profile API's address, and its live tokens. A POST creates one or revokes one; `?revoke=` asks first."""
    return _page(
        request,
        services.profile_tokens_of(request.space),
        NewProfileToken,
        lambda name: services.create_profile_token(request.space, name=name, by=request),
        services.revoke_profile_token,
        template="access/profile_tokens.html",
        asked=lambda token: {"base": "base_settings.html", "place": "Profile API", "of": "the Profile API"},
        context={"base": f"{origin_of(request)}/v1/spaces/{request.space.public_id}"},
    )


def _page(
    request: PageRequest,
    live: "QuerySet[Token] | QuerySet[ProfileToken]",
    new: type[NewToken],
    create: Callable[[str], tuple[Any, str]],
    revoke: Callable[..., None],
    *,
    template: str,
    asked: Callable[[Any], dict[str, str]],
    context: dict[str, Any],
) -> HttpResponse:
    """asked: of a token, what the question says before it is revoked. context: of the page, besides its tokens."""
    if "revoke" in request.POST:
        token: Any = get_object_or_404(live, public_id=request.POST["revoke"])
        revoke(token, by=request)
        messages.success(request, f"“{token.name}” was revoked. Programs that use it are refused from now on.")
        return redirect(request.path)
    if request.method == "GET" and "revoke" in request.GET:
        token = get_object_or_404(live, public_id=request.GET["revoke"])
        return render(request, "access/revoke_token.html", asked(token) | {"token": token, "here": request.path})
    form, secret, created = new(request.POST or None), "", None
    if request.method == "POST" and form.is_valid():
        # No redirect: the secret would have to be stored somewhere until the next page.
        created, secret = create(form.cleaned_data["name"])
        form = new()
    page, pager = listed(request, live, order="-id")
    context |= {"form": form, "tokens": page, "pager": pager, "secret": secret, "created": created}
    return render(request, template, context, status=201 if created else 422 if request.method == "POST" else 200)
