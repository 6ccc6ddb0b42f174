// What React Native's libraries need of the phone, in Node: no native modules, one state of the app, no storage.
export const NativeModules = {
  AnalyticsReactNative: {
    getContextInfo: async () => ({ appName: "Shop", deviceType: "ios", timezone: "UTC", locale: "en", osName: "iOS" }),
  },
};
export const Platform = { OS: "ios", Version: 17, select: (by) => by.ios ?? by.default };
export const AppState = { currentState: "active", addEventListener: () => ({ remove() {} }) };
export const Linking = { getInitialURL: async () => null, addEventListener: () => ({ remove() {} }) };
export const AppRegistry = {};
export class NativeEventEmitter {
  addListener() {
    return { remove() {} };
  }
}
export default { NativeModules, Platform, AppState, Linking };
