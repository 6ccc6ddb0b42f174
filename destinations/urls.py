from django.urls import path

from destinations import views

urlpatterns = [
    path("w/<slug:workspace>/s/<slug:space>/deliveries", views.deliveries, name="deliveries"),
    path("w/<slug:workspace>/s/<slug:space>/destinations/<str:destination>/caught", views.caught, name="caught"),
]
