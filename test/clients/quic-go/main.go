// An MQTT 3.1.1 client over QUIC on quic-go, which shares no code with the broker's engine: says CONNECT on the first bidirectional stream,
// subscribes, publishes with QoS 0, 1 and 2 to itself, and prints what it got, a line each. With -multi it does so on data streams (multi.go).
//
// It is built with GOPATH=/usr/share/gocode and GO111MODULE=off against Debian's golang-github-lucas-clemente-quic-go-dev.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	quic "github.com/lucas-clemente/quic-go"
)

const (
	connect    = 0x10
	connack    = 0x20
	publish    = 0x30
	puback     = 0x40
	pubrec     = 0x50
	pubrel     = 0x62
	pubcomp    = 0x70
	subscribe  = 0x82
	suback     = 0x90
	disconnect = 0xe0
)

var (
	address  = flag.String("address", "127.0.0.1:14567", "host and port of the broker")
	ca       = flag.String("ca", "", "PEM file of the authority")
	cert     = flag.String("cert", "", "PEM file of the client's certificate")
	key      = flag.String("key", "", "PEM file of its key")
	alpn     = flag.String("alpn", "mqtt", "protocol to offer")
	name     = flag.String("name", "localhost", "name the server's certificate must have")
	payload  = flag.Int("payload", 5, "bytes of each message")
	count    = flag.Int("count", 1, "messages of each QoS")
	uni      = flag.Bool("uni", false, "also open a unidirectional stream, which is to be refused")
	multi    = flag.Bool("multi", false, "use data streams, come back, and be taken over")
	early    = flag.Bool("early", false, "come back with the session of a first connection, and send CONNECT in early data")
	timeouts = flag.Duration("timeout", 15*time.Second, "for all of it")
)

func main() {
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), *timeouts)
	defer cancel()
	if err := run(ctx); err != nil {
		var transport *quic.TransportError
		var application *quic.ApplicationError
		switch {
		case errors.As(err, &transport):
			fmt.Printf("transport error 0x%x remote %t: %v\n", uint64(transport.ErrorCode), transport.Remote, err)
		case errors.As(err, &application):
			fmt.Printf("application error %d remote %t: %v\n", uint64(application.ErrorCode), application.Remote, err)
		default:
			fmt.Printf("error: %v\n", err)
		}
		os.Exit(1)
	}
}

