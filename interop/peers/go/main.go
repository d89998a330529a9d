// Command peer is a small libp2p peer on go-libp2p. The contract is in ../README.md.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	exitFailed      = 1
	exitUnsupported = 2
	pings           = 3
)

func show(value any) {
	json.NewEncoder(os.Stdout).Encode(value)
}

func ms(d time.Duration) float64 {
	return float64(d) / float64(time.Millisecond)
}

// untilToldToStop returns when standard input ends or a signal comes.
func untilToldToStop() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ended := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	select {
	case <-ctx.Done():
	case <-ended:
	}
}

type options struct {
	stack
	bind     string
	with     string
	timeout  time.Duration
	up, down uint64
}

func parse(args []string) (options, error) {
	var o options
	var seconds float64
	flags := flag.NewFlagSet("peer", flag.ContinueOnError)
	flags.StringVar(&o.transport, "transport", "tcp", "")
	flags.StringVar(&o.security, "security", "noise", "")
	flags.StringVar(&o.muxer, "muxer", "yamux", "")
	flags.StringVar(&o.bind, "host", "127.0.0.1", "")
	flags.StringVar(&o.with, "with", "", "parts of drive, with commas between")
	flags.Float64Var(&seconds, "timeout", 30, "seconds for the whole dial")
	flags.Uint64Var(&o.up, "upload-bytes", 0, "")
	flags.Uint64Var(&o.down, "download-bytes", 0, "")
	err := flags.Parse(args)
	o.timeout = time.Duration(seconds * float64(time.Second))
	return o, err
}

func listen(o options) error {
	address, err := listenAddress(o.transport, o.bind)
	if err != nil {
		return err
	}
	h, err := newHost(o.stack, address)
	if err != nil {
		return err
	}
	defer h.Close()
	show(map[string]any{"id": h.ID(), "addresses": addresses(h)})
	untilToldToStop()
	return nil
}

// connect opens a host with the transport of the address and dials it; identify has run after it.
func connect(ctx context.Context, o options, address string) (host.Host, peer.ID, error) {
	info, err := peer.AddrInfoFromString(address)
	if err != nil {
		return nil, "", err
	}
	o.transport = transportOf(info.Addrs[0])
	h, err := newHost(o.stack, "")
	if err != nil {
		return nil, "", err
	}
	if err := h.Connect(ctx, *info); err != nil {
		h.Close()
		return nil, "", err
	}
	return h, info.ID, nil
}

func dial(o options, address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), o.timeout)
	defer cancel()
	start := time.Now()
	h, id, err := connect(ctx, o, address)
	if err != nil {
		return err
	}
	defer h.Close()
	connected := time.Since(start)
	agent, err := h.Peerstore().Get(id, "AgentVersion")
	if err != nil {
		return fmt.Errorf("identify: %w", err)
	}
	protocols, err := h.Peerstore().GetProtocols(id)
	if err != nil {
		return fmt.Errorf("identify: %w", err)
	}
	times, err := pingTimes(ctx, h, id, pings)
	if err != nil {
		return err
	}
	show(map[string]any{
		"id":         id,
		"connect_ms": ms(connected),
		"ping_ms":    times,
		"agent":      agent,
		"protocols":  protocols,
	})
	return nil
}

func perf(o options, address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), o.timeout)
	defer cancel()
	h, id, err := connect(ctx, o, address)
	if err != nil {
		return err
	}
	defer h.Close()
	result, err := transfer(ctx, h, id, o.up, o.down, blockSize)
	if err != nil {
		return err
	}
	show(result)
	return nil
}

func run(args []string) error {
	if len(args) == 0 {
		return suite(os.Getenv)
	}
	alones := map[string]func(options) error{"listen": listen, "bench": bench, "drive": drive}
	if alone, ok := alones[args[0]]; ok {
		o, err := parse(args[1:])
		if err != nil {
			return err
		}
		return alone(o)
	}
	commands := map[string]func(options, string) error{"dial": dial, "perf": perf}
	command, ok := commands[args[0]]
	if !ok || len(args) < 2 || strings.HasPrefix(args[1], "-") {
		return errors.New("usage: listen | dial MULTIADDR | perf MULTIADDR | bench | drive")
	}
	o, err := parse(args[2:])
	if err != nil {
		return err
	}
	return command(o, args[1])
}

func main() {
	err := run(os.Args[1:])
	var missing unsupported
	switch {
	case err == nil:
	case errors.As(err, &missing):
		show(map[string]any{"unsupported": string(missing)})
		os.Exit(exitUnsupported)
	default:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitFailed)
	}
}
