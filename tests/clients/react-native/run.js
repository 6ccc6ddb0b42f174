// The core of Segment's library for React Native: node <bundle> <address> <write key>
import { createClient, CountFlushPolicy } from "@segment/analytics-react-native";

const [address, key] = process.argv.slice(2);
const values = { price: 19.5, count: 3, gift: true, label: "Größe", tags: ["a", "b"], nested: { deep: 1 } };
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

globalThis.__DEV__ = false;
const analytics = createClient({
  writeKey: key,
  proxy: `${address}/v1`,
  cdnProxy: `${address}/v1`,
  useSegmentEndpoints: true,
  allowInsecureProxy: true,
  debug: false,
  flushPolicies: [new CountFlushPolicy(10)],
  storePersistor: undefined,
});
await pause(1500);
await analytics.identify("user-1", values);
await analytics.track("Tested", values);
await analytics.screen("Main", values);
await analytics.group("group-1", values);
for (let n = 0; n < 25; n++) await analytics.track("Batched", { n });
await pause(500);
await analytics.flush();
await analytics.track("Flushed", values);
await analytics.flush();
await pause(2500);
await analytics.flush();
await analytics.alias("user-2");
await pause(300);
await analytics.reset();
await pause(300);
await analytics.track("After Reset", values);
await analytics.flush();
await pause(2500);
await analytics.flush();
await pause(500);
process.exit(0);
