import { RudderAnalytics } from "@rudderstack/analytics-js/bundled";
import { callAll } from "./calls.js";

const analytics = (window.analytics = new RudderAnalytics());
analytics.load(CLIENT_KEY, CLIENT_HOST, {
  configUrl: CLIENT_HOST,
  useBeacon: true,
  beaconQueueOptions: { flushQueueInterval: 500 },
});
analytics.ready(() => callAll(analytics, { screen: false, reset: () => analytics.reset(true) }));
