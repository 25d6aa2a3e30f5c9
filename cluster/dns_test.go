package cluster_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/madang-chat/madang/cluster"
)

// zone is a name server on loopback. It answers what it has, and for everything else that there is no such name.
type zone struct {
	hosts map[string][]string // name -> IPv4 addresses
	srv   map[string][]string // name -> host:port
}

// serve answers until the test ends and returns a resolver that asks it.
func (z *zone) serve(t *testing.T) *net.Resolver {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			if answer, err := z.answer(buf[:n]); err == nil {
				_, _ = pc.WriteTo(answer, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
}

func (z *zone) answer(query []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil {
		return nil, err
	}
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	q := m.Questions[0]
	name := strings.TrimSuffix(q.Name.String(), ".")
	head := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: dnsmessage.ClassINET, TTL: 1}
	switch {
	case z.hosts[name] == nil && z.srv[name] == nil:
		m.RCode = dnsmessage.RCodeNameError
	case q.Type == dnsmessage.TypeA:
		for _, a := range z.hosts[name] {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: [4]byte(net.ParseIP(a).To4())}})
		}
	case q.Type == dnsmessage.TypeSRV:
		for _, at := range z.srv[name] {
			host, port, _ := net.SplitHostPort(at)
			target, err := dnsmessage.NewName(host + ".")
			if err != nil {
				return nil, err
			}
			n, err := net.LookupPort("tcp", port)
			if err != nil {
				return nil, err
			}
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.SRVResource{Target: target, Port: uint16(n)}})
		}
	}
	return m.Pack()
}

// Nodes find each other by a name with several addresses, and by SRV records; a name that is not there yet is asked again.
func TestNodesFindEachOtherByName(t *testing.T) {
	_, port, err := net.SplitHostPort(freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{
		hosts: map[string][]string{"nodes.test": {"127.0.0.1", "127.0.0.2", "127.0.0.3"}},
		srv:   map[string][]string{"_madang._tcp.test": {"n1.test:" + port, "n2.test:" + port, "n3.test:" + port}},
	}
	for i, a := range z.hosts["nodes.test"] {
		z.hosts[fmt.Sprintf("n%d.test", i+1)] = []string{a}
	}
	for name, seeds := range map[string][]string{
		"addresses": {"dns:nodes.test:" + port, "dns:nobody.test:" + port}, "SRV": {"dns+srv:_madang._tcp.test"},
	} {
		t.Run(name, func(t *testing.T) {
			resolver := z.serve(t)
			base := t.TempDir()
			var configs []cluster.Config
			for i := range 3 {
				cfg := testConfig(t, filepath.Join(base, fmt.Sprint(i)))
				cfg.NodeID, cfg.Expect, cfg.Seeds, cfg.DNS = fmt.Sprint("n", i), 3, seeds, resolver
				cfg.Address = fmt.Sprintf("127.0.0.%d:%s", i+1, port)
				withPort(t, &cfg)
				cfg.Port.DialWith((&net.Dialer{Resolver: resolver}).DialContext) // targets of SRV records are names
				configs = append(configs, cfg)
			}
			nodes := founded(t, configs)
			nodes[2].put(t, "hello")
			for _, n := range nodes {
				n.close(t)
			}
		})
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
