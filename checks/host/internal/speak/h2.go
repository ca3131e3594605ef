package speak

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"

	"github.com/loopdoctor/loopdoctor/checks/facts"
)

// The preface of a client that knows already (RFC 9113 section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Frame types and flags (RFC 9113 section 6).
const (
	frameData         = 0
	frameHeaders      = 1
	frameReset        = 3
	frameSettings     = 4
	frameGoAway       = 7
	frameContinuation = 9

	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20

	maxFrame  = 16 << 10 // what a peer may send that was not told otherwise
	maxFrames = 200
)

type frame struct {
	kind, flags byte
	stream      uint32
	payload     []byte
}

var errFrame = errors.New("no frame of HTTP/2")

// readFrame reads nine bytes of head and what they announce.
func readFrame(r io.Reader) (frame, error) {
	var h [9]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return frame{}, err
	}
	n := int(h[0])<<16 | int(h[1])<<8 | int(h[2])
	if n > maxFrame {
		return frame{}, errFrame
	}
	f := frame{kind: h[3], flags: h[4], stream: binary.BigEndian.Uint32(h[5:]) &^ (1 << 31), payload: make([]byte, n)}
	_, err := io.ReadFull(r, f.payload)
	return f, err
}

func appendFrame(b []byte, kind, flags byte, stream uint32, payload []byte) []byte {
	n := len(payload)
	b = append(b, byte(n>>16), byte(n>>8), byte(n), kind, flags)
	return append(binary.BigEndian.AppendUint32(b, stream), payload...)
}

// h2Request is the preface, empty settings and one GET.
func h2Request(q Question) []byte {
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	scheme := "http"
	if q.TLS {
		scheme = "https"
	}
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", scheme}, {":authority", oneLine(q.Host)}, {":path", path(q)}, {"user-agent", "loopdoctor"}, {"accept", "*/*"}} {
		e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	for _, h := range q.Header {
		e.WriteField(hpack.HeaderField{Name: strings.ToLower(oneLine(h.Name)), Value: oneLine(h.Value)})
	}
	b := appendFrame([]byte(preface), frameSettings, 0, 0, nil)
	kind, flags := byte(frameHeaders), byte(flagEndStream)
	for {
		part := block.Next(maxFrame)
		if block.Len() == 0 {
			return appendFrame(b, kind, flags|flagEndHeaders, 1, part)
		}
		b = appendFrame(b, kind, flags, 1, part)
		kind, flags = frameContinuation, 0
	}
}

// h2 asks in HTTP/2.
func (w *wire) h2(q Question, a *facts.Answer) error {
	_, sent := w.Write(h2Request(q))
	r := bufio.NewReader(w)
	if b, err := r.Peek(9); !isSettings(b) {
		if len(b) == 0 {
			return errors.Join(err, sent)
		}
		if mayBeHTTP(b) {
			b, _ = r.Peek(r.Buffered())
			if head, _, ok := cutHead(b); ok {
				a.HTTP = parseHead(head)
			}
			return w.other(bytes.Clone(b), q, a)
		}
		b, _ = r.Peek(r.Buffered())
		return w.other(bytes.Clone(b), q, a)
	}
	a.Protocol, a.End = "h2", facts.Answered
	err := readH2(r, a, func() {
		w.Write(appendFrame(nil, frameSettings, flagAck, 0, nil))
	}, func() { w.within(bodyPause) })
	if a.HTTP == nil && a.Says == "" {
		a.End = ""
	}
	return err
}

// readH2 reads frames until the answer to stream 1 is known.
func readH2(r io.Reader, a *facts.Answer, acknowledge, headed func()) error {
	d := hpack.NewDecoder(4096, nil)
	d.SetMaxStringLength(maxHead)
	var block []byte
	for range maxFrames {
		f, err := readFrame(r)
		if err != nil {
			return err
		}
		p, ok := f.unpadded()
		switch {
		case !ok:
			return errFrame
		case f.kind == frameSettings && f.flags&flagAck == 0:
			acknowledge()
		case f.kind == frameGoAway && len(p) >= 8:
			a.Says = Line([]byte("GOAWAY " + h2Error(binary.BigEndian.Uint32(p[4:])) + " " + string(p[8:])))
			return nil
		case f.kind == frameReset && f.stream == 1 && len(p) >= 4:
			a.Says = "RST_STREAM " + h2Error(binary.BigEndian.Uint32(p))
			return nil
		case (f.kind == frameHeaders || f.kind == frameContinuation) && f.stream == 1:
			if block = append(block, p...); len(block) > maxHead {
				return errTooMuch
			}
			if f.flags&flagEndHeaders == 0 {
				continue
			}
			if a.HTTP != nil { // trailers
				return nil
			}
			h, err := h2Head(d, block)
			if err != nil {
				return err
			}
			block = nil
			if h.Status >= 200 {
				a.HTTP = h
				headed()
			}
			if f.kind == frameHeaders && f.flags&flagEndStream != 0 {
				return nil
			}
		case f.kind == frameData && f.stream == 1 && a.HTTP != nil && len(p) > 0:
			a.HTTP.Body = firstLine(p, a.HTTP)
			return nil
		}
	}
	return errTooMuch
}

// unpadded takes padding and priority off a payload (RFC 9113 sections 6.1, 6.2).
func (f frame) unpadded() ([]byte, bool) {
	p := f.payload
	if f.kind != frameHeaders && f.kind != frameData {
		return p, true
	}
	if f.flags&flagPadded != 0 {
		if len(p) == 0 || int(p[0]) > len(p)-1 {
			return nil, false
		}
		p = p[1 : len(p)-int(p[0])]
	}
	if f.kind == frameHeaders && f.flags&flagPriority != 0 {
		if len(p) < 5 {
			return nil, false
		}
		p = p[5:]
	}
	return p, true
}

// h2Head decodes a block of header fields, whose size unpacked has a limit, too.
func h2Head(d *hpack.Decoder, block []byte) (*facts.HTTPAnswer, error) {
	h := &facts.HTTPAnswer{}
	size := 0
	d.SetEmitFunc(func(f hpack.HeaderField) {
		if size += int(f.Size()); size > maxHead {
			d.SetEmitEnabled(false)
			return
		}
		if f.Name == ":status" {
			h.Status, _ = strconv.Atoi(f.Value)
		}
		keep(h, f.Name, f.Value)
	})
	d.SetEmitEnabled(true)
	if _, err := d.Write(block); err != nil {
		return nil, err
	}
	if h.Status < 100 || h.Status > 999 || size > maxHead {
		return nil, errFrame
	}
	return h, d.Close()
}

// isSettings tells whether a server's side of HTTP/2 begins so: with SETTINGS, or
// GOAWAY of one that gives up at once, both on stream 0.
func isSettings(b []byte) bool {
	if len(b) < 9 || b[0] != 0 || !bytes.Equal(b[5:9], []byte{0, 0, 0, 0}) {
		return false
	}
	n := int(b[1])<<8 | int(b[2])
	return b[3] == frameSettings && b[4]&^flagAck == 0 && n%6 == 0 || b[3] == frameGoAway && b[4] == 0 && n >= 8
}

// h2Error names an error code (RFC 9113 section 7).
func h2Error(code uint32) string {
	names := [...]string{"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR",
		"REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"}
	if int(code) < len(names) {
		return names[code]
	}
	return fmt.Sprintf("error %d", code)
}
