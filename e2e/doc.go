// Package e2e drives a real Chromium through gated sites. Its tests see what the
// gate's own cannot: what a browser does with cookies after redirects from another
// site, with "#" in addresses, with Back, with frames, with forms, with the storage
// of a tab and with a Content-Security-Policy. TestWalk looks at every page of the
// gate on every screen, with axe-core.
//
// A test needs the programs chromium and nginx on PATH. Where one is missing its
// tests are skipped, except in CI. What the pages looked like is in screenshots/;
// TestPictures makes the pictures of the READMEs.
package e2e
