package app

import (
	"cmp"
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/madang-chat/madang/api"
	"github.com/madang-chat/madang/cluster"
	"github.com/madang-chat/madang/hooks/problem"
	"github.com/madang-chat/madang/internal/roster"
)

// What nodes say to each other past the log that is not the broker's: what they tell of themselves, under a key that no
// room has, and questions of operators, which begin with a byte that no claim of the broker begins with.
const (
	rosterKey  = "\x00roster"
	askDrain   = "\x00drain"
	askUndrain = "\x00undrain"
)

// hearing shares out what other nodes say.
func (a *App) hearing() cluster.Hearing {
	return cluster.Hearing{
		Told: func(key, slot string, data []byte) {
			if key == rosterKey {
				a.roster.Told(slot, data)
				return
			}
			a.broker.Told(key, slot, data)
		},
		Kept: func(key string) (kept []cluster.Value) {
			if key == rosterKey {
				name, data := a.roster.Own()
				return []cluster.Value{{Slot: name, Data: data}}
			}
			a.broker.Kept(key, func(slot string, data []byte) { kept = append(kept, cluster.Value{Slot: slot, Data: data}) })
			return kept
		},
		Asked: func(question []byte, answer func([]byte)) {
			switch string(question) {
			case askDrain, askUndrain:
				text := ""
				if p := (*problem.Problem)(nil); errors.As(a.drainSelf(string(question) == askDrain), &p) {
					text = p.Detail
				}
				answer([]byte(text))
			default:
				a.broker.Asked(question, answer)
			}
		},
		Met: a.broker.Met,
	}
}

// tellRoster tells the other nodes of this one, and asks them to.
func (a *App) tellRoster() {
	peers := a.node.Peers()
	peers.Want(rosterKey)
	t := time.NewTicker(roster.Every)
	defer t.Stop()
	for {
		name, data := a.roster.Own()
		peers.Tell(rosterKey, name, data)
		select {
		case <-t.C:
		case <-a.ctx.Done():
			return
		}
	}
}

// tellsOfItself is this node, for the roster.
func (a *App) tellsOfItself() roster.Node {
	c := &a.cfg.Listeners
	n := roster.Node{Name: a.nodeName(), Zone: a.cfg.Node.Zone, Connections: a.broker.Connections(), Draining: a.broker.Draining(), Full: a.unwell()}
	if a.most() > 0 {
		n.Load = float64(n.Connections) / float64(a.most())
	}
	mqtt, ws := "mqtt", "ws"
	if c.MQTT.TLS() {
		mqtt = "mqtts"
	}
	if c.Web.TLS() {
		ws = "wss"
	}
	n.MQTT = a.reachedBy("mqtt", c.Advertise.MQTT, mqtt, "")
	n.MQTTS = a.reachedBy("mqtts", c.Advertise.MQTTS, "mqtts", "")
	n.WS = a.reachedBy("web", c.Advertise.Web, ws, "/mqtt")
	if c.MQTT.TLS() {
		n.MQTT, n.MQTTS = "", cmp.Or(n.MQTTS, n.MQTT)
	}
	return n
}

// reachedBy is the URL of a listener for clients, "" when it is not open.
func (a *App) reachedBy(name, advertise, scheme, path string) string {
	at := a.Addr(name)
	switch {
	case at == "":
		return ""
	case strings.Contains(advertise, "://"):
		return advertise
	case advertise != "":
		at = advertise
	default:
		at = a.namedHost(at)
	}
	return scheme + "://" + at + path
}

// namedHost puts a name of this machine in place of "all addresses".
func (a *App) namedHost(at string) string {
	host, port, err := net.SplitHostPort(at)
	if err != nil {
		return at
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
		return at
	}
	if c := &a.cfg.Cluster; c.Several() {
		if host, _, err := net.SplitHostPort(c.Reached()); err == nil {
			return net.JoinHostPort(host, port)
		}
	}
	if name, err := os.Hostname(); err == nil {
		return net.JoinHostPort(name, port)
	}
	return at
}

// Servers returns the nodes that take clients, those of a zone first, then the less busy ones.
func (a *App) Servers(zone string) []api.Server {
	out := []api.Server{}
	for _, n := range a.roster.Best(zone) {
		out = append(out, api.Server{Node: n.Name, Zone: n.Zone, MQTT: n.MQTT, MQTTS: n.MQTTS, WS: n.WS, Load: n.Load})
	}
	return out
}

// Drain sends the clients of a node to the others and lets no new ones in, or ends that.
func (a *App) Drain(ctx context.Context, node string, on bool) error {
	if node == a.nodeName() {
		return a.drainSelf(on)
	}
	known := slices.ContainsFunc(a.node.Members(), func(m cluster.Member) bool { return m.ID == node })
	if !known {
		return problem.New(problem.NotFound, "No node %q belongs to the cluster.", node)
	}
	question := askDrain
	if !on {
		question = askUndrain
	}
	answers := a.node.Peers().Ask(ctx, node, []byte(question))
	switch {
	case len(answers) == 0:
		return problem.New(problem.OutcomeUnknown, "Node %q does not answer.", node)
	case len(answers[0]) > 0:
		return asItWas("%s", answers[0])
	}
	return nil
}

// drainSelf is Drain for this node. It does not wait.
func (a *App) drainSelf(on bool) error {
	switch draining := a.broker.Draining(); {
	case !on && draining:
		a.broker.Drain(false)
		a.log.Info("clients may come again")
	case on && !draining:
		if !a.others() {
			return asItWas("No other node is there to take the clients of %q.", a.nodeName())
		}
		a.broker.Drain(true)
		signal(a.giveWay)
		a.log.Info("sending clients to other nodes")
	}
	return nil
}
