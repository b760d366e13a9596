package page

import (
	"strconv"
	"strings"

	"rsc.io/qr"
)

// drawing is a QR code as an SVG path, one unit per module, in a square with the
// quiet zone of four modules that scanners need.
type drawing struct {
	Path  string
	Width int
}

// draw returns nil for no address, and for one that is too long for any QR code.
func draw(address string) *drawing {
	const quiet = 4
	if address == "" {
		return nil
	}
	code, err := qr.Encode(address, qr.M)
	if err != nil {
		code, err = qr.Encode(address, qr.L)
	}
	if err != nil {
		return nil
	}
	var b strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			begin := x
			for code.Black(x, y) { // white beyond the edge
				x++
			}
			if x > begin {
				length := strconv.Itoa(x - begin)
				b.WriteString("M" + strconv.Itoa(begin+quiet) + " " + strconv.Itoa(y+quiet) + "h" + length + "v1h-" + length + "z")
			}
		}
	}
	return &drawing{b.String(), code.Size + 2*quiet}
}
