(function () {
  "use strict";
  var key = "wechatgate-form";
  var lifetime = 30 * 60 * 1000;
  var send = document.getElementById("send");

  function show(id) {
    ["kept", "nothing", "discarded"].forEach(function (other) {
      document.getElementById(other).hidden = other !== id;
    });
  }

  function forget() {
    try {
      sessionStorage.removeItem(key);
    } catch (e) {}
  }

  // An address of this site: one slash, then neither a second one nor anything
  // that a browser reads as one or leaves out. A query may hold backslashes.
  function isLocal(action) {
    return typeof action === "string" && /^\/(?:[^\s\/\\?#\x00-\x1f][^\s\\?#\x00-\x1f]*)?(?:\?[^\s#\x00-\x1f]*)?$/.test(action);
  }

  function kept() {
    try {
      var form = JSON.parse(sessionStorage.getItem(key));
      var age = Date.now() - form.time;
      if (age >= 0 && age < lifetime && isLocal(form.action) && Array.isArray(form.fields)) {
        return form;
      }
    } catch (e) {}
    forget();
    return null;
  }

  // Fields may be called "submit" or "appendChild" and hide the form's own
  // properties of that name, so the form is complete before they go in.
  function post(form) {
    var element = document.createElement("form");
    var fields = document.createElement("div");
    element.method = "post";
    element.action = form.action;
    element.acceptCharset = "utf-8";
    element.hidden = true;
    element.appendChild(fields);
    document.body.appendChild(element);
    form.fields.forEach(function (field) {
      var input = document.createElement("input");
      input.type = "hidden";
      input.name = field[0];
      input.value = field[1];
      fields.appendChild(input);
    });
    HTMLFormElement.prototype.submit.call(element);
  }

  send.addEventListener("click", function () {
    var form = kept();
    if (!form) {
      show("nothing");
      return;
    }
    send.disabled = true;
    forget();
    post(form);
  });
  document.getElementById("discard").addEventListener("click", function () {
    forget();
    show("discarded");
  });
  function look() {
    send.disabled = false;
    show(kept() ? "kept" : "nothing");
  }

  look();
  addEventListener("pageshow", look); // coming back to a page that the browser held on to
})();
