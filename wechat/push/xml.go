package push

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"unicode/utf8"
)

// element is a child of the document's root.
type element struct {
	text string
	leaf bool // has no elements in it
}

// maxDepth is more than any push of WeChat's has.
const maxDepth = 16

var (
	errJSON      = errors.New("JSON where XML is expected")
	errUTF8      = errors.New("invalid UTF-8")
	errDoctype   = errors.New("a DOCTYPE or another directive")
	errXML       = errors.New("broken XML")
	errXMLForm   = errors.New("XML in a form that WeChat does not write")
	errDuplicate = errors.New("an element is there twice")
	errTrailing  = errors.New("something behind the document")
)

// maxMarks is more than any envelope of WeChat's has of "<" and of "=", with one of
// which each element and each attribute begins.
const maxMarks = 256

// readEnvelope does as readXML for a document that anybody may have written, since
// its signature is inside: one of ten thousand elements or attributes would cost
// fifty times its length.
func readEnvelope(document []byte) (map[string]element, error) {
	if bytes.Count(document, []byte("<")) > maxMarks || bytes.Count(document, []byte("=")) > maxMarks {
		return nil, errXMLForm
	}
	return readXML(document)
}

// readXML reads a document of the form <xml><Name>text</Name>…</xml>, WeChat's
// only one, and returns the root's children by name. It is stricter than
// encoding/xml, which takes the last of two elements, ignores what follows a
// document, and reads around comments: other readers see another message there.
// Its errors quote nothing of the document.
func readXML(document []byte) (map[string]element, error) {
	if first := bytes.TrimLeft(document, " \t\r\n"); len(first) > 0 && (first[0] == '{' || first[0] == '[') {
		return nil, errJSON
	}
	if !utf8.Valid(document) {
		return nil, errUTF8
	}
	decoder := xml.NewDecoder(bytes.NewReader(document))
	var (
		elements = map[string]element{}
		name     string // of the root's child
		text     strings.Builder
		leaf     bool
		depth    int
		ended    bool // the root
	)
	for first := true; ; first = false {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) && ended {
			return elements, nil
		}
		if err != nil {
			return nil, errXML
		}
		switch token := token.(type) {
		case xml.Directive:
			return nil, errDoctype
		case xml.ProcInst:
			if token.Target != "xml" || !first {
				return nil, errXMLForm
			}
		case xml.StartElement:
			switch depth++; {
			case ended:
				return nil, errTrailing
			case len(token.Attr) > 0 || token.Name.Space != "" || strings.Contains(token.Name.Local, ":") || depth > maxDepth:
				return nil, errXMLForm
			case depth == 1 && token.Name.Local != "xml":
				return nil, errXMLForm
			case depth == 2:
				name, leaf = token.Name.Local, true
				if _, twice := elements[name]; twice {
					return nil, errDuplicate
				}
				text.Reset()
			case depth > 2:
				leaf = false
			}
		case xml.EndElement:
			switch depth--; depth {
			case 1:
				elements[name] = element{text.String(), leaf}
			case 0:
				ended = true
			}
		case xml.CharData:
			switch {
			case depth == 2:
				text.Write(token)
			case depth < 2 && len(bytes.TrimSpace(token)) > 0:
				return nil, errXMLForm
			}
		default: // comments
			return nil, errXMLForm
		}
	}
}
