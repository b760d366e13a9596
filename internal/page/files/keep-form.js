(function () {
  "use strict";
  var show = "kept";
  try {
    var form = JSON.parse(document.getElementById("form-data").textContent);
    form.time = Date.now();
    sessionStorage.setItem("wechatgate-form", JSON.stringify(form));
  } catch (e) {
    show = "lost"; // storage is full or switched off
  }
  document.getElementById(show).hidden = false;
})();
