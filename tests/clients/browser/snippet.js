import { callAll } from "./calls.js";

// The page's snippet is in its head: calls before the script is there are kept by it.
window.analytics.ready(() => callAll(window.analytics));
