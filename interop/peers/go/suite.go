package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

const defaultTimeout = 180 * time.Second

func or(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

// suite is one role of the transport suite: everything comes from the environment.
func suite(env func(string) string) error {
	s := stack{env("TRANSPORT"), or(env("SECURE_CHANNEL"), "noise"), or(env("MUXER"), "yamux")}
	timeout := defaultTimeout
	if seconds, err := strconv.Atoi(env("TEST_TIMEOUT_SECS")); err == nil {
		timeout = time.Duration(seconds) * time.Second
	}
	r := connectRedis(env("REDIS_ADDR"))
	key := env("TEST_KEY") + "_listener_multiaddr"
	if env("IS_DIALER") == "true" {
		return suiteDial(s, r, key, timeout)
	}
	return suiteListen(s, r, key, or(env("LISTENER_IP"), "0.0.0.0"), timeout)
}

func suiteListen(s stack, r *redis, key, bind string, timeout time.Duration) error {
	address, err := listenAddress(s.transport, bind)
	if err != nil {
		return err
	}
	h, err := newHost(s, address)
	if err != nil {
		return err
	}
	defer h.Close()
	all := addresses(h)
	published := all[0]
	for _, candidate := range all {
		if !strings.Contains(candidate, "/127.0.0.1/") {
			published = candidate
			break
		}
	}
	if _, err := r.call("DEL", key); err != nil {
		return err
	}
	if _, err := r.call("RPUSH", key, published); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(timeout):
		return fmt.Errorf("no dialer within %v", timeout)
	}
}

func suiteDial(s stack, r *redis, key string, timeout time.Duration) error {
	h, err := newHost(s, "")
	if err != nil {
		return err
	}
	defer h.Close()
	reply, err := r.call("BLPOP", key, strconv.Itoa(int(timeout.Seconds())))
	if err != nil {
		return err
	}
	if len(reply) != 2 {
		return fmt.Errorf("no listener address within %v", timeout)
	}
	info, err := peer.AddrInfoFromString(reply[1])
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	start := time.Now()
	if err := h.Connect(ctx, *info); err != nil {
		return err
	}
	times, err := pingTimes(ctx, h, info.ID, 1)
	if err != nil {
		return err
	}
	total := ms(time.Since(start))
	fmt.Fprintf(os.Stdout, "latency:\n  handshake_plus_one_rtt: %.3f\n  ping_rtt: %.3f\n  unit: ms\n",
		total, times[0])
	return nil
}
