package main

import (
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
)

// What differs between the versions of the library: ../versions/.

// suffixes has the end of the address to listen on, for each transport.
var suffixes = map[string]string{
	"tcp":           "/tcp/0",
	"ws":            "/tcp/0/ws",
	"wss":           "/tcp/0/tls/ws",
	"quic-v1":       "/udp/0/quic-v1",
	"webtransport":  "/udp/0/quic-v1/webtransport",
	"webrtc-direct": "/udp/0/webrtc-direct",
}

var muxers = map[string]libp2p.Option{
	"yamux": libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
}
