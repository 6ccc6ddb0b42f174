import { values } from "./calls.js";

// No library: what a page sends by itself, with a type that makes the browser ask first, and with cookies.
const blob = (message) => new Blob([JSON.stringify(message)], { type: "application/json" });
const who = { writeKey: CLIENT_KEY, userId: "user-1" };
navigator.sendBeacon(`${CLIENT_HOST}/v1/track`, blob({ ...who, event: "Tested", properties: values }));
window.analytics = {
  track: (event) => navigator.sendBeacon(`${CLIENT_HOST}/v1/track`, blob({ ...who, event, properties: values })),
};
await fetch(`${CLIENT_HOST}/v1/page`, {
  method: "POST",
  credentials: "include",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ ...who, name: "Home", properties: values }),
});
window.called = true;
