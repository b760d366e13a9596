// The query may hold a code that is still good. It must not stay in the address,
// where a screenshot or a shared link takes it along.
history.replaceState(null, "", location.pathname);
