package local

import (
	"context"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"

	"github.com/millrace/millrace/local/throttle"
)

// limited is what stands at the machine's endpoint, in front of the emulator, if
// its shards have limits.
type limited struct {
	*throttle.Proxy
	server  *http.Server
	log     *os.File
	stop    context.CancelFunc
	running sync.WaitGroup
}

// limitShards puts the limits in front of the emulator and is the port that is left
// to the emulator: the machine's own if there are no limits.
func (m *Machine) limitShards() (port int, err error) {
	if m.Limits == (throttle.Limits{}) {
		return m.Port, nil
	}
	listener, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(m.Port)))
	if err != nil {
		return 0, &PortError{Port: m.Port, Err: err}
	}
	if port, err = choosePort(0); err != nil {
		listener.Close()
		return 0, err
	}
	file, err := os.Create(m.paths.log("limits"))
	if err != nil {
		listener.Close()
		return 0, err
	}
	problems := log.New(file, "", log.LstdFlags)
	config := Config(endpointOf(port))
	proxy, err := throttle.New(throttle.Options{
		Limits: m.Limits, Upstream: endpointOf(port), API: kinesis.NewFromConfig(config), Account: Account, Log: problems,
	})
	if err != nil {
		listener.Close()
		file.Close()
		return 0, err
	}
	ctx, stop := context.WithCancel(context.Background())
	l := &limited{Proxy: proxy, log: file, stop: stop, server: &http.Server{Handler: proxy, ErrorLog: problems}}
	m.shards = l
	l.running.Go(func() { _ = l.server.Serve(listener) })
	l.running.Go(func() { l.putMetrics(ctx, cloudwatch.NewFromConfig(config), problems) })
	return port, nil
}

// putMetrics has the alarms see what is turned away, as they do on AWS.
func (l *limited) putMetrics(ctx context.Context, api throttle.MetricsAPI, problems *log.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(throttle.Period):
		}
		if err := l.PutMetrics(ctx, api); err != nil && ctx.Err() == nil {
			problems.Print(err)
		}
	}
}

func (l *limited) close() {
	if l == nil {
		return
	}
	l.stop()
	l.server.Close()
	l.running.Wait()
	l.log.Close()
}

// Shards are the counts of every shard that was written or read; nil without
// limits.
func (m *Machine) Shards() []throttle.Shard {
	if m.shards == nil {
		return nil
	}
	return m.shards.Stats()
}

// pollPause is Lambda's where reads are limited: a poller in a hurry would use up
// the transactions of a shard alone.
func (m *Machine) pollPause() time.Duration {
	if m.Limits.ReadTransactions > 0 {
		return time.Second
	}
	return pollPause
}
