// One client library for Node, with only its host changed: node node.mjs <library> <address> <write key>
const [library, address, key] = process.argv.slice(2);
const values = { price: 19.5, count: 3, gift: true, label: "Größe", tags: ["a", "b"], nested: { deep: 1 } };
const userId = "user-1", many = [...Array(25).keys()];

const run = {
  "segment-node": () => segment("@segment/analytics-node"),
  "segment-node-2": () => segment("@segment/analytics-node-2"),
  "analytics-node-6": analyticsNode6,
  "rudderstack-node": rudderstack,
  "jitsu-node": jitsu,
};
await run[library]();

async function segment(name) {
  const { Analytics } = await import(name);
  const analytics = new Analytics({ writeKey: key, host: address, flushAt: 10, flushInterval: 200 });
  analytics.on("error", (error) => console.error(error));
  sendAll(analytics);
  await analytics.flush({ close: false });
  analytics.track({ userId, event: "Flushed", properties: values });
  await analytics.closeAndFlush();
}

async function analyticsNode6() {
  const { default: Analytics } = await import("analytics-node");
  const analytics = new Analytics(key, { host: address, flushAt: 10, flushInterval: 200 });
  sendAll(analytics);
  await flushed(analytics);
  analytics.track({ userId, event: "Flushed", properties: values });
  await flushed(analytics);
}

async function rudderstack() {
  const { default: Analytics } = await import("@rudderstack/rudder-sdk-node");
  const analytics = new Analytics(key, { dataPlaneUrl: address, flushAt: 10, flushInterval: 200 });
  sendAll(analytics);
  await settled();
  analytics.track({ userId, event: "Flushed", properties: values });
  await flushed(analytics);
  await settled();
}

async function jitsu() {
  const { jitsuAnalytics } = await import("@jitsu/js");
  const analytics = jitsuAnalytics({ host: address, writeKey: `${key}:secret`, s2s: true });
  await analytics.identify(userId, values);
  await analytics.track("Tested", values);
  await analytics.page({ name: "Home", ...values });
  await analytics.group("group-1", values);
  await Promise.all(many.map((n) => analytics.track("Batched", { n })));
  await analytics.reset();
  await analytics.track("After Reset", values);
  await settled();
}

function sendAll(analytics) {
  analytics.identify({ userId, traits: values });
  analytics.track({ userId, event: "Tested", properties: values });
  analytics.page({ userId, name: "Home", properties: values });
  analytics.screen({ userId, name: "Main", properties: values });
  analytics.group({ userId, groupId: "group-1", traits: values });
  analytics.alias({ userId, previousId: "anonymous-1" });
  for (const n of many) analytics.track({ userId, event: "Batched", properties: { n } });
}

function flushed(analytics) {
  return new Promise((resolve) => analytics.flush(() => resolve()));
}

function settled() {
  return new Promise((resolve) => setTimeout(resolve, 5000));
}
