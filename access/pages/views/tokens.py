"""The page of API tokens: create one, see its secret once, revoke it."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.cache import never_cache

from access import services
from access.pages.people_forms import NewToken
from access.pages.tables import listed
from access.requests import PageRequest
from spaces.needs import needs


@never_cache
@needs("workspace.read")
def tokens(request: PageRequest, workspace: str) -> HttpResponse:
    """The member's tokens; for an owner everybody's. A POST creates one or revokes one; `?revoke=` asks first."""
    visible = services.tokens_of(request.membership)
    if "revoke" in request.POST:
        token = get_object_or_404(visible, public_id=request.POST["revoke"])
        services.revoke_token(token, by=request)
        messages.success(request, f"“{token.name}” was revoked. Programs that use it are refused from now on.")
        return redirect("tokens", workspace=workspace)
    if request.method == "GET" and "revoke" in request.GET:
        token = get_object_or_404(visible, public_id=request.GET["revoke"])
        asked = {"base": "base_workspace.html", "place": "API tokens", "of": token.user.email}
        return render(request, "access/revoke_token.html", asked | {"token": token, "here": request.path})
    form, secret, created = NewToken(request.POST or None), "", None
    if request.method == "POST" and form.is_valid():
        # No redirect: the secret would have to be stored somewhere until the next page.
        created, secret = services.create_token(
            request.workspace, request.user, name=form.cleaned_data["name"], by=request
        )
        form = NewToken()
    page, pager = listed(request, visible, order="-id")
    context = {
        "form": form,
        "tokens": page,
        "pager": pager,
        "secret": secret,
        "created": created,
        "everybody": request.membership.may("workspace.manage"),
    }
    status = 201 if created else 422 if request.method == "POST" else 200
    return render(request, "access/tokens.html", context, status=status)
