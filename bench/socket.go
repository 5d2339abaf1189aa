package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
)

// socket is the client's end of a WebSocket that does no more than is needed:
// thousands of clients share this machine with the portal that is measured, and
// what they cost it lacks.
type socket struct {
	net.Conn
	r   *bufio.Reader
	buf []byte
}

// The kinds of frames.
const (
	opText  = 1
	opClose = 8
	opPing  = 9
	opPong  = 10
)

// dialSocket makes the hand-shake, from the given address.
func dialSocket(ctx context.Context, host, path, token string, from net.IP) (*socket, error) {
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}).DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	_, err = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", path, host, token)
	s := &socket{Conn: conn, r: bufio.NewReaderSize(conn, 8<<10)}
	if err == nil {
		var resp *http.Response
		if resp, err = http.ReadResponse(s.r, nil); err == nil && resp.StatusCode != http.StatusSwitchingProtocols {
			err = fmt.Errorf("hand-shake: %s", resp.Status)
		}
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return s, nil
}

// send writes one frame, with a mask of zeros.
func (s *socket) send(op byte, data []byte) error {
	frame := []byte{0x80 | op}
	switch n := len(data); {
	case n < 126:
		frame = append(frame, 0x80|byte(n))
	case n < 1<<16:
		frame = binary.BigEndian.AppendUint16(append(frame, 0x80|126), uint16(n))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, 0x80|127), uint64(n))
	}
	_, err := s.Write(append(append(frame, 0, 0, 0, 0), data...))
	return err
}

// next gives the next message, which is good until the one after it is read.
func (s *socket) next() ([]byte, error) {
	for {
		var head [8]byte
		if _, err := io.ReadFull(s.r, head[:2]); err != nil {
			return nil, err
		}
		op, n := head[0]&15, uint64(head[1]&127)
		if more := map[uint64]int{126: 2, 127: 8}[n]; more > 0 {
			clear(head[:])
			if _, err := io.ReadFull(s.r, head[8-more:]); err != nil {
				return nil, err
			}
			n = binary.BigEndian.Uint64(head[:])
		}
		if uint64(cap(s.buf)) < n {
			s.buf = make([]byte, n)
		}
		s.buf = s.buf[:n]
		if _, err := io.ReadFull(s.r, s.buf); err != nil {
			return nil, err
		}
		switch op {
		case opText:
			return s.buf, nil
		case opPing:
			if err := s.send(opPong, s.buf); err != nil {
				return nil, err
			}
		case opClose:
			return nil, io.EOF
		}
	}
}
