import { values } from "./calls.js";

const data = JSON.stringify({ writeKey: CLIENT_KEY, userId: "user-1", event: "Tested", properties: values });
const image = new Image();
image.onload = () => (window.called = image.width === 1);
image.src = `${CLIENT_HOST}/v1/pixel/track?data=${encodeURIComponent(btoa(unescape(encodeURIComponent(data))))}`;
