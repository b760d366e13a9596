// A single-page app: a script changes the address, and asks js-config to sign it.
const landing = location.href.split("#")[0]; // before anything changes it
const answer = document.getElementById("wx-answer");
const shown = document.getElementById("tea");

function say(text) {
  answer.textContent = text;
  answer.dataset.said = text;
  answer.dataset.at = location.search;
}

async function configure() {
  if (!window.wx) return; // not in WeChat
  // WeChat on iOS wants the address that was loaded first, on Android the present one.
  const isIOS = /iPhone|iPad|iPod/.test(navigator.userAgent);
  const page = isIOS ? landing : location.href.split("#")[0];
  const response = await fetch("wechat/js-config?url=" + encodeURIComponent(page));
  const config = await response.json();
  if (!response.ok) return say("js-config: " + config.error);
  wx.ready(() => say("config:ok"));
  wx.error((problem) => say(problem.errMsg));
  wx.config({ ...config, jsApiList: ["updateAppMessageShareData"] });
}

function show() {
  shown.textContent = new URLSearchParams(location.search).get("tea") || "all teas";
  configure();
}

for (const link of document.querySelectorAll("a[data-route]")) {
  link.addEventListener("click", (event) => {
    event.preventDefault();
    history.pushState(null, "", link.href);
    show();
  });
}
addEventListener("popstate", show);
show();
