// What every page does with its library, and what it says of itself: `called` when all calls are made.
export const values = { price: 19.5, count: 3, gift: true, label: "Größe", tags: ["a", "b"], nested: { deep: 1 } };

export async function callAll(analytics, { screen = true, alias = true, reset = () => analytics.reset() } = {}) {
  const pause = () => new Promise((resolve) => setTimeout(resolve, 300));
  await analytics.identify("user-1", values);
  await analytics.track("Tested", values);
  await analytics.page("Home", values);
  if (screen) await analytics.screen("Main", values);
  await analytics.group("group-1", values);
  for (let n = 0; n < 25; n++) analytics.track("Batched", { n });
  await pause();
  if (alias) await analytics.alias("user-2", "anonymous-1");
  await pause();
  await reset();
  await pause();
  await analytics.track("After Reset", values);
  await pause();
  window.called = true;
}
