package bench

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"pgregory.net/rapid"

	"github.com/madang-chat/madang/internal/mqtttest"
)

// split reads the fixed header by the codec's rules and returns what follows it.
func split(t *rapid.T, b []byte, version byte) (*packets.Packet, []byte) {
	pk := &packets.Packet{ProtocolVersion: version}
	if err := pk.FixedHeader.Decode(b[0]); err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	n, used, err := packets.DecodeLength(bytes.NewReader(b[1:]))
	if err != nil || 1+used+n != len(b) {
		t.Fatalf("length %d of %d bytes: %v", n, len(b), err)
	}
	pk.FixedHeader.Remaining = n
	return pk, b[1+used:]
}

var (
	versions = rapid.SampledFrom([]byte{3, 4, version5})
	topics   = rapid.StringMatching(`[a-z/%-]{1,40}`)
	payloads = rapid.OneOf(rapid.SliceOfN(rapid.Byte(), 0, 60), rapid.SliceOfN(rapid.Byte(), 16_300, 16_400))
	qoses    = rapid.ByteRange(0, 2)
	ids      = rapid.Uint16Range(1, 1<<16-1)
)

// What the generator sends is what the codec reads.
func TestSentPackets(t *testing.T) {
	t.Run("CONNECT", rapid.MakeCheck(func(t *rapid.T) {
		l := login{
			version: versions.Draw(t, "version"), id: topics.Draw(t, "id"), user: rapid.StringMatching(`[a-z]{0,5}`).Draw(t, "user"),
			keepAlive: rapid.Uint16().Draw(t, "keep alive"), clean: rapid.Bool().Draw(t, "clean"),
		}
		if l.user != "" || l.version == version5 {
			l.password = rapid.StringMatching(`[a-z]{0,5}`).Draw(t, "password")
		}
		if !l.clean {
			l.expiry = rapid.Uint32().Draw(t, "expiry")
		}
		pk, body := split(t, l.append(nil), l.version)
		if err := pk.ConnectDecode(body); err != nil || pk.ConnectValidate() != packets.CodeSuccess {
			t.Fatalf("%v, %v", err, pk.ConnectValidate())
		}
		c := &pk.Connect
		got := login{pk.ProtocolVersion, c.ClientIdentifier, string(c.Username), string(c.Password), c.Keepalive, c.Clean, l.expiry}
		if l.version == version5 {
			got.expiry = pk.Properties.SessionExpiryInterval
		}
		if pk.FixedHeader.Type != packets.Connect || got != l {
			t.Errorf("%+v, want %+v", got, l)
		}
	}))
	t.Run("SUBSCRIBE", rapid.MakeCheck(func(t *rapid.T) {
		version, id, filter, qos := versions.Draw(t, "version"), ids.Draw(t, "id"), topics.Draw(t, "filter"), qoses.Draw(t, "QoS")
		pk, body := split(t, appendSubscribe(nil, version, id, filter, qos), version)
		if err := pk.SubscribeDecode(body); err != nil || pk.SubscribeValidate() != packets.CodeSuccess {
			t.Fatalf("%v, %v", err, pk.SubscribeValidate())
		}
		if pk.PacketID != id || len(pk.Filters) != 1 || pk.Filters[0].Filter != filter || pk.Filters[0].Qos != qos {
			t.Errorf("%d %+v, want %d %s at %d", pk.PacketID, pk.Filters, id, filter, qos)
		}
	}))
	t.Run("PUBLISH", rapid.MakeCheck(func(t *rapid.T) {
		version, id, topic, qos := versions.Draw(t, "version"), ids.Draw(t, "id"), topics.Draw(t, "topic"), qoses.Draw(t, "QoS")
		payload, retain := payloads.Draw(t, "payload"), rapid.Bool().Draw(t, "retain")
		pk, body := split(t, appendPublish(nil, version, topic, payload, qos, id, retain), version)
		if err := pk.PublishDecode(body); err != nil {
			t.Fatal(err)
		}
		if qos == 0 {
			id = 0
		}
		if pk.TopicName != topic || !bytes.Equal(pk.Payload, payload) || pk.PacketID != id || pk.FixedHeader.Qos != qos ||
			pk.FixedHeader.Retain != retain || pk.FixedHeader.Dup {
			t.Errorf("%+v", pk)
		}
	}))
	t.Run("acknowledgements", rapid.MakeCheck(func(t *rapid.T) {
		id, version := ids.Draw(t, "id"), versions.Draw(t, "version")
		for kind, decode := range map[byte]func(*packets.Packet, []byte) error{
			typePuback: (*packets.Packet).PubackDecode, typePubrec: (*packets.Packet).PubrecDecode,
			typePubrel: (*packets.Packet).PubrelDecode, typePubcomp: (*packets.Packet).PubcompDecode,
		} {
			pk, body := split(t, appendAck(nil, kind, id), version)
			if err := decode(pk, body); err != nil || pk.PacketID != id || pk.ReasonCode != 0 || pk.FixedHeader.Type != kind {
				t.Errorf("type %d: %+v, %v", kind, pk, err)
			}
		}
	}))
}

