// A page that the server renders: the handler has signed its address.
const answer = document.getElementById("wx-answer");

function say(text) {
  answer.textContent = text;
  answer.dataset.said = text;
}

const config = JSON.parse(document.getElementById("wx-config").textContent);
wx.ready(() => {
  const success = () => say("config:ok");
  const card = {
    title: "Spring tea · 春茶",
    desc: "Picked in April · 四月采摘",
    link: location.href.split("#")[0],
    imgUrl: new URL("assets/icon.svg", location.href).href,
    success,
  };
  wx.updateAppMessageShareData(card);
  wx.updateTimelineShareData(card);
});
wx.error((problem) => say(problem.errMsg));
if (config.appId) {
  wx.config({ ...config, jsApiList: ["updateAppMessageShareData", "updateTimelineShareData"] });
} else {
  say("no ticket: see the log");
}
