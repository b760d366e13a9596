// Leads TLS connections to WeChat's hosts to the fake, which has a certificate
// for them. The clients are not changed.
import tls from "node:tls";

const connect = tls.connect;
tls.connect = function (...args) {
  const options = typeof args[0] === "object" ? args[0] : args.find((arg) => typeof arg === "object");
  const host = options?.servername || options?.host;
  if (host?.endsWith(".weixin.qq.com")) {
    const callback = args.findLast((arg) => typeof arg === "function");
    return connect.call(tls, { ...options, servername: host, host: "127.0.0.1", port: Number(process.env.FAKE_PORT), path: undefined }, callback);
  }
  return connect.apply(tls, args);
};