// encode returns the bytes of a packet as a broker sends it.
func encode(t *rapid.T, pk *packets.Packet) []byte {
	var b bytes.Buffer
	err := map[byte]func(*bytes.Buffer) error{
		packets.Connack: pk.ConnackEncode, packets.Publish: pk.PublishEncode, packets.Puback: pk.PubackEncode,
		packets.Pubrec: pk.PubrecEncode, packets.Pubrel: pk.PubrelEncode, packets.Pubcomp: pk.PubcompEncode,
		packets.Suback: pk.SubackEncode,
	}[pk.FixedHeader.Type](&b)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What the codec writes is what the generator reads, whatever properties come with it.
func TestReceivedPackets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		version, id := rapid.SampledFrom([]byte{mqtttest.V311, mqtttest.V5}).Draw(t, "version"), ids.Draw(t, "id")
		code := rapid.SampledFrom([]byte{0, 0x80, 0x87}).Draw(t, "code")
		props := packets.Properties{User: []packets.UserProperty{{Key: "seq", Val: "7"}}, ReasonString: "because"}
		packet := func(kind, code byte) (first byte, body []byte) {
			pk := &packets.Packet{
				ProtocolVersion: version, FixedHeader: packets.FixedHeader{Type: kind}, PacketID: id, ReasonCode: code,
				ReasonCodes: []byte{code}, SessionPresent: true, Properties: props,
			}
			if kind == packets.Pubrel {
				pk.FixedHeader.Qos = 1
			}
			b := encode(t, pk)
			first, body, size, err := cut(append(slices.Clip(b), "more"...))
			if err != nil || size != len(b) {
				t.Fatalf("cut %x: %d bytes, %v", b, size, err)
			}
			for n := range b {
				if _, _, size, err := cut(b[:n]); size != 0 || err != nil {
					t.Fatalf("cut %x: %d bytes, %v", b[:n], size, err)
				}
			}
			return first, body
		}

		_, body := packet(packets.Connack, code)
		if got, present, err := connackCode(body); got != code || !present || err != nil {
			t.Errorf("CONNACK: %#x, %v, %v", got, present, err)
		}
		_, body = packet(packets.Suback, code)
		if got, err := subackCode(version, id, body); got != code || err != nil {
			t.Errorf("SUBACK: %#x, %v", got, err)
		}
		if _, err := subackCode(version, id+1, body); err == nil {
			t.Error("SUBACK with another id is taken")
		}
		for _, kind := range []byte{packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp} {
			want := code
			if version == mqtttest.V311 {
				want = 0
			}
			_, body := packet(kind, code)
			if gotID, got, err := ackOf(body); gotID != id || got != want || err != nil {
				t.Errorf("type %d: id %d, %#x, %v", kind, gotID, got, err)
			}
		}

		pk := &packets.Packet{
			ProtocolVersion: version, TopicName: topics.Draw(t, "topic"), Payload: payloads.Draw(t, "payload"),
			FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: qoses.Draw(t, "QoS"), Dup: rapid.Bool().Draw(t, "DUP")},
		}
		if pk.FixedHeader.Qos > 0 {
			pk.PacketID = id
		}
		if version == mqtttest.V5 {
			pk.Properties = props
		}
		first, body, _, err := cut(encode(t, pk))
		if err != nil {
			t.Fatal(err)
		}
		p, err := parsePublish(first, body)
		if err != nil || p.qos != pk.FixedHeader.Qos || p.dup != pk.FixedHeader.Dup || p.id != pk.PacketID ||
			string(p.at) != pk.TopicName || !bytes.HasSuffix(p.rest, pk.Payload) {
			t.Errorf("%+v, %v", p, err)
		}
	})
}

func TestMalformed(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  func() error
	}{
		{"length of five bytes", func() error { _, _, _, err := cut([]byte{0x30, 0xff, 0xff, 0xff, 0xff, 1}); return err }},
		{"PUBLISH without a topic", func() error { _, err := parsePublish(0x30, []byte{0}); return err }},
		{"PUBLISH with half a topic", func() error { _, err := parsePublish(0x30, []byte{0, 3, 'a', 'b'}); return err }},
		{"PUBLISH without an id", func() error { _, err := parsePublish(0x32, []byte{0, 1, 'a', 7}); return err }},
		{"PUBLISH at QoS 3", func() error { _, err := parsePublish(0x36, []byte{0, 1, 'a', 0, 7}); return err }},
		{"CONNACK", func() error { _, _, err := connackCode([]byte{0}); return err }},
		{"SUBACK", func() error { _, err := subackCode(4, 1, []byte{0, 1}); return err }},
		{"SUBACK of version 5", func() error { _, err := subackCode(5, 1, []byte{0, 1, 0}); return err }},
		{"PUBACK", func() error { _, _, err := ackOf([]byte{0}); return err }},
	} {
		if err := tt.err(); !errors.Is(err, errMalformed) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// Whatever arrives, a packet lies within the bytes it was cut from, and a publication within its packet.
func FuzzCut(f *testing.F) {
	f.Add(appendPublish(nil, version5, "a/b", []byte("hello"), 1, 7, false))
	f.Add(appendAck(nil, typePubrel, 7))
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, b []byte) {
		first, body, size, err := cut(b)
		if err != nil || size == 0 {
			return
		}
		if size > len(b) || len(body) > size-2 || first != b[0] {
			t.Fatalf("%d bytes cut from %d, %d of body", size, len(b), len(body))
		}
	})
}

func FuzzParsePublish(f *testing.F) {
	f.Add(byte(0x30), []byte{0, 1, 'a', 'x'})
	f.Add(byte(0x3d), []byte{0, 1, 'a', 0, 7})
	f.Fuzz(func(t *testing.T, first byte, body []byte) {
		p, err := parsePublish(first, body)
		if err != nil {
			return
		}
		n := 2 + len(p.at) + len(p.rest)
		if p.qos > 0 {
			n += 2
		}
		if n != len(body) {
			t.Fatalf("%+v of %d bytes", p, len(body))
		}
	})
}
