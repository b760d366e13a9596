// The part of WeChat's jweixin that the example uses.
(() => {
  const weChat = new URL(document.currentScript.src).origin;
  const landing = location.href;
  // WeChat on iOS compares the signature with the address that was loaded first.
  const isIOS = /iPhone|iPad|iPod/.test(navigator.userAgent);
  let onReady = () => {};
  let onError = () => {};

  window.wx = {
    ready(f) { onReady = f; },
    error(f) { onError = f; },
    async config({ appId, timestamp, nonceStr, signature, jsApiList }) {
      const page = isIOS ? landing : location.href;
      const body = new URLSearchParams({ page, appId, timestamp, nonceStr, signature });
      const answer = await (await fetch(weChat + "/wx-config", { method: "POST", body })).text();
      if (answer === "config:ok" && jsApiList.length > 0) onReady();
      else onError({ errMsg: answer });
    },
    updateAppMessageShareData({ success }) { success({ errMsg: "updateAppMessageShareData:ok" }); },
    updateTimelineShareData({ success }) { success({ errMsg: "updateTimelineShareData:ok" }); },
  };
})();