func tlsConfig() (*tls.Config, error) {
	config := &tls.Config{NextProtos: []string{*alpn}, ServerName: *name, MinVersion: tls.VersionTLS13}
	if *ca != "" {
		pem, err := os.ReadFile(*ca)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(pem)
	}
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

func run(ctx context.Context) error {
	config, err := tlsConfig()
	if err != nil {
		return err
	}
	if *early {
		return runEarly(ctx, config)
	}
	if *multi {
		return runMulti(ctx, config)
	}
	connection, err := quic.DialAddrContext(ctx, *address, config, &quic.Config{MaxIdleTimeout: time.Minute})
	if err != nil {
		return err
	}
	fmt.Printf("connected %s\n", connection.ConnectionState().TLS.NegotiatedProtocol)
	stream, err := connection.OpenStreamSync(ctx)
	if err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok {
		stream.SetDeadline(deadline)
	}
	if err := talk(stream); err != nil {
		return err
	}
	if *uni {
		if err := unidirectional(ctx, connection); err != nil {
			return err
		}
	}
	if _, err := stream.Write([]byte{disconnect, 0}); err != nil {
		return err
	}
	stream.Close()
	_, err = io.ReadAll(stream)
	var application *quic.ApplicationError
	if errors.As(err, &application) && application.ErrorCode == 0 {
		err = nil
	}
	fmt.Println("done")
	connection.CloseWithError(0, "")
	return err
}

// Two connections, the second with the ticket of the first.
func runEarly(ctx context.Context, config *tls.Config) error {
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	first, err := quic.DialAddrContext(ctx, *address, config, nil)
	if err != nil {
		return err
	}
	stream, err := first.OpenStreamSync(ctx)
	if err != nil {
		return err
	}
	if err := talk(stream); err != nil {
		return err
	}
	first.CloseWithError(0, "")
	second, err := quic.DialAddrEarlyContext(ctx, *address, config, nil)
	if err != nil {
		return err
	}
	if stream, err = second.OpenStreamSync(ctx); err != nil {
		return err
	}
	if err := talk(stream); err != nil {
		return err
	}
	state := second.ConnectionState().TLS
	fmt.Printf("resumed %t early %t\n", state.DidResume, state.Used0RTT)
	second.CloseWithError(0, "")
	return nil
}

func unidirectional(ctx context.Context, connection quic.Connection) error {
	oneWay, err := connection.OpenUniStreamSync(ctx)
	if err != nil {
		return err
	}
	for err == nil {
		_, err = oneWay.Write([]byte("hello"))
		time.Sleep(time.Millisecond)
	}
	fmt.Printf("unidirectional stream: %v\n", err)
	return nil
}

func talk(stream io.ReadWriter) error {
	if _, err := stream.Write(packet(connect, []byte("\x00\x04MQTT\x04\x02\x00\x3c\x00\x07quic-go"))); err != nil {
		return err
	}
	kind, body, err := read(stream)
	if err != nil {
		return err
	}
	if kind != connack || body[1] != 0 {
		return fmt.Errorf("CONNACK expected, not %#x % x", kind, body)
	}
	if _, err := stream.Write(packet(subscribe, []byte("\x00\x01\x00\x09quic-go/#\x02"))); err != nil {
		return err
	}
	if kind, _, err = read(stream); err != nil || kind != suback {
		return fmt.Errorf("SUBACK expected, not %#x %v", kind, err)
	}
	for qos := byte(0); qos < 3; qos++ {
		if err := exchange(stream, fmt.Sprintf("quic-go/%d", qos), qos); err != nil {
			return err
		}
	}
	return nil
}

// Publishes `count` messages to itself, one behind the other, until they have come back and all acknowledgements are there.
func exchange(stream io.ReadWriter, topic string, qos byte) error {
	for n := 0; n < *count; n++ {
		id := uint16(n%60000) + 1
		body := append([]byte{0, byte(len(topic))}, topic...)
		if qos > 0 {
			body = binary.BigEndian.AppendUint16(body, id)
		}
		body = append(body, make([]byte, *payload)...)
		if _, err := stream.Write(packet(publish|qos<<1, body)); err != nil {
			return err
		}
		if err := settle(stream, topic, qos); err != nil {
			return err
		}
	}
	fmt.Printf("%s QoS %d: %d messages of %d bytes\n", topic, qos, *count, *payload)
	return nil
}

// Reads until the message is back, acknowledged both ways.
func settle(stream io.ReadWriter, topic string, qos byte) error {
	isBack, isDone := false, qos == 0
	for !isBack || !isDone {
		kind, body, err := read(stream)
		if err != nil {
			return err
		}
		var answer []byte
		switch kind & 0xf0 {
		case publish:
			if kind>>1&3 != qos {
				return fmt.Errorf("QoS %d expected, not %d", qos, kind>>1&3)
			}
			head := 2 + len(topic)
			if string(body[2:head]) != topic {
				return fmt.Errorf("topic %s expected, not % x", topic, body[:head])
			}
			id := []byte{}
			if qos > 0 {
				id, head = body[head:head+2], head+2
			}
			if len(body)-head != *payload {
				return fmt.Errorf("%d bytes expected, not %d", *payload, len(body)-head)
			}
			isBack = qos < 2
			if qos > 0 {
				answer = packet(map[byte]byte{1: puback, 2: pubrec}[qos], id)
			}
		case puback:
			isDone = true
		case pubrec:
			answer = packet(pubrel, body[:2])
		case pubrel & 0xf0:
			isBack = true
			answer = packet(pubcomp, body[:2])
		case pubcomp:
			isDone = true
		default:
			return fmt.Errorf("packet %#x was not expected", kind)
		}
		if answer == nil {
			continue
		}
		if _, err := stream.Write(answer); err != nil {
			return err
		}
	}
	return nil
}

func packet(kind byte, body []byte) []byte {
	out := []byte{kind}
	for n := len(body); ; {
		digit := byte(n % 128)
		if n /= 128; n > 0 {
			out = append(out, digit|0x80)
			continue
		}
		out = append(out, digit)
		return append(out, body...)
	}
}

func read(stream io.Reader) (byte, []byte, error) {
	one := make([]byte, 1)
	if _, err := io.ReadFull(stream, one); err != nil {
		return 0, nil, err
	}
	kind, length := one[0], 0
	for shift := 0; ; shift += 7 {
		if _, err := io.ReadFull(stream, one); err != nil {
			return 0, nil, err
		}
		length |= int(one[0]&0x7f) << shift
		if one[0] < 0x80 {
			break
		}
	}
	body := make([]byte, length)
	_, err := io.ReadFull(stream, body)
	return kind, body, err
}
