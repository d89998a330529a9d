package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/host/autonat"
	"github.com/libp2p/go-libp2p/p2p/protocol/autonatv2"
	circuit "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
	"github.com/libp2p/go-libp2p/p2p/protocol/holepunch"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	lookAgain = 10 * time.Millisecond
	sized     = 4096 // bytes of an echo that are on the way at once
)

type order struct {
	Command string `json:"command"`
	Address string `json:"address"`
	Peer    string `json:"peer"`
	Size    int    `json:"size"`
	Version int    `json:"version"`
	Key     string `json:"key"`   // in hexadecimal digits
	Value   string `json:"value"` // the same
}

// driven is a host that does what standard input asks for.
type driven struct {
	host.Host
	autonat *autonatv2.AutoNAT
	kad     *kad
	punches bool
}

// drive reads a JSON object a line, and answers each with a line.
func drive(o options) error {
	d, err := newDriven(o)
	if err != nil {
		return err
	}
	defer d.Close()
	show(map[string]any{"id": d.ID(), "addresses": addresses(d)})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var order order
		if err := json.Unmarshal(lines.Bytes(), &order); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), o.timeout)
		answer, err := d.obey(ctx, order)
		cancel()
		if err != nil {
			show(map[string]any{"error": err.Error()})
		} else {
			show(map[string]any{"answer": answer})
		}
	}
	return lines.Err()
}

func newDriven(o options) (*driven, error) {
	chosen, err := o.stack.options()
	if err != nil {
		return nil, err
	}
	if o.transport == "quic-v1" {
		// A connection over a relay is a byte stream.
		upgrade, err := stack{"tcp", o.security, o.muxer}.options()
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, upgrade[1:]...)
	}
	address, err := listenAddress(o.transport, o.bind)
	if err != nil {
		return nil, err
	}
	parts := append(chosen, libp2p.EnableRelay())
	second, punches, table, client := false, false, false, false
	for _, part := range strings.Split(o.with, ",") {
		switch part {
		case "", "relay": // every driven host is a client of relays
		case "relay-service":
			parts = append(parts, libp2p.EnableRelayService(), libp2p.ForceReachabilityPublic())
		case "dcutr":
			punches = true
			parts = append(parts, libp2p.EnableHolePunching(), libp2p.ForceReachabilityPrivate())
		case "autonat-v1":
			parts = append(parts, libp2p.EnableNATService())
		case "autonat-v2":
			second = true
		case "dht":
			table = true
		case "dht-client":
			table, client = true, true
		default:
			return nil, unsupported("drive with " + part)
		}
	}
	h, err := openHost(address, parts...)
	if err != nil {
		return nil, err
	}
	d := &driven{Host: h, punches: punches}
	if table {
		if d.kad, err = newKad(h, client); err != nil {
			return nil, err
		}
	}
	if !second {
		return d, nil
	}
	// Not EnableAutoNATv2, which lets nobody say what is to be probed, nor when.
	dialer, err := openHost("", chosen...)
	if err != nil {
		return nil, err
	}
	prober, err := autonatv2.New(dialer)
	if err != nil {
		return nil, err
	}
	d.autonat = prober
	return d, prober.Start(h)
}

func (d *driven) obey(ctx context.Context, o order) (any, error) {
	ctx = network.WithAllowLimitedConn(ctx, "drive")
	var id peer.ID
	if o.Peer != "" {
		var err error
		if id, err = peer.Decode(o.Peer); err != nil {
			return nil, err
		}
	}
	switch o.Command {
	case "connect":
		info, err := peer.AddrInfoFromString(o.Address)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(d.Connect(ctx, *info), d.ready(ctx)); err != nil {
			return nil, err
		}
		return d.connections(info.ID), nil
	case "reserve":
		return d.reserve(ctx, o.Address)
	case "connections":
		return d.connections(id), nil
	case "direct":
		return d.direct(ctx, id)
	case "echo":
		return d.echo(ctx, id, o.Size)
	case "reachable":
		if o.Version == 1 {
			return d.reachableV1(ctx, id)
		}
		return d.reachableV2(ctx, o.Address)
	}
	if d.kad == nil {
		return nil, fmt.Errorf("no such command: %q", o.Command)
	}
	return d.kad.obey(ctx, o, id)
}

