import { AnalyticsBrowser } from "@segment/analytics-next";
import { callAll } from "./calls.js";

const analytics = (window.analytics = AnalyticsBrowser.load({ writeKey: CLIENT_KEY, cdnURL: CLIENT_HOST }));
callAll(analytics);
