package main

import (
	"github.com/libp2p/go-libp2p"
	mplex "github.com/libp2p/go-libp2p-mplex"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
)

// No quic-v1 and no webtransport: this release's QUIC panics as a server when it is compiled with
// go 1.26, whose SendSessionTicket returns nil instead of an error if tickets are disabled.
var suffixes = map[string]string{
	"tcp":           "/tcp/0",
	"ws":            "/tcp/0/ws",
	"wss":           "/tcp/0/tls/ws",
	"webrtc-direct": "/udp/0/webrtc-direct",
}

var muxers = map[string]libp2p.Option{
	"yamux": libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
	"mplex": libp2p.Muxer(mplex.ID, mplex.DefaultTransport),
}
