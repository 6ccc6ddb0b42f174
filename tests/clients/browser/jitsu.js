import { callAll } from "./calls.js";

// The script of the page's head is there, or will be: it calls whoever waits for it.
(window.jitsuQ = window.jitsuQ || []).push((jitsu) => {
  window.analytics = jitsu;
  callAll(jitsu, { screen: false, alias: false });
});
