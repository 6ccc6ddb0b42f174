// The live list of the debugger grows at its top; what has moved too far down is let go, and is older from then on.
"use strict";
document.addEventListener("htmx:afterSettle", () => {
  for (const list of document.querySelectorAll("[data-most]")) {
    const rows = list.querySelectorAll(".message");
    const gone = [...rows].slice(Number(list.dataset.most));
    for (const row of gone) row.remove();
    const older = document.querySelector(".pager [rel=next]");
    if (!gone.length || !older) continue;
    const address = new URL(older.href);
    address.searchParams.set("before", [...rows].at(-gone.length - 1).id.slice(2).replace("-", "."));
    older.href = address;
  }
});
