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

// Whoever presses a second button before the answer to the first is there loses neither: the newer request takes the
// older one's place (hx-sync), and brings the older act along. `acts` are those on their way, `sent` the form with them.
let acts = [];
let sent = "";
const form = () => document.getElementById("sketch");
const written = () => JSON.stringify([...new FormData(form())].filter(([name]) => name !== "csrfmiddlewaretoken"));
const sends = (event) => event.target.closest?.("#sketch") && event.detail.requestConfig.verb !== "get";
const settled = () => (acts = []);

document.addEventListener("htmx:configRequest", (event) => {
  if (!event.target.closest("#sketch") || event.detail.verb === "get") return;
  if (event.detail.triggeringEvent?.type !== "again") acts.push(event.detail.parameters.act);
  event.detail.parameters.act = acts;
  sent = written();
});

// While the form itself is on its way, or the page is being left, no preview is asked for: it would bring an older tree.
document.addEventListener("htmx:beforeRequest", (event) => {
  if (event.target.id === "preview" && acts.length) event.preventDefault();
  if (sends(event)) htmx.trigger("#preview", "htmx:abort");
});

// What was typed meanwhile is not taken back: the answer is asked for once more, with it.
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target.id !== "builder") return;
  if (!event.detail.shouldSwap || written() === sent) return settled();
  event.detail.shouldSwap = false;
  setTimeout(() => htmx.trigger(form(), "again"));
});
for (const failure of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(failure, (event) => sends(event) && settled());
}
window.addEventListener("pageshow", settled);

// What is changed of an audience that exists is kept nowhere until it is saved: whoever leaves before is asked.
const before = written();
let undoing = false;
document.addEventListener("click", (event) => (undoing = Boolean(event.target.closest("[data-undo]"))));
window.addEventListener("beforeunload", (event) => {
  if (!("unsaved" in form().dataset) || undoing || acts.includes("save") || written() === before) return;
  event.preventDefault();
});
