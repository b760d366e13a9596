package main

import (
	"bufio"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/wechatgate/wechatgate"
)

// list is an allow or deny file: people by appid:openid, or by unionid.
type list map[string]time.Time // of a deny line: sessions begun before it end; zero: the person is refused

// find returns what the lines that name a person say: two at most.
func (l list) find(u wechatgate.User) (times []time.Time) {
	for _, name := range [...]string{u.Key(), u.UnionID} {
		if before, found := l[name]; found && name != "" {
			times = append(times, before)
		}
	}
	return times
}

// readList returns the lines that can be read, and what is wrong with the others.
// No problem holds a line: somebody's name may stand there.
func readList(file string, times bool) (list, []error) {
	opened, err := os.Open(file) //nolint:gosec // who starts the program names the file
	if err != nil {
		return nil, []error{err}
	}
	defer opened.Close()
	l, problems := list{}, []error(nil)
	lines := bufio.NewScanner(opened)
	for number := 1; lines.Scan(); number++ {
		line, _, _ := strings.Cut(lines.Text(), "#")
		if number == 1 {
			line = strings.TrimPrefix(line, "\ufeff") // some editors begin a file with it
		}
		fields := strings.Fields(line)
		var before time.Time
		switch {
		case len(fields) == 0:
			continue
		case !couldBePerson(fields[0]):
			problems = append(problems, fmt.Errorf("line %d: want appid:openid or a unionid, of letters, digits, hyphens and underscores", number))
			continue
		case len(fields) == 2 && times:
			if before, err = time.Parse(time.RFC3339, fields[1]); err != nil {
				problems = append(problems, fmt.Errorf("line %d: want a time like 2026-01-31T12:00:00+08:00 behind the person", number))
				continue
			}
		case len(fields) != 1:
			problems = append(problems, fmt.Errorf("line %d: want appid:openid or a unionid, alone", number))
			continue
		}
		if earlier, found := l[fields[0]]; found && (earlier.IsZero() || !before.IsZero() && before.Before(earlier)) {
			continue // the stricter of two lines holds
		}
		l[fields[0]] = before
	}
	if err := lines.Err(); err != nil {
		problems = append(problems, err)
	}
	return l, problems
}

// couldBePerson reports whether a name could be anybody's. A deny line that can never
// name a person would let them in, and say nothing.
func couldBePerson(name string) bool {
	appID, openID, isPair := strings.Cut(name, ":")
	return isID(appID) && (!isPair || isID(openID))
}

func isID(s string) bool {
	return s != "" && strings.IndexFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
	}) < 0
}

// lists are the two files as they were read last.
type lists struct {
	allowFile, denyFile string
	allow, deny         atomic.Pointer[list] // allow is nil where all are allowed
	seenAllow, seenDeny stamp
	lastAllow, lastDeny stamp // at the last look
	log                 *slog.Logger
}

// newLists reads both files. The deny file was found to be good, and may be half
// written by now: then what an earlier site read of it still holds.
func newLists(s *settings, log *slog.Logger, earlier *site) *lists {
	l := &lists{allowFile: s.allowFile, denyFile: s.denyFile, log: log}
	l.deny.Store(&list{})
	if earlier != nil && earlier.denyFile == s.denyFile {
		l.deny.Store(earlier.lists.deny.Load())
	}
	l.seenAllow, l.seenDeny = stamp{unread: true}, stamp{unread: true}
	l.look()
	return l
}

// look reads a file again that has changed and was left alone since the last look:
// half of it would name only some, and the last of them not fully. An allow file
// that cannot be read allows nobody; of a deny file with a mistake, what was read
// before still holds.
func (l *lists) look() {
	if l.allowFile != "" {
		last, now := l.lastAllow, stampOf(l.allowFile)
		l.lastAllow = now
		if now != l.seenAllow && (now == last || l.seenAllow.unread) {
			l.seenAllow = now
			read, problems := readList(l.allowFile, false)
			if len(problems) > 0 {
				l.log.Error("the allow file cannot be read as it should", slog.String("event", "allow file"), slog.String("error", errors.Join(problems...).Error()),
					slog.Int("allowed", len(read)))
			}
			if read == nil {
				read = list{}
			}
			l.allow.Store(&read)
		}
	}
	if l.denyFile != "" {
		last, now := l.lastDeny, stampOf(l.denyFile)
		l.lastDeny = now
		if now != l.seenDeny && (now == last || l.seenDeny.unread) {
			l.seenDeny = now
			read, problems := readList(l.denyFile, true)
			if len(problems) > 0 {
				l.log.Error("the deny file cannot be read as it should: what was read before still holds", slog.String("event", "deny file"), slog.String("error", errors.Join(problems...).Error()))
				for who, before := range *l.deny.Load() {
					if read == nil {
						read = list{}
					}
					if _, found := read[who]; !found {
						read[who] = before
					}
				}
			}
			if read != nil {
				l.deny.Store(&read)
			}
		}
	}
}

var (
	errDenied     = errors.New("the deny file names the person")
	errNotAllowed = errors.New("the allow file does not name the person")
)

// refuse says why a person may not sign in, or nil.
func (l *lists) refuse(u wechatgate.User) error {
	if slices.ContainsFunc(l.deny.Load().find(u), time.Time.IsZero) {
		return errDenied
	}
	if allow := l.allow.Load(); allow != nil && len(allow.find(u)) == 0 {
		return errNotAllowed
	}
	return nil
}

// onLogin is for Options.OnLogin.
func (l *lists) onLogin(_ *http.Request, login *wechatgate.Login) error { return l.refuse(login.User) }

// checkSession is for Options.CheckSession.
func (l *lists) checkSession(_ *http.Request, u wechatgate.User) error {
	if slices.ContainsFunc(l.deny.Load().find(u), u.SignedInAt.Before) {
		return wechatgate.ErrSessionRevoked
	}
	if l.refuse(u) != nil {
		return wechatgate.ErrSessionRevoked
	}
	return nil
}

// stamp tells whether a file is the one that was read.
type stamp struct {
	modified int64
	size     int64
	mode     os.FileMode
	missing  bool
	unread   bool // no file has this
}

func stampOf(file string) stamp {
	info, err := os.Stat(file)
	if err != nil {
		return stamp{missing: true}
	}
	return stamp{modified: info.ModTime().UnixNano(), size: info.Size(), mode: info.Mode()}
}
