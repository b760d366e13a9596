package storetest

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
)

// checkRace lets many people sign in at once, and each of them read pages, sign in
// once more and sign out at once.
func checkRace(c suite) {
	const people = 12
	s := c.newPlainSite()         // TLS would take most of the time
	s.options.Store = s.tap.Store // without the tap's own synchronization
	s.renew()
	var everybody sync.WaitGroup
	start := make(chan struct{})
	for i := range people {
		everybody.Go(func() {
			b := s.browser(fmt.Sprintf("visitor %d", i))
			<-start
			if _, err := b.trySignIn(); err != nil {
				c.t.Errorf("%s, with others: %v", b.person.Name, err)
				return
			}
			b.doEverything()
		})
	}
	close(start)
	everybody.Wait()
}

// doEverything is called by goroutines.
func (b browser) doEverything() {
	kept := b.cookies()
	apiWith := apiRequest()
	apiWith.Set("Cookie", b.name+"="+kept.session)
	stranger := b
	client := *b.client
	client.Jar = nil
	stranger.client = &client

	var all sync.WaitGroup
	do := func(what string, allowed []state, visit func() (answer, error)) {
		all.Go(func() {
			got, err := visit()
			if err != nil {
				b.t.Errorf("%s, %s while others do, too: %v", b.person.Name, what, err)
			} else if state := b.judge(got); !slices.Contains(allowed, state) {
				b.t.Errorf("%s, %s while others do, too, is %s (status %d, %s), want %v", b.person.Name, what, state, got.status, b.lastError(), allowed)
			}
		})
	}
	either := []state{signedIn, signedOut}
	for range 4 {
		do("reading a page", either, func() (answer, error) { return stranger.try(http.MethodGet, "/", apiWith.Clone()) })
	}
	do("signing in again", either, func() (answer, error) { return b.try(http.MethodGet, "/wechat/login?return_to=/", nil) })
	// The page after it leads on who has just signed in again.
	do("signing out", either, func() (answer, error) { return b.try(http.MethodPost, "/wechat/logout", nil) })
	all.Wait()

	got, err := stranger.try(http.MethodGet, "/", apiWith)
	if err != nil {
		b.t.Error(err)
		return
	}
	kept.wantDeadIn(got, "after signing out while pages were read")
}
