package redshift

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/millrace/millrace/local"
	"github.com/millrace/millrace/local/demo"
)

// The stack with its setting, on the emulator: the very function makes the table, and
// the delivery stream's own role reads the secret and the objects.
func TestTheDemoLoadsRedshift(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	report, err := demo.Run(ctx, demo.Options{
		Records: 3000, Racers: 200, Races: 3, Seed: 7, Context: []string{"race:redshift=serverless"}, File: filepath.Join(t.TempDir(), "demo.json"),
	})
	if err != nil || !report.OK() || !report.Warehouse || report.Loaded != 3000 || report.Duplicates != 0 {
		t.Errorf("%v:\n%s", err, report)
	}
	dir, err := local.Checkout("")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "build", "local", "redshift.log")); err != nil {
		t.Errorf("PostgreSQL's log: %v", err)
	}
}

// Without the setting nothing of it is started.
func TestTheDemoWithoutTheSettingStartsNoPostgreSQL(t *testing.T) {
	dir, err := local.Checkout("")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "build", "local", "redshift.log")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	m, err := local.Up(ctx, local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := os.Stat(filepath.Join(dir, "build", "local", "redshift.log")); !os.IsNotExist(err) || m.Warehouse() != nil {
		t.Errorf("it was started: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}
