// Signs one person in with one client: prints the address to which the client
// sends them, reads the address where they come back, and prints who they are.
import readline from "node:readline/promises";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const [name, appid, secret, base] = process.argv.slice(2);
const state = "0123456789abcdef";
const input = readline.createInterface({ input: process.stdin });
const say = (value) => process.stdout.write(JSON.stringify(value) + "\n");
const codeFrom = (address) => new URL(address).searchParams.get("code");
const visitTo = async (address) => {
  say(address);
  return (await input[Symbol.asyncIterator]().next()).value;
};

const clients = {
  async "co-wechat-oauth"() {
    const OAuth = require("co-wechat-oauth");
    const client = new OAuth(appid, secret);
    const code = codeFrom(await visitTo(client.getAuthorizeURL(base + "/callback", state, "snsapi_userinfo")));
    const token = await client.getAccessToken(code);
    const user = await client.getUser(token.data.openid);
    return { openid: user.openid, unionid: user.unionid, nickname: user.nickname };
  },

  async "co-wechat-oauth, by QR code"() {
    const OAuth = require("co-wechat-oauth");
    const client = new OAuth(appid, secret);
    const code = codeFrom(await visitTo(client.getAuthorizeURLForWebsite(base + "/callback", state)));
    const user = await client.getUserByCode(code);
    return { openid: user.openid, unionid: user.unionid, nickname: user.nickname };
  },

  async "wechat-jssdk"() {
    const { OAuth, Store } = require("wechat-jssdk");
    class Forgetful extends Store {
      constructor() { super({ interval: 1000 }); clearInterval(this.timer); }
    }
    const client = new OAuth({ appId: appid, appSecret: secret, wechatRedirectUrl: base + "/callback", store: new Forgetful() });
    const code = codeFrom(await visitTo(client.generateOAuthUrl(base + "/callback", "snsapi_userinfo", state)));
    const user = await client.getUserInfo(code, "somebody");
    return { openid: user.openid, unionid: user.unionid, nickname: user.nickname };
  },

  async "Auth.js"() {
    const { Auth } = await import("@auth/core");
    const { default: WeChat } = await import("@auth/core/providers/wechat");
    let who;
    const config = {
      basePath: "/auth", trustHost: true, secret: "0123456789abcdef0123456789abcdef",
      providers: [WeChat({ clientId: appid, clientSecret: secret, platformType: "WebsiteApp" })],
      callbacks: { signIn({ profile }) { who = profile; return true; } },
      logger: { error(error) { process.stderr.write(String(error.cause?.err?.stack ?? error.stack) + "\n"); } },
    };
    const jar = new Map();
    const ask = async (address, init = {}) => {
      const cookie = [...jar].map((pair) => pair.join("=")).join("; ");
      const response = await Auth(new Request(address, { ...init, headers: { ...init.headers, cookie } }), config);
      for (const line of response.headers.getSetCookie()) {
        const [, key, value] = /^([^=]+)=([^;]*)/.exec(line);
        jar.set(key, value);
      }
      return response;
    };
    const { csrfToken } = await (await ask(base + "/auth/csrf")).json();
    const sent = await ask(base + "/auth/signin/wechat", {
      method: "POST", body: new URLSearchParams({ csrfToken }), headers: { "Content-Type": "application/x-www-form-urlencoded" },
    });
    await ask(await visitTo(sent.headers.get("location")));
    const session = await (await ask(base + "/auth/session")).json();
    return { openid: who?.openid, unionid: who?.unionid, nickname: session?.user?.name };
  },
};

say(await clients[name]());
process.exit(0);
