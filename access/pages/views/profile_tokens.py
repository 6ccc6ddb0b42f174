"""The Profile API of a space, in its settings: its address, and its tokens, each made, seen once and revoked."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache

from access import services
from access.pages.people_forms import NewProfileToken
from access.pages.tables import listed
from access.requests import PageRequest, origin_of
from spaces.needs import needs


@never_cache
@needs("space.admin")
def profile_tokens(request: PageRequest, workspace: str, space: str) -> HttpResponse:
    """The live tokens. A POST creates one or revokes one; `?revoke=` asks first."""
    live = services.profile_tokens_of(request.space)
    if "revoke" in request.POST:
        token = get_object_or_404(live, public_id=request.POST["revoke"])
        services.revoke_profile_token(token, by=request)
        messages.success(request, f"“{token.name}” was revoked. Programs that use it are refused from now on.")
        return redirect("profile-api", workspace, space)
    if request.method == "GET" and "revoke" in request.GET:
        token = get_object_or_404(live, public_id=request.GET["revoke"])
        asked = {"base": "base_settings.html", "place": "Profile API", "of": "the Profile API"}
        return render(request, "access/revoke_token.html", asked | {"token": token, "here": request.path})
    form, secret, created = NewProfileToken(request.POST or None), "", None
    if request.method == "POST" and form.is_valid():
        # No redirect: the secret would have to be stored somewhere until the next page.
        created, secret = services.create_profile_token(request.space, name=form.cleaned_data["name"], by=request)
        form = NewProfileToken()
    page, pager = listed(request, live, order="-id")
    context = {
        "form": form,
        "tokens": page,
        "pager": pager,
        "secret": secret,
        "created": created,
        "base": f"{origin_of(request)}/v1/spaces/{request.space.public_id}",
    }
    status = 201 if created else 422 if request.method == "POST" else 200
    return render(request, "access/profile_tokens.html", context, status=status)
