from django.urls import path

from imports.pages.views import imports

urlpatterns = [
    path("w/<slug:workspace>/s/<slug:space>/imports", imports.imports, name="imports"),
    path("w/<slug:workspace>/s/<slug:space>/imports/<str:import_id>", imports.one_import, name="import"),
]
