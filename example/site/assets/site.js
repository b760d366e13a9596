// What a page does about 401 from the gate: it offers the way to sign in, and
// leaves the moment to the person, who may be in the middle of something.
const [ask, signIn, status, answer] = ["ask", "sign-in", "status", "answer"].map((id) => document.getElementById(id));

function show(text, json) {
  status.textContent = text;
  answer.textContent = json ? JSON.stringify(json, null, 2) : "";
  status.hidden = false;
  answer.hidden = !json;
}

ask.addEventListener("click", async () => {
  signIn.hidden = true;
  try {
    const response = await fetch("api/me");
    const body = await response.json();
    if (response.status === 401 && body.error === "login_required") {
      const url = new URL(body.login_url);
      url.searchParams.set("return_to", "/");
      signIn.href = url;
      signIn.hidden = false;
    }
    show(`The answer is ${response.status}:`, body);
  } catch {
    show("The site did not answer as it should. Try again in a moment.");
  }
});
