// Package redshift stands in for Amazon Redshift on one machine: a real PostgreSQL
// (PGlite, which needs no installation and no user of its own) behind the two doors
// that the pipeline uses, Redshift's Data API and its COPY.
//
// What Redshift's SQL has beyond PostgreSQL's is translated as far as a table needs it:
// see [Translate]. What isn't known is refused, not passed over.
package redshift

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/lib/pq"

	"github.com/millrace/millrace/local/proc"
)

// Secrets is what is needed of Secrets Manager; *secretsmanager.Client is one.
type Secrets interface {
	GetSecretValue(context.Context, *secretsmanager.GetSecretValueInput, ...func(*secretsmanager.Options)) (*secretsmanager.GetSecretValueOutput, error)
}

// Objects is what COPY needs of S3; *s3.Client is one.
type Objects interface {
	GetObject(context.Context, *s3.GetObjectInput, ...func(*s3.Options)) (*s3.GetObjectOutput, error)
}

// Options say where the programs are and what the warehouse is like.
type Options struct {
	// Node runs Server, the script of the npm package @electric-sql/pglite-socket.
	Node, Server string
	// Log takes what the process prints; the file is made.
	Log string
	// Database is the only one that there is; "dev" by default.
	Database string
	// Admin is the user of whom the Data API takes statements; "admin" by default.
	Admin string
	// Secrets are read for the Data API, to know who is asking.
	Secrets Secrets
	// Grace is how long the process gets to end; 3 s by default.
	Grace time.Duration
}

// Script is where npm has put the server of @electric-sql/pglite-socket, below a
// node_modules.
func Script(modules string) string {
	return filepath.Join(modules, "@electric-sql", "pglite-socket", "dist", "scripts", "server.js")
}

// Warehouse is a running stand-in. It runs one transaction at a time.
type Warehouse struct {
	options Options
	process *proc.Group
	db      *sql.DB

	session sync.Mutex // of the only connection

	mu         sync.Mutex
	statements map[string]*statement
	background sync.WaitGroup
}

// Start starts PostgreSQL and returns when it answers. The error is the cause of ctx
// if that ends first.
func Start(ctx context.Context, o Options) (*Warehouse, error) {
	if o.Database == "" {
		o.Database = "dev"
	}
	if o.Admin == "" {
		o.Admin = "admin"
	}
	if o.Grace == 0 {
		o.Grace = 3 * time.Second
	}
	if _, err := os.Stat(o.Server); err != nil {
		return nil, fmt.Errorf("PGlite, the PostgreSQL in place of Redshift, is missing: %w", err)
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(o.Log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(o.Node, o.Server, "--host=127.0.0.1", "--port="+strconv.Itoa(port), "--max-connections=1")
	cmd.Stdout, cmd.Stderr = log, log
	process, err := proc.Start(cmd)
	if err != nil {
		return nil, err
	}
	w := &Warehouse{options: o, process: process, statements: map[string]*statement{}}
	if err := w.connect(ctx, port); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

func (w *Warehouse) connect(ctx context.Context, port int) error {
	connector, err := pq.NewConnector(fmt.Sprintf("host=127.0.0.1 port=%d user=postgres dbname=postgres sslmode=disable", port))
	if err != nil {
		return err
	}
	w.db = sql.OpenDB(connector)
	w.db.SetMaxOpenConns(1)
	for w.db.PingContext(ctx) != nil {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-w.process.Done():
			return fmt.Errorf("PostgreSQL ended before it answered: %w; its log is %s", ended(w.process), w.options.Log)
		case <-time.After(50 * time.Millisecond):
		}
	}
	for _, statement := range append(prelude, `CREATE ROLE "`+w.options.Admin+`" SUPERUSER`) {
		if _, err := w.db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

func ended(process *proc.Group) error {
	if err := process.Err(); err != nil {
		return err
	}
	return errors.New("exit status 0")
}

// Done is closed when PostgreSQL has ended, by Close or by itself.
func (w *Warehouse) Done() <-chan struct{} { return w.process.Done() }

// Close ends it. Nothing is kept. It may be called more than once.
func (w *Warehouse) Close() error {
	if w == nil {
		return nil
	}
	var err error
	if w.db != nil {
		err = w.db.Close()
	}
	w.process.Stop(w.options.Grace)
	w.background.Wait()
	return err
}

// as runs do in a transaction as a user.
func (w *Warehouse) as(ctx context.Context, user string, do func(*sql.Tx) error) error {
	w.session.Lock()
	defer w.session.Unlock()
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	// For the session, not for the transaction: PGlite keeps the latter, too.
	if _, err = tx.ExecContext(ctx, "SET SESSION AUTHORIZATION "+pq.QuoteIdentifier(user)); err == nil {
		err = do(tx)
	}
	if err != nil {
		err = errors.Join(err, tx.Rollback())
	} else {
		err = tx.Commit()
	}
	_, reset := w.db.ExecContext(context.WithoutCancel(ctx), "RESET SESSION AUTHORIZATION")
	return errors.Join(err, reset)
}

// Query answers a query with its rows as text, as the administrator; NULL is empty.
func (w *Warehouse) Query(ctx context.Context, query string) ([][]string, error) {
	var all [][]string
	err := w.as(ctx, w.options.Admin, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, query)
		if err != nil {
			return err
		}
		_, values, err := read(rows)
		for _, row := range values {
			texts := make([]string, len(row))
			for i, v := range row {
				switch v := v.(type) {
				case nil:
				case []byte:
					texts[i] = string(v)
				case time.Time:
					texts[i] = v.Format(time.RFC3339Nano)
				default:
					texts[i] = fmt.Sprint(v)
				}
			}
			all = append(all, texts)
		}
		return err
	})
	return all, err
}

// read is the columns and the values of rows, which it closes.
func read(rows *sql.Rows) (columns []string, all [][]any, err error) {
	defer rows.Close()
	if columns, err = rows.Columns(); err != nil {
		return nil, nil, err
	}
	for rows.Next() {
		row, places := make([]any, len(columns)), make([]any, len(columns))
		for i := range row {
			places[i] = &row[i]
		}
		if err := rows.Scan(places...); err != nil {
			return nil, nil, err
		}
		all = append(all, row)
	}
	return columns, all, rows.Err()
}

// credentials are those in a secret.
func credentials(ctx context.Context, secrets Secrets, id string) (user, password string, err error) {
	if secrets == nil {
		return "", "", errors.New("there is no Secrets Manager to ask")
	}
	out, err := secrets.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(id)})
	if err != nil {
		return "", "", err
	}
	var secret struct{ Username, Password string }
	if json.Unmarshal([]byte(aws.ToString(out.SecretString)), &secret) != nil || secret.Username == "" || secret.Password == "" {
		return "", "", errors.New(`the secret isn't {"username": …, "password": …}`)
	}
	return secret.Username, secret.Password, nil
}
