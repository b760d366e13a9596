(function () {
  "use strict";
  // The address ends in return_to=, so the fragment becomes the target's.
  var link = document.getElementById("continue");
  if (location.hash !== "#wechat_redirect") {
    link.href += encodeURIComponent(location.hash);
  }
  location.replace(link.href);
})();
