(function () {
  "use strict";
  // The address ends in return_to=, so the fragment becomes the target's.
  var address = document.getElementById("continue").href;
  if (location.hash !== "#wechat_redirect") {
    address += encodeURIComponent(location.hash);
  }
  location.replace(address);
})();
