import { AnalyticsBrowser } from "@segment/analytics-next";
import { callAll } from "./calls.js";

// As the console's settings say it by itself where it is reached by HTTPS.
const deliveryStrategy = { strategy: "batching", config: { size: 10, timeout: 1000 } };
const analytics = (window.analytics = AnalyticsBrowser.load(
  { writeKey: CLIENT_KEY, cdnURL: CLIENT_HOST },
  { integrations: { "Segment.io": { deliveryStrategy } } },
));
callAll(analytics);
