package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"runtime/debug"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	webrtc "github.com/libp2p/go-libp2p/p2p/transport/webrtc"
	"github.com/libp2p/go-libp2p/p2p/transport/websocket"
	webtransport "github.com/libp2p/go-libp2p/p2p/transport/webtransport"
	ma "github.com/multiformats/go-multiaddr"
)

const library = "github.com/libp2p/go-libp2p"

// unsupported is an error: the library does not offer what was asked for.
type unsupported string

func (u unsupported) Error() string { return "unsupported: " + string(u) }

// stack is one choice of transport, security and muxer; nothing else is offered.
type stack struct {
	transport, security, muxer string
}

func listenAddress(transport, bind string) (string, error) {
	suffix, ok := suffixes[transport]
	if !ok {
		return "", unsupported("transport " + transport)
	}
	family := "ip4"
	if strings.Contains(bind, ":") {
		family = "ip6"
	}
	return "/" + family + "/" + bind + suffix, nil
}

// transportOf names the transport of an address by its last telling part.
func transportOf(address ma.Multiaddr) string {
	has := make(map[string]bool)
	for _, protocol := range address.Protocols() {
		has[protocol.Name] = true
	}
	if has["wss"] || has["tls"] && has["ws"] {
		return "wss"
	}
	for _, name := range []string{"ws", "webtransport", "webrtc-direct", "quic-v1"} {
		if has[name] {
			return name
		}
	}
	return "tcp"
}

func (s stack) options() ([]libp2p.Option, error) {
	var transport libp2p.Option
	standalone := true
	switch s.transport {
	case "tcp":
		transport, standalone = libp2p.Transport(tcp.NewTCPTransport), false
	case "ws":
		transport, standalone = libp2p.Transport(websocket.New), false
	case "wss":
		certificate, err := selfSigned()
		if err != nil {
			return nil, err
		}
		// The certificate of a test listener is self-signed; the peer id is what counts.
		client := websocket.WithTLSClientConfig(&tls.Config{InsecureSkipVerify: true})
		server := websocket.WithTLSConfig(&tls.Config{Certificates: certificate})
		transport, standalone = libp2p.Transport(websocket.New, client, server), false
	case "quic-v1":
		transport = libp2p.Transport(quic.NewTransport)
	case "webtransport":
		transport = libp2p.Transport(webtransport.New)
	case "webrtc-direct":
		transport = libp2p.Transport(webrtc.New)
	default:
		return nil, unsupported("transport " + s.transport)
	}
	if standalone {
		return []libp2p.Option{transport}, nil
	}
	var security libp2p.Option
	switch s.security {
	case "noise":
		security = libp2p.Security(noise.ID, noise.New)
	case "tls":
		security = libp2p.Security(libp2ptls.ID, libp2ptls.New)
	default:
		return nil, unsupported("security " + s.security)
	}
	muxer, ok := muxers[s.muxer]
	if !ok {
		return nil, unsupported("muxer " + s.muxer)
	}
	return []libp2p.Option{transport, security, muxer}, nil
}

// newHost opens a host that listens on the address, or only dials if it is empty.
func newHost(s stack, address string) (host.Host, error) {
	chosen, err := s.options()
	if err != nil {
		return nil, err
	}
	return openHost(address, append(chosen, libp2p.DisableRelay())...)
}

// openHost opens a host of these parts.
func openHost(address string, parts ...libp2p.Option) (host.Host, error) {
	listening := libp2p.NoListenAddrs
	if address != "" {
		listening = libp2p.ListenAddrStrings(address)
	}
	// Before the parts: NoListenAddrs decides about the relay transport where nothing else does.
	base := []libp2p.Option{
		listening,
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.UserAgent("go-libp2p/" + libraryVersion()),
	}
	h, err := libp2p.New(append(base, parts...)...)
	if err != nil {
		return nil, err
	}
	h.SetStreamHandler(perfProtocol, servePerf)
	h.SetStreamHandler(echoProtocol, serveEcho)
	return h, nil
}

// addresses are what others can dial, each with the peer id.
func addresses(h host.Host) []string {
	var texts []string
	for _, address := range h.Addrs() {
		full := address.Encapsulate(ma.StringCast("/p2p/" + h.ID().String()))
		texts = append(texts, full.String())
	}
	return texts
}

func libraryVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, module := range info.Deps {
			if module.Path == library {
				return module.Version
			}
		}
	}
	return "unknown"
}

func selfSigned() ([]tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		DNSNames:     []string{"localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, nil
}
