// Crawler crawls a DHT with the crawler of go-libp2p-kad-dht, as that is:
//
//	crawler ADDRESS PROTOCOL WORKERS
//
// begins with the peer at ADDRESS, and prints a line of JSON when it has seen everybody.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p-kad-dht/crawler"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

func main() {
	if err := crawl(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func crawl(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: crawler ADDRESS PROTOCOL WORKERS")
	}
	start, err := peer.AddrInfoFromString(args[0])
	if err != nil {
		return err
	}
	workers, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	// One transport and security protocol, as the crawler beside it has, and no limits.
	host, err := libp2p.New(
		libp2p.NoListenAddrs,
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(noise.ID, noise.New),
		libp2p.ResourceManager(&network.NullResourceManager{}),
	)
	if err != nil {
		return err
	}
	defer host.Close()
	made, err := crawler.NewDefaultCrawler(
		host,
		crawler.WithProtocols([]protocol.ID{protocol.ID(args[1])}),
		crawler.WithParallelism(workers),
	)
	if err != nil {
		return err
	}
	found, failed, edges := 0, 0, 0
	began := time.Now()
	made.Run(
		context.Background(),
		[]*peer.AddrInfo{start},
		func(_ peer.ID, contacts []*peer.AddrInfo) { found++; edges += len(contacts) },
		func(peer.ID, error) { failed++ },
	)
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"found": found, "failed": failed, "edges": edges, "seconds": time.Since(began).Seconds(),
	})
}
