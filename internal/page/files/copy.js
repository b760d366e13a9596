(function () {
  "use strict";
  function serve(box) {
    var address = box.querySelector("textarea");
    var button = box.querySelector("button");
    var status = box.querySelector("[role=status]");

    function say(copied) {
      status.textContent = status.getAttribute(copied ? "data-copied" : "data-failed");
    }

    // For plain http, old browsers and refusals. What could not be copied stays selected.
    function copySelection() {
      var copied = false;
      address.focus();
      address.setSelectionRange(0, address.value.length);
      try {
        copied = document.execCommand("copy");
      } catch (e) {}
      if (copied) {
        button.focus();
      }
      say(copied);
    }

    button.hidden = false;
    button.addEventListener("click", function () {
      status.textContent = "";
      if (!navigator.clipboard) {
        copySelection();
        return;
      }
      navigator.clipboard.writeText(address.value).then(function () {
        say(true);
      }, copySelection);
    });
  }

  Array.prototype.forEach.call(document.querySelectorAll(".copy"), serve);
})();
