package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"

	quic "github.com/lucas-clemente/quic-go"
)

// A connection of the kept session "multi", with its control stream.
type client struct {
	connection quic.Connection
	control    quic.Stream
}

func runMulti(ctx context.Context, config *tls.Config) error {
	first, err := dialKept(ctx, config, false)
	if err != nil {
		return err
	}
	if err := exchangeOnStreams(ctx, first); err != nil {
		return err
	}
	if err := breakRules(ctx, first); err != nil {
		return err
	}
	// Without DISCONNECT: the session stays.
	first.connection.CloseWithError(0, "")
	second, err := dialKept(ctx, config, true)
	if err != nil {
		return err
	}
	fmt.Println("back")
	return comeBack(ctx, config, second)
}

// CONNECT without clean session, and the CONNACK for it.
func dialKept(ctx context.Context, config *tls.Config, present bool) (*client, error) {
	connection, err := quic.DialAddrContext(ctx, *address, config, nil)
	if err != nil {
		return nil, err
	}
	control, err := open(ctx, connection)
	if err != nil {
		return nil, err
	}
	if _, err := control.Write(packet(connect, []byte("\x00\x04MQTT\x04\x00\x00\x3c\x00\x05multi"))); err != nil {
		return nil, err
	}
	kind, body, err := read(control)
	if err != nil {
		return nil, err
	}
	if kind != connack || body[1] != 0 || (body[0] == 1) != present {
		return nil, fmt.Errorf("CONNACK with session present %t expected, not %#x % x", present, kind, body)
	}
	return &client{connection, control}, nil
}

func open(ctx context.Context, connection quic.Connection) (quic.Stream, error) {
	stream, err := connection.OpenStreamSync(ctx)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	return stream, stream.SetDeadline(deadline)
}

func subscribeTo(stream io.ReadWriter, topic string) error {
	body := append([]byte{0, 1, 0, byte(len(topic))}, topic...)
	if _, err := stream.Write(packet(subscribe, append(body, 2))); err != nil {
		return err
	}
	kind, body, err := read(stream)
	if err != nil || kind != suback || body[2] != 2 {
		return fmt.Errorf("SUBACK expected, not %#x % x %v", kind, body, err)
	}
	return nil
}

// Subscribes and publishes on each of as many data streams as the broker allows, and on the control stream.
func exchangeOnStreams(ctx context.Context, c *client) error {
	streams := []quic.Stream{c.control}
	for {
		stream, err := c.connection.OpenStream()
		if err != nil {
			break
		}
		deadline, _ := ctx.Deadline()
		stream.SetDeadline(deadline)
		streams = append(streams, stream)
	}
	fmt.Printf("%d data streams\n", len(streams)-1)
	for n, stream := range streams {
		topic := fmt.Sprintf("multi/%d", n)
		if err := subscribeTo(stream, topic); err != nil {
			return err
		}
		for qos := byte(0); qos < 3; qos++ {
			if err := exchange(stream, topic, qos); err != nil {
				return err
			}
		}
	}
	// All but the first two are ended: what was subscribed to there comes on the control stream.
	for _, stream := range streams[2:] {
		stream.Close()
		if _, err := io.ReadAll(stream); err != nil {
			return fmt.Errorf("the broker should end its half as well: %v", err)
		}
	}
	return exchange(c.control, "multi/2", 2)
}

// Says on data streams what must not be said there; the others go on.
func breakRules(ctx context.Context, c *client) error {
	bad := [][]byte{{0xc0, 0}, {disconnect, 0}, {publish | 6, 2, 0, 0}, {publish, 0xff, 0xff, 0xff, 0x7f}}
	for _, bytes := range bad {
		stream, err := open(ctx, c.connection)
		if err != nil {
			return err
		}
		stream.Write(bytes)
		_, err = io.ReadAll(stream)
		var reset *quic.StreamError
		if !errors.As(err, &reset) {
			return fmt.Errorf("% x: a reset expected, not %v", bytes, err)
		}
		fmt.Printf("% x: reset with %#x\n", bytes, uint64(reset.ErrorCode))
	}
	return exchange(c.control, "multi/2", 1)
}

// The subscriptions of the lost data streams are served on the control stream; then another connection takes over.
func comeBack(ctx context.Context, config *tls.Config, c *client) error {
	if err := exchange(c.control, "multi/1", 2); err != nil {
		return err
	}
	stream, err := open(ctx, c.connection)
	if err != nil {
		return err
	}
	if err := subscribeTo(stream, "multi/1"); err != nil {
		return err
	}
	if err := exchange(stream, "multi/1", 2); err != nil {
		return err
	}
	third, err := dialKept(ctx, config, true)
	if err != nil {
		return err
	}
	_, err = io.ReadAll(stream)
	_, controlErr := io.ReadAll(c.control)
	fmt.Printf("taken over: %v, %v\n", err, controlErr)
	if err := exchange(third.control, "multi/1", 1); err != nil {
		return err
	}
	if err := reset(ctx, third); err != nil {
		return err
	}
	fmt.Println("done")
	return nil
}

// Breaks the control stream off, which the broker takes for the end of it all.
func reset(ctx context.Context, c *client) error {
	stream, err := open(ctx, c.connection)
	if err != nil {
		return err
	}
	if err := subscribeTo(stream, "multi/1"); err != nil {
		return err
	}
	c.control.CancelWrite(7)
	_, err = io.ReadAll(stream)
	var application *quic.ApplicationError
	if !errors.As(err, &application) {
		return fmt.Errorf("an application error expected, not %v", err)
	}
	fmt.Printf("control stream lost: application error %d\n", application.ErrorCode)
	return nil
}
