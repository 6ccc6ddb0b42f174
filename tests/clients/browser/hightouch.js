import { HtEventsBrowser } from "@ht-sdks/events-sdk-js-browser";
import { callAll } from "./calls.js";

const host = CLIENT_HOST.replace("http://", "");
const analytics = (window.analytics = HtEventsBrowser.load(
  { writeKey: CLIENT_KEY },
  { apiHost: host, protocol: "http" },
));
callAll(analytics);
