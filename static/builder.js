// After a row was added, moved or removed, the focus goes where the answer says.
"use strict";

const settle = (builder) => {
  const at = document.getElementById(builder?.dataset.focus ?? "");
  if (!at) return;
  const first = at.matches("input, select, textarea") ? at : at.querySelector("input:not([type=hidden]), select, textarea");
  (first ?? at.querySelector("button") ?? at).focus();
};
settle(document.getElementById("builder"));
document.addEventListener("htmx:load", (event) => event.detail.elt.id === "builder" && settle(event.detail.elt));

// While the form itself is on its way, or the page is being left, no preview is asked for: it would bring an older tree.
let away = false;
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target.id === "preview" && away) event.preventDefault();
  if (!event.target.closest("#sketch") || event.detail.requestConfig.verb === "get") return;
  away = true;
  htmx.trigger("#preview", "htmx:abort");
});
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target.id === "builder") away = false;
});
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.failed) away = false;
});
window.addEventListener("pageshow", () => (away = false));
