// Small behaviour by data attribute. Every page works without it.
"use strict";

// One menu is open at a time; a click elsewhere or Escape closes it and gives the focus back.
// The menu of narrow pages shows what follows it, so a click in there is no click elsewhere.
const menus = () => document.querySelectorAll("details[data-menu][open]");
const parts = (menu) => (menu.dataset.menu === "next" ? [menu, menu.nextElementSibling] : [menu]);
document.addEventListener("click", (event) => {
  for (const menu of menus()) if (!parts(menu).some((part) => part.contains(event.target))) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of menus()) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// Times are sent in UTC; here they become those of the reader, whose zone is named beside the navigation,
// with the exact moment to be read on hover.
const short = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const daily = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const local = (within) => {
  for (const time of within.querySelectorAll("time[datetime]:not([title])")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.valueOf())) continue;
    time.title = exact.format(at);
    time.textContent = ("clock" in time.dataset ? clock : "day" in time.dataset ? daily : short).format(at);
  }
};
local(document);
// Days, in headings and charts, are made by the server: from the next page on it knows the zone.
const zone = short.resolvedOptions().timeZone;
for (const place of document.querySelectorAll("[data-zone]")) place.textContent = `Times in ${zone}`;
if (!document.cookie.includes(`zone=${zone}`)) document.cookie = `zone=${zone}; path=/; max-age=31536000; samesite=lax`;
document.addEventListener("htmx:load", (event) => local(event.detail.elt));

// Where there is little room the rows of a table stand below one another, each value beside the name of its column.
// The roles say again what the elements meant before they were laid out so.
const ROLES = { TABLE: "table", THEAD: "rowgroup", TBODY: "rowgroup", TR: "row", TD: "cell" };
const stack = (within) => {
  for (const table of within.querySelectorAll("table.list:not(.stacked)")) {
    const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
    for (const part of [table, ...table.querySelectorAll("thead, tbody, tr, th, td")]) {
      part.setAttribute("role", ROLES[part.tagName] ?? (part.scope === "col" ? "columnheader" : "rowheader"));
    }
    for (const row of table.tBodies[0].rows) [...row.cells].forEach((cell, at) => (cell.dataset.label = names[at]));
    table.classList.add("stacked");
  }
};
stack(document);
document.addEventListener("htmx:load", (event) => stack(event.detail.elt)); // at once: there is no delay to settle

// Copy buttons: data-copy names the element whose text, or value, is wanted.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const from = document.getElementById(button.dataset.copy);
  await navigator.clipboard.writeText(from.dataset.secret ?? from.value ?? from.textContent.trim());
  const label = button.querySelector("span") ?? button;
  const before = label.textContent;
  label.textContent = "Copied";
  setTimeout(() => (label.textContent = before), 1500);
});

// What happened is said in a corner. Errors stay until they are dismissed; the rest goes by itself, unless it is read.
document.addEventListener("click", (event) => event.target.closest("[data-dismiss]")?.closest("[data-toast]").remove());
for (const toast of document.querySelectorAll("[data-toast]:not(.error)")) {
  let wait = setTimeout(() => toast.remove(), 8000);
  toast.addEventListener("pointerenter", () => clearTimeout(wait));
  toast.addEventListener("pointerleave", () => (wait = setTimeout(() => toast.remove(), 3000)));
}

// The side sheet opens when something was loaded into it; whatever closes it gives the focus back to the link.
document.addEventListener("htmx:afterSwap", (event) => {
  const sheet = document.getElementById("sheet");
  if (event.detail.target.id === "sheet-body" && !sheet.open) sheet.showModal();
});
document.addEventListener("click", (event) => {
  if (event.target.id === "sheet") event.target.close(); // its backdrop
});

// A name has to be typed before what it belongs to can be deleted. The server checks it again.
const certain = (box) => (box.form.querySelector("button").disabled = box.value !== box.dataset.mustBe);
document.addEventListener("input", (event) => event.target.matches("[data-must-be]") && certain(event.target));
document.querySelectorAll("[data-must-be]").forEach(certain);

// One box ticks all rows of the list that its form is about.
for (const label of document.querySelectorAll("[data-tick-all]")) {
  const all = label.querySelector("input"), boxes = () => [...all.form.querySelectorAll("input[name=id]")];
  label.hidden = false;
  all.addEventListener("change", () => boxes().forEach((box) => (box.checked = all.checked)));
  all.form.addEventListener("change", () => (all.checked = boxes().every((box) => box.checked)));
}

// A form that was sent is not sent twice by a second click.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post" || event.defaultPrevented) return;
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
});
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// A link away from a form that keeps what was entered: the form is sent instead, and says where the link leads.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-keeps]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const form = document.getElementById(link.dataset.keeps);
  const to = Object.assign(document.createElement("input"), { type: "hidden", name: "to", value: link.dataset.to });
  form.append(to);
  form.noValidate = true;
  form.requestSubmit();
  to.remove(); // what is sent is settled by now; the page may be come back to
  form.noValidate = false;
});

// "/" goes to the search box, which may be in a menu that is closed; letters typed somewhere are left alone.
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  const box = document.querySelector("[data-search]");
  if (!box) return;
  event.preventDefault();
  if (!box.getClientRects().length) document.querySelector("details[data-menu='next']").open = true;
  box.focus();
});

// When the server does not answer for a part of the page, that is said, until it answers again.
const unanswered = (event) => {
  if (event.detail.xhr.status && event.detail.xhr.status < 500) return;
  if (document.getElementById("unanswered")) return;
  const note = document.createElement("div");
  note.id = "unanswered";
  note.className = "toast-note error";
  note.textContent = "The console did not answer. What you see may be old.";
  document.getElementById("toasts").append(note);
};
for (const failure of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(failure, unanswered);
}
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.successful) document.getElementById("unanswered")?.remove();
});
