package host

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"fn-threatq/abi"
	"fn-threatq/host/broker"
	"fn-threatq/host/config"
	"fn-threatq/host/flow"
	"fn-threatq/host/resilient"
	"fn-threatq/host/threatq"
)

// delivery is a broker's delivery as the flow sees it.
type delivery struct{ *broker.Delivery }

// Message hands the message over: the flow holds it from now on, and may hold it
// in less room than it came.
func (d delivery) Message() flow.Message {
	m := flow.Message{
		ID: d.MessageID, Destination: d.Destination, ReplyTo: d.ReplyTo, CorrelationID: d.CorrelationID,
		Payload: d.Payload, ContextToken: d.ContextToken, Timestamp: d.Timestamp, Redelivered: d.Redelivered,
		Headers: d.Headers, Body: d.Body,
	}
	d.Headers, d.Body = nil, nil
	return m
}

// directory is the SOAR directory as the flow sees it.
type directory struct{ *resilient.Directory }

func (d directory) FieldOption(ctx context.Context, field string, value int64) (string, error) {
	label, _, err := d.Directory.FieldOption(ctx, field, value)
	return label, err
}

// touches says whether a write can change what a read answers; SOAR has rules and
// scripts that change anything.
func touches(write, read abi.Call) bool {
	return write.Service != abi.ThreatQ || threatq.Touches(write, read)
}

// dialer opens connections to the broker, through the proxy where one is set
// (contract: STOMP transport; the first reference clients did it by CONNECT).
func dialer(proxy config.Proxy) func(context.Context, string, string) (net.Conn, error) {
	var direct net.Dialer
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		via, err := proxy.ForURL(&url.URL{Scheme: "https", Host: addr})
		if err != nil {
			return nil, fmt.Errorf("choose the proxy for %s: %w", addr, err)
		}
		if via == nil {
			return direct.DialContext(ctx, network, addr)
		}
		if via.Scheme != "http" {
			return nil, fmt.Errorf("a proxy reached by %s cannot be used for the message broker: use an http:// one", via.Scheme)
		}
		conn, err := direct.DialContext(ctx, network, proxyAddr(via))
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				// The dialer's own timer was first; its only limit is the context's.
				err = fmt.Errorf("%w (%w)", context.DeadlineExceeded, err)
			}
			return nil, fmt.Errorf("the proxy %s: %w", via.Host, err)
		}
		if err := connectThrough(ctx, conn, via, addr); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return conn, nil
	}
}

func proxyAddr(proxy *url.URL) string {
	if proxy.Port() != "" {
		return proxy.Host
	}
	return net.JoinHostPort(proxy.Hostname(), "80")
}

// connectThrough asks an HTTP proxy for a tunnel. It gives up when ctx ends.
func connectThrough(ctx context.Context, conn net.Conn, proxy *url.URL, addr string) (err error) {
	// A deadline that has passed is what ends a waiting read.
	giveUp := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !giveUp() {
			err = fmt.Errorf("the proxy %s: %w", proxy.Host, ctx.Err())
		}
	}()
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if proxy.User != nil {
		password, _ := proxy.User.Password()
		request.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(proxy.User.Username()+":"+password)))
	}
	if err := request.Write(conn); err != nil {
		return fmt.Errorf("the proxy %s: %w", proxy.Host, err)
	}
	// The broker speaks only after we do, so nothing of it can be in the buffer.
	answer, err := http.ReadResponse(bufio.NewReader(conn), request)
	if err != nil {
		return fmt.Errorf("the proxy %s: %w", proxy.Host, err)
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the proxy %s refused a tunnel to %s: %s", proxy.Host, addr, answer.Status)
	}
	return nil
}
