// Small behaviour by data attribute. Every page works without it.
"use strict";

// One menu is open at a time; a click elsewhere or Escape closes it and gives the focus back.
const menus = () => document.querySelectorAll("details[data-menu][open]");
document.addEventListener("click", (event) => {
  for (const menu of menus()) if (!menu.contains(event.target)) menu.open = false;
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
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });
const local = (within) => {
  for (const time of within.querySelectorAll("time[datetime]:not([title])")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.valueOf())) continue;
    time.title = exact.format(at);
    time.textContent = short.format(at);
  }
};
local(document);
for (const place of document.querySelectorAll("[data-zone]")) {
  place.textContent = `Times in ${short.resolvedOptions().timeZone}`;
}
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

// Copy buttons: data-copy names the element whose text is wanted.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim());
  const label = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = label), 1500);
});
