package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
)

// The perf protocol of the specification: a big-endian u64 of bytes wanted back, the upload, its
// end, then the download.
const perfProtocol = "/perf/1.0.0"

// The echo of the benchmark: whatever comes is sent back.
const echoProtocol = "/carrick/benchmarks/echo/1.0.0"

const blockSize = 65536

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func sendZeros(w io.Writer, count uint64, write int) error {
	buffer := make([]byte, write)
	_, err := io.CopyBuffer(w, io.LimitReader(zeros{}, int64(count)), buffer)
	return err
}

func servePerf(s network.Stream) {
	if err := answerPerf(s); err != nil {
		s.Reset()
		return
	}
	s.Close()
}

func answerPerf(s network.Stream) error {
	var wanted uint64
	if err := binary.Read(s, binary.BigEndian, &wanted); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, s); err != nil {
		return err
	}
	return sendZeros(s, wanted, blockSize)
}

func serveEcho(s network.Stream) {
	if _, err := io.CopyBuffer(s, s, make([]byte, blockSize)); err != nil {
		s.Reset()
		return
	}
	s.Close()
}

func transfer(
	ctx context.Context, h host.Host, id peer.ID, up, down uint64, write int,
) (any, error) {
	start := time.Now()
	s, err := h.NewStream(ctx, id, perfProtocol)
	if err != nil {
		return nil, err
	}
	defer s.Reset()
	if deadline, ok := ctx.Deadline(); ok {
		s.SetDeadline(deadline)
	}
	if err := binary.Write(s, binary.BigEndian, down); err != nil {
		return nil, err
	}
	if err := sendZeros(s, up, write); err != nil {
		return nil, err
	}
	if err := s.CloseWrite(); err != nil {
		return nil, err
	}
	first := make([]byte, 1)
	count, err := s.Read(first)
	if err != nil && err != io.EOF {
		return nil, err
	}
	uploaded := time.Since(start)
	rest, err := io.Copy(io.Discard, s)
	if err != nil {
		return nil, err
	}
	total := time.Since(start)
	if received := uint64(count) + uint64(rest); received != down {
		return nil, fmt.Errorf("received %d bytes instead of %d", received, down)
	}
	return map[string]any{
		"upload_bytes":     up,
		"download_bytes":   down,
		"upload_seconds":   uploaded.Seconds(),
		"download_seconds": (total - uploaded).Seconds(),
		"seconds":          total.Seconds(),
	}, nil
}

// pingTimes are round trips in milliseconds, all over one stream.
func pingTimes(ctx context.Context, h host.Host, id peer.ID, count int) ([]float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := ping.Ping(ctx, h, id)
	var times []float64
	for range count {
		result, ok := <-results
		if !ok {
			return nil, fmt.Errorf("ping: %w", ctx.Err())
		}
		if result.Error != nil {
			return nil, fmt.Errorf("ping: %w", result.Error)
		}
		times = append(times, ms(result.RTT))
	}
	return times, nil
}
