// Package e2e drives a real Chromium through gated sites. Its tests see what the
// gate's own cannot: what a browser does with cookies after redirects from another
// site, with "#" in addresses, with Back, with frames and with a
// Content-Security-Policy.
//
// A test needs the program chromium on PATH. Where it is missing the tests are
// skipped, except in CI. What the pages looked like is in screenshots/.
package e2e
