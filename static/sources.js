// The live list of the debugger grows at its top; what has moved too far down is let go.
"use strict";
document.addEventListener("htmx:afterSettle", () => {
  for (const list of document.querySelectorAll("[data-most]")) {
    const rows = list.querySelectorAll(".message");
    for (const row of [...rows].slice(Number(list.dataset.most))) row.remove();
  }
});
