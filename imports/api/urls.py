from django.urls import path

from imports.api import views

IMPORTS = "spaces/<str:space_id>/imports"
IMPORT = f"{IMPORTS}/<str:import_id>"

urlpatterns = [
    path(IMPORTS, views.ImportsView.as_view(), name="api-imports"),
    path(f"{IMPORTS}/template", views.ImportTemplateView.as_view(), name="api-import-template"),
    path(IMPORT, views.ImportView.as_view(), name="api-import"),
    path(f"{IMPORT}/parts", views.ImportPartsView.as_view(), name="api-import-parts"),
    path(f"{IMPORT}/complete", views.ImportCompleteView.as_view(), name="api-import-complete"),
    path(f"{IMPORT}/preview", views.ImportPreviewView.as_view(), name="api-import-preview"),
    path(f"{IMPORT}/check", views.ImportCheckView.as_view(), name="api-import-check"),
    path(f"{IMPORT}/start", views.ImportStartView.as_view(), name="api-import-start"),
    path(f"{IMPORT}/cancel", views.ImportCancelView.as_view(), name="api-import-cancel"),
    path(f"{IMPORT}/undo", views.ImportUndoView.as_view(), name="api-import-undo"),
    path(f"{IMPORT}/problems", views.ImportProblemsView.as_view(), name="api-import-problems"),
    path(f"{IMPORT}/rejected", views.ImportRejectedView.as_view(), name="api-import-rejected"),
]