func (d *driven) connections(id peer.ID) []any {
	found := []any{}
	for _, connection := range d.Network().ConnsToPeer(id) {
		found = append(found, describe(connection))
	}
	return found
}

func describe(c network.Conn) map[string]any {
	address := c.RemoteMultiaddr()
	return map[string]any{
		"address": address.String(),
		"inbound": c.Stat().Direction == network.DirInbound,
		"limited": c.Stat().Limited,
		"relayed": isRelayed(address),
	}
}

func isRelayed(address ma.Multiaddr) bool {
	_, err := address.ValueForProtocol(ma.P_CIRCUIT)
	return err == nil
}

func (d *driven) reserve(ctx context.Context, relay string) (any, error) {
	info, err := peer.AddrInfoFromString(relay)
	if err != nil {
		return nil, err
	}
	given, err := circuit.Reserve(ctx, d, *info)
	if err := errors.Join(err, d.ready(ctx)); err != nil {
		return nil, err
	}
	addresses := []string{}
	for _, address := range given.Addrs {
		addresses = append(addresses, address.String())
	}
	return map[string]any{
		"seconds":   given.LimitDuration.Seconds(),
		"bytes":     given.LimitData,
		"expires":   given.Expiration.Unix(),
		"addresses": addresses,
		"voucher":   given.Voucher != nil,
	}, nil
}

// ready waits until the library knows a public address: it looks rarely, never punches who came
// over a relay before, and serves no hole punching until then.
func (d *driven) ready(ctx context.Context) error {
	if !d.punches {
		return nil
	}
	return until(ctx, func() bool {
		return slices.Contains(d.Mux().Protocols(), holepunch.Protocol)
	})
}

// direct waits for a connection that no relay carries.
func (d *driven) direct(ctx context.Context, id peer.ID) (any, error) {
	var found network.Conn
	err := until(ctx, func() bool {
		connections := d.Network().ConnsToPeer(id)
		at := slices.IndexFunc(connections, func(c network.Conn) bool {
			return !isRelayed(c.RemoteMultiaddr())
		})
		if at >= 0 {
			found = connections[at]
		}
		return at >= 0
	})
	if err != nil {
		return nil, err
	}
	return describe(found), nil
}

// until looks again and again.
func until(ctx context.Context, done func() bool) error {
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-again.C:
		}
	}
	return nil
}

func (d *driven) echo(ctx context.Context, id peer.ID, size int) (any, error) {
	s, err := d.NewStream(ctx, id, echoProtocol)
	if err != nil {
		return nil, err
	}
	defer s.Reset()
	deadline, _ := ctx.Deadline()
	s.SetDeadline(deadline)
	sent := make(chan error, 1)
	go func() { sent <- errors.Join(sendZeros(s, uint64(size), sized), s.CloseWrite()) }()
	received, err := io.Copy(io.Discard, s)
	if err := errors.Join(err, <-sent); err != nil {
		return nil, err
	}
	if received != int64(size) {
		return nil, fmt.Errorf("%d bytes came back, not %d", received, size)
	}
	return describe(s.Conn()), nil
}

// reachableV1 has the peer dial all our addresses.
func (d *driven) reachableV1(ctx context.Context, id peer.ID) (any, error) {
	err := autonat.NewAutoNATClient(d, d.Addrs, nil).DialBack(ctx, id)
	if err != nil && !autonat.IsDialError(err) {
		return nil, err
	}
	return map[string]any{"reachable": err == nil}, nil
}

// reachableV2 has some peer dial one of our addresses.
func (d *driven) reachableV2(ctx context.Context, address string) (any, error) {
	target, err := ma.NewMultiaddr(address)
	if err != nil {
		return nil, err
	}
	asked := []autonatv2.Request{{Addr: target, SendDialData: true}}
	var result autonatv2.Result
	// It hears of a server a little after the connection is there.
	late := until(ctx, func() bool {
		result, err = d.autonat.GetReachability(ctx, asked)
		return !errors.Is(err, autonatv2.ErrNoPeers)
	})
	if err := cmp.Or(late, err); err != nil {
		return nil, err
	}
	if result.AllAddrsRefused {
		return nil, errors.New("refused")
	}
	return map[string]any{"reachable": result.Reachability == network.ReachabilityPublic}, nil
}
