(function () {
  "use strict";
  var frame = document.getElementById("frame");
  var end = Date.now() + frame.getAttribute("data-seconds") * 1000;
  // By the clock, not by one long timer: timers stand still while a computer sleeps.
  var timer = setInterval(function () {
    if (Date.now() < end) {
      return;
    }
    clearInterval(timer);
    document.getElementById("scan").hidden = true;
    frame.parentNode.removeChild(frame); // it asks WeChat again and again
    document.getElementById("expired").hidden = false;
  }, 1000);
})();
