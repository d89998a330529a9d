package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/multiformats/go-multistream"
)

const (
	benchTimeout = 2 * time.Minute
	smallSize    = 32 // bytes, as a ping has
)

type question struct {
	Command   string `json:"command"`
	Address   string `json:"address"`
	Count     int    `json:"count"`
	AtOnce    int    `json:"at_once"`
	Size      int    `json:"size"`
	Pipelined bool   `json:"pipelined"`
	Up        uint64 `json:"up"`
	Down      uint64 `json:"down"`
	Write     int    `json:"write"`
}

// bencher has the hosts that dial, each with an identity of its own.
type bencher struct {
	stack stack
	hosts []host.Host
}

// bench does what standard input asks for, a JSON object a line, and answers each with a line.
func bench(o options) error {
	b := bencher{stack: o.stack}
	if _, err := b.grow(1); err != nil {
		return err
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var q question
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil {
			return err
		}
		if answer, err := b.answer(q); err != nil {
			show(map[string]any{"error": err.Error()})
		} else {
			show(answer)
		}
	}
	return lines.Err()
}

func (b *bencher) grow(count int) ([]host.Host, error) {
	for len(b.hosts) < count {
		h, err := newHost(b.stack, "")
		if err != nil {
			return nil, err
		}
		b.hosts = append(b.hosts, h)
	}
	return b.hosts[:count], nil
}

func (b *bencher) answer(q question) (any, error) {
	ctx, cancel := context.WithTimeout(context.Background(), benchTimeout)
	defer cancel()
	info, err := peer.AddrInfoFromString(q.Address)
	if err != nil {
		return nil, err
	}
	switch q.Command {
	case "dial":
		return b.share(q, func(h host.Host) error { return dialOnce(ctx, h, info) })
	case "connect":
		return b.share(q, func(h host.Host) error {
			if err := h.Connect(ctx, *info); err != nil {
				return err
			}
			return h.Network().ClosePeer(info.ID)
		})
	}
	h := b.hosts[0]
	if err := h.Connect(ctx, *info); err != nil {
		return nil, err
	}
	defer h.Network().ClosePeer(info.ID)
	switch q.Command {
	case "transfer":
		return transfer(ctx, h, info.ID, q.Up, q.Down, q.Write)
	case "ping":
		return pingMany(ctx, h, info.ID, q.Count)
	case "streams":
		return timed(q.Count, q.AtOnce, func(int) error { return streamOnce(ctx, h, info.ID) })
	case "messages":
		return messages(ctx, h, info.ID, q)
	}
	return nil, fmt.Errorf("no such command: %q", q.Command)
}

// share has as many hosts as asked for do it at the same time.
func (b *bencher) share(q question, once func(host.Host) error) (any, error) {
	hosts, err := b.grow(q.AtOnce)
	if err != nil {
		return nil, err
	}
	return timed(q.Count, q.AtOnce, func(worker int) error { return once(hosts[worker]) })
}

// timed does it count times, by workers that run at once.
func timed(count, workers int, once func(worker int) error) (any, error) {
	var turns atomic.Int64
	failed := make(chan error, workers)
	start := time.Now()
	for worker := range workers {
		go func() {
			var err error
			for err == nil && turns.Add(1) <= int64(count) {
				err = once(worker)
			}
			failed <- err
		}()
	}
	var err error
	for range workers {
		err = errors.Join(err, <-failed)
	}
	return map[string]any{"seconds": time.Since(start).Seconds(), "count": count}, err
}

// dialOnce dials, pings and closes without waiting for identify, as host.Connect would.
func dialOnce(ctx context.Context, h host.Host, info *peer.AddrInfo) error {
	h.Peerstore().AddAddrs(info.ID, info.Addrs, peerstore.PermanentAddrTTL)
	connection, err := h.Network().DialPeer(ctx, info.ID)
	if err != nil {
		return err
	}
	defer connection.Close()
	s, err := connection.NewStream(ctx)
	if err != nil {
		return err
	}
	return exchange(multistream.NewMSSelect(s, protocol.ID(ping.ID)), make([]byte, smallSize))
}

func streamOnce(ctx context.Context, h host.Host, id peer.ID) error {
	s, err := h.NewStream(ctx, id, echoProtocol)
	if err != nil {
		return err
	}
	if err := exchange(s, make([]byte, smallSize)); err != nil {
		s.Reset()
		return err
	}
	return s.Close()
}

// exchange sends the bytes and waits for as many.
func exchange(s io.ReadWriter, data []byte) error {
	if _, err := s.Write(data); err != nil {
		return err
	}
	_, err := io.ReadFull(s, data)
	return err
}

func pingMany(ctx context.Context, h host.Host, id peer.ID, count int) (any, error) {
	s, err := h.NewStream(ctx, id, ping.ID)
	if err != nil {
		return nil, err
	}
	defer s.Reset()
	data := make([]byte, smallSize)
	if err := exchange(s, data); err != nil {
		return nil, err
	}
	times := make([]float64, 0, count)
	begin := time.Now()
	for range count {
		start := time.Now()
		if err := exchange(s, data); err != nil {
			return nil, err
		}
		times = append(times, time.Since(start).Seconds())
	}
	return map[string]any{"seconds": time.Since(begin).Seconds(), "times": times}, nil
}

func messages(ctx context.Context, h host.Host, id peer.ID, q question) (any, error) {
	s, err := h.NewStream(ctx, id, echoProtocol)
	if err != nil {
		return nil, err
	}
	defer s.Reset()
	data := make([]byte, q.Size)
	if err := exchange(s, data); err != nil {
		return nil, err
	}
	if !q.Pipelined {
		return timed(q.Count, 1, func(int) error { return exchange(s, data) })
	}
	request := make([]byte, q.Size)
	sent := make(chan error, 1)
	start := time.Now()
	go func() {
		var err error
		for i := 0; err == nil && i < q.Count; i++ {
			_, err = s.Write(request)
		}
		sent <- err
	}()
	for range q.Count {
		if _, err := io.ReadFull(s, data); err != nil {
			return nil, err
		}
	}
	seconds := time.Since(start).Seconds()
	return map[string]any{"seconds": seconds, "count": q.Count}, <-sent
}
