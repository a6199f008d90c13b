package local

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/millrace/millrace/local/firehose"
	"github.com/millrace/millrace/local/redshift"
	"github.com/millrace/millrace/local/step"
)

// warehouse is Redshift, for stacks that have it. Its Data API has an address before
// anybody knows whether it is needed: the emulator hands that to its functions when it
// starts.
type warehouse struct {
	listener net.Listener
	server   http.Server
	*redshift.Warehouse
}

func listenForWarehouse() (*warehouse, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &warehouse{listener: listener}, nil
}

// environment points the functions' clients of the Data API at it.
func (w *warehouse) environment() []string {
	return []string{"AWS_ENDPOINT_URL_REDSHIFT_DATA=http://" + w.listener.Addr().String()}
}

func (w *warehouse) close() error {
	if w == nil {
		return nil
	}
	return errors.Join(w.server.Close(), ignoreClosed(w.listener.Close()), w.Warehouse.Close())
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// startWarehouse starts what stands in for Redshift if the stack has a table there.
func (m *Machine) startWarehouse(ctx context.Context, log *step.Log) error {
	template, err := os.ReadFile(m.paths.template())
	if err != nil {
		return err
	}
	if !strings.Contains(string(template), `"RedshiftDestinationConfiguration"`) {
		return nil
	}
	const name = "start PostgreSQL for Redshift"
	return log.Run(ctx, name, func(ctx context.Context, _ *step.Step) error {
		node := m.paths.node()
		if !exists(node) {
			node = "node"
		}
		w, err := redshift.Start(ctx, redshift.Options{
			Node: node, Server: redshift.Script(m.paths.modules()), Log: m.paths.log("redshift"),
			Secrets: secretsmanager.NewFromConfig(m.Config()), Grace: stopGrace,
		})
		if err != nil {
			return stepError(ctx, name, m.paths.log("redshift"), err)
		}
		m.warehouse.Warehouse = w
		m.warehouse.server = http.Server{Handler: w, ReadHeaderTimeout: 10 * time.Second}
		go func() { _ = m.warehouse.server.Serve(m.warehouse.listener) }()
		return nil
	})
}

// Warehouse is what stands in for Redshift; nil if the stack has no table there.
func (m *Machine) Warehouse() *redshift.Warehouse { return m.warehouse.Warehouse }

// copier copies as a delivery stream's role does; nil if there is nothing to copy into.
func (w *warehouse) copier(role aws.Config) firehose.Copier {
	if w.Warehouse == nil {
		return nil
	}
	return &redshift.Copier{Warehouse: w.Warehouse, Objects: s3.NewFromConfig(role, pathStyle), Secrets: secretsmanager.NewFromConfig(role)}
}
