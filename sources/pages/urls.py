"""The pages about sources, of the workspace and of a space."""

from collections.abc import Callable

from django.urls import URLPattern, path

from sources.pages.views import debugger, rejected, source, space, workspace

SOURCES = "w/<slug:workspace>/sources"
SOURCE = f"{SOURCES}/<str:source_id>"
LISTENING = "w/<slug:workspace>/s/<slug:space>/sources"


def urls(wake: Callable[[int], object]) -> list[URLPattern]:
    """For the root of the site. `wake(source id)` is called when a test event waits."""
    return [
        path(SOURCES, workspace.sources, name="sources"),
        path(f"{SOURCES}/new", workspace.new, name="source-new"),
        path(SOURCE, source.overview, name="source"),
        path(f"{SOURCE}/set-up", source.setup, name="source-setup"),
        path(f"{SOURCE}/set-up/keys/<str:key>/remove", source.remove_key, name="source-key-remove"),
        path(f"{SOURCE}/debugger", debugger.page, {"wake": wake}, name="source-debugger"),
        path(f"{SOURCE}/debugger/messages", debugger.messages, name="source-messages"),
        path(f"{SOURCE}/debugger/rejected", rejected.rejects, {"wake": wake}, name="source-rejects"),
        path(f"{SOURCE}/settings", source.settings, name="source-settings"),
        path(f"{SOURCE}/delete", source.delete, name="source-delete"),
        path(LISTENING, space.space_sources, name="space-sources"),
        path(f"{LISTENING}/connect", space.connect, name="space-connect"),
        path(f"{LISTENING}/replays", space.replays, name="space-replays"),
        path(f"{LISTENING}/replays/<str:replay_id>/cancel", space.cancel_replay, name="space-replay-cancel"),
        path(f"{LISTENING}/<str:connection_id>/replay", space.replay_more, name="space-replay"),
        path(f"{LISTENING}/<str:connection_id>/disconnect", space.disconnect, name="space-disconnect"),
    ]
