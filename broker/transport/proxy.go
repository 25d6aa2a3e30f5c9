package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/netip"
)

// proxySignature opens every PROXY protocol v2 header. It cannot be the start of MQTT, TLS or HTTP.
var proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")

// proxyV1 opens the text header of version 1.
var proxyV1 = []byte("PROXY")

const (
	proxyFixed   = 16   // bytes before the addresses
	maxProxyBody = 4096 // addresses and TLVs; what balancers send is far below
	tlvCRC32C    = 0x03
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// readProxyHeader reads a PROXY protocol v2 header from r, and not a byte more, and returns the client's address. ok is
// false when the header tells none, as for a balancer's own health checks: then the peer's address counts. All errors
// but those of r wrap ErrProxyHeader.
//
//	 0  signature, 12 bytes
//	12  version (2), command (0 LOCAL, 1 PROXY)
//	13  family (0 unspec, 1 IPv4, 2 IPv6, 3 unix), protocol (0 unspec, 1 stream, 2 datagram)
//	14  length of what follows
//	16  source, destination, source port, destination port, TLVs
//
// Version 1 is refused: its text has no length in front, and whoever can speak it can speak version 2.
func readProxyHeader(r io.Reader) (addr netip.AddrPort, ok bool, err error) {
	head := make([]byte, proxyFixed, proxyFixed+64)
	for have := 0; have < len(head); {
		n, err := r.Read(head[have:])
		have += n
		if k := min(have, len(proxySignature)); !bytes.Equal(head[:k], proxySignature[:k]) {
			if v1 := proxyV1[:min(have, len(proxyV1))]; bytes.HasPrefix(head, v1) {
				if err == nil && len(v1) < len(proxyV1) {
					continue // too little to tell
				}
				return netip.AddrPort{}, false, fmt.Errorf("%w: this is version 1; "+
					"switch the proxy to version 2 (HAProxy: send-proxy-v2)", ErrProxyHeader)
			}
			return netip.AddrPort{}, false, fmt.Errorf("%w: the connection starts without one; "+
				"switch it on in the proxy or proxy_protocol off here", ErrProxyHeader)
		}
		if err != nil && have < len(head) {
			return netip.AddrPort{}, false, shortHeader(err)
		}
	}
	length := int(binary.BigEndian.Uint16(head[14:]))
	if length > maxProxyBody {
		return netip.AddrPort{}, false, fmt.Errorf("%w: %d bytes, at most %d are taken", ErrProxyHeader, length, maxProxyBody)
	}
	all := append(head, make([]byte, length)...)
	if _, err := io.ReadFull(r, all[proxyFixed:]); err != nil {
		return netip.AddrPort{}, false, shortHeader(err)
	}
	return parseProxyHeader(all)
}

func shortHeader(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends too early", ErrProxyHeader)
	}
	return fmt.Errorf("read PROXY header: %w", err)
}

// parseProxyHeader judges a header whose signature and length have been checked.
func parseProxyHeader(b []byte) (addr netip.AddrPort, ok bool, err error) {
	bad := func(format string, args ...any) (netip.AddrPort, bool, error) {
		return netip.AddrPort{}, false, fmt.Errorf("%w: %s", ErrProxyHeader, fmt.Sprintf(format, args...))
	}
	if v := b[12] >> 4; v != 2 {
		return bad("version %d", v)
	}
	command, family, protocol := b[12]&0x0f, b[13]>>4, b[13]&0x0f
	if command > 1 {
		return bad("command %d", command)
	}
	size := [...]int{0, 12, 36, 216}
	if int(family) >= len(size) || protocol > 2 {
		return bad("address family %d, protocol %d", family, protocol)
	}
	if command == 0 { // LOCAL: the rest is to be ignored
		return netip.AddrPort{}, false, nil
	}
	body := b[proxyFixed:]
	if len(body) < size[family] {
		return bad("%d bytes are too few for address family %d", len(body), family)
	}
	if err := checkTLVs(b, proxyFixed+size[family]); err != nil {
		return netip.AddrPort{}, false, err
	}
	if family == 0 || protocol == 0 || family == 3 {
		return netip.AddrPort{}, false, nil
	}
	if protocol == 2 {
		return bad("datagrams on a stream listener")
	}
	if family == 1 {
		ip := netip.AddrFrom4([4]byte(body[:4]))
		return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(body[8:])), true, nil
	}
	ip := netip.AddrFrom16([16]byte(body[:16])).Unmap()
	return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(body[32:])), true, nil
}

// checkTLVs walks the extensions from at on and verifies the checksum where there is one.
func checkTLVs(b []byte, at int) error {
	for rest := b[at:]; len(rest) > 0; {
		if len(rest) < 3 {
			return fmt.Errorf("%w: extension ends too early", ErrProxyHeader)
		}
		kind, length := rest[0], int(binary.BigEndian.Uint16(rest[1:]))
		if len(rest) < 3+length {
			return fmt.Errorf("%w: extension %#x ends too early", ErrProxyHeader, kind)
		}
		if value := rest[3 : 3+length]; kind == tlvCRC32C {
			if length != 4 {
				return fmt.Errorf("%w: checksum of %d bytes", ErrProxyHeader, length)
			}
			want := binary.BigEndian.Uint32(value)
			clear(value) // the sum is made over zeros in its place
			got := crc32.Checksum(b, castagnoli)
			binary.BigEndian.PutUint32(value, want)
			if got != want {
				return fmt.Errorf("%w: wrong checksum", ErrProxyHeader)
			}
		}
		rest = rest[3+length:]
	}
	return nil
}
