package main

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/ipfs/go-cid"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

// kad is the DHT of a driven host: that of the internet, but for addresses of any kind, and
// knowing nobody to begin with.
type kad struct{ *dht.IpfsDHT }

func newKad(h host.Host, client bool) (*kad, error) {
	mode := dht.ModeServer
	if client {
		mode = dht.ModeClient
	}
	opened, err := dht.New(h, dht.Mode(mode), dht.DisableAutoRefresh())
	if err != nil {
		return nil, err
	}
	return &kad{opened}, nil
}

// obey does what has to do with the DHT.
func (k *kad) obey(ctx context.Context, o order, id peer.ID) (any, error) {
	key, err := hex.DecodeString(o.Key)
	if err != nil {
		return nil, err
	}
	done := map[string]any{}
	switch o.Command {
	case "table":
		return append([]peer.ID{}, k.RoutingTable().ListPeers()...), nil
	case "known":
		return done, until(ctx, func() bool { return k.RoutingTable().Find(id) != "" })
	case "provide":
		return done, k.Provide(ctx, cid.NewCidV1(cid.Raw, key), true)
	case "find_providers":
		found, err := k.FindProviders(ctx, cid.NewCidV1(cid.Raw, key))
		infos := []any{}
		for _, info := range found {
			infos = append(infos, withAddresses(info))
		}
		return infos, err
	case "put":
		value, err := hex.DecodeString(o.Value)
		if err != nil {
			return nil, err
		}
		return done, k.PutValue(ctx, string(key), value)
	case "get":
		value, err := k.GetValue(ctx, string(key))
		return hex.EncodeToString(value), err
	case "find_peer":
		info, err := k.FindPeer(ctx, id)
		return withAddresses(info), err
	case "closest":
		return k.GetClosestPeers(ctx, string(key))
	}
	return nil, fmt.Errorf("no such command: %q", o.Command)
}

func withAddresses(info peer.AddrInfo) map[string]any {
	return map[string]any{"id": info.ID, "addresses": append([]ma.Multiaddr{}, info.Addrs...)}
}
