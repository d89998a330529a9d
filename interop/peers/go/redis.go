package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// redis speaks as much of the Redis protocol as the suite needs: one command at a time.
type redis struct {
	conn   net.Conn
	reader *bufio.Reader
}

// connectRedis waits until the server answers.
func connectRedis(address string) *redis {
	for {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			return &redis{conn, bufio.NewReader(conn)}
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// call returns the words of the reply: one for a simple reply, none for null.
func (r *redis) call(words ...string) ([]string, error) {
	var command strings.Builder
	fmt.Fprintf(&command, "*%d\r\n", len(words))
	for _, word := range words {
		fmt.Fprintf(&command, "$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := io.WriteString(r.conn, command.String()); err != nil {
		return nil, err
	}
	return r.reply()
}

func (r *redis) reply() ([]string, error) {
	line, err := r.reader.ReadString('\n')
	if err != nil {
		return nil, err
	}
	line = strings.TrimSpace(line)
	if line == "" {
		return nil, fmt.Errorf("redis: empty reply")
	}
	kind, value := line[0], line[1:]
	if kind == '-' {
		return nil, fmt.Errorf("redis: %s", value)
	}
	if kind != '*' && kind != '$' {
		return []string{value}, nil
	}
	length, err := strconv.Atoi(value)
	if err != nil || length < 0 {
		return nil, err
	}
	if kind == '$' {
		data := make([]byte, length+len("\r\n"))
		_, err := io.ReadFull(r.reader, data)
		return []string{string(data[:length])}, err
	}
	var all []string
	for range length {
		words, err := r.reply()
		if err != nil {
			return nil, err
		}
		all = append(all, words...)
	}
	return all, nil
}
