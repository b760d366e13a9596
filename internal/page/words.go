package page

import (
	"html/template"
	"strconv"
	"strings"
)

// words are the texts of a page by their use.
type words map[string]string

// wordsFor returns where to look for the words of a page, one after the other.
func wordsFor(d Data) []words {
	all := pageWords[d.Lang]
	variant := d.Words
	switch d.Name {
	case "reload", "fragment":
		return []words{all["continue"], all["shared"]}
	case "retry", "error":
		if failed, found := all["failed."+variant]; found {
			return []words{failed, all["shared"]}
		}
	case "keep-form":
		variant = d.Form.CannotKeep
	}
	return []words{all[d.Name+"."+variant], all[d.Name], all["shared"]}
}

// Text returns the words for a use, in plain text, as this visitor should read
// them: for inside WeChat, for a phone, for a computer, or for everybody. It is
// "" where there is nothing to say.
func (v view) Text(use string) string {
	place := ":computer"
	switch {
	case v.InWeChat:
		place = ":wechat"
	case v.Phone:
		place = ":phone"
	}
	for _, own := range v.words {
		for _, key := range []string{use + place, use} {
			if text, found := own[key]; found {
				return v.fill(text)
			}
		}
	}
	return ""
}

// Say returns the words for a use as HTML, in which terms that people read as one
// stay on one line.
func (v view) Say(use string) template.HTML {
	return template.HTML(pageTerms.Replace(template.HTMLEscapeString(v.Text(use)))) //nolint:gosec // escaped just before
}

// SayChat is Say, with the number that the person has to send standing out.
func (v view) SayChat(use string) template.HTML {
	number := group(v.Number)
	if number == "" {
		return v.Say(use)
	}
	return template.HTML(strings.ReplaceAll(string(v.Say(use)), number, `<b class="one" id="number">`+number+"</b>")) //nolint:gosec // it was found in escaped text
}

// fill puts this visitor's values into words.
func (v view) fill(text string) string {
	if !strings.Contains(text, "{") {
		return text
	}
	return strings.NewReplacer(
		"{chat}", v.ChatName,
		"{number}", group(v.Number),
		"{host}", v.Host,
		"{tries}", strconv.Itoa(v.TriesLeft),
	).Replace(text)
}

// Grouped returns digits in two groups, as people read them aloud.
func (view) Grouped(digits string) string { return group(digits) }

func group(digits string) string {
	half := (len(digits) + 1) / 2
	return strings.TrimSpace(digits[:half] + " " + digits[half:])
}
