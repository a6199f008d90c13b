package synth

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/jsii-runtime-go"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"github.com/millrace/millrace/constructs/gofunc"
)

// What is kept of the last build saves time and nothing else: equal code is equal
// bytes with it, without it, and when it is broken.
func TestWhatIsKeptOfTheLastBuildChangesNoByte(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	// Go's own cache has to stay where it is.
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOCACHE", filepath.Join(home, ".cache", "go-build"))
	build := func() []byte {
		app := newApp(t, true)
		gofunc.New(awscdk.NewStack(app, jsii.String("Test"), nil), "F", gofunc.Props{Code: gofunc.Package("./tests/synth/testdata/same/a/fn")})
		app.Synth(nil)
		files, _ := filepath.Glob(filepath.Join(*app.Outdir(), "asset.*", "bootstrap"))
		if len(files) != 1 {
			t.Fatalf("%d assets", len(files))
		}
		data, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	cold := build()
	kept, _ := filepath.Glob(filepath.Join(cache, "millrace", "linked", "*"))
	if len(kept) == 0 {
		t.Fatal("nothing is kept")
	}
	// Packages that were named before are built along, so there may be several.
	for _, file := range kept {
		if whole, err := os.ReadFile(file); err != nil || bytes.Equal(whole, cold) {
			t.Errorf("the asset has the build id, which tells of the Go that built it (%v)", err)
		}
	}
	if !bytes.Equal(cold, build()) {
		t.Error("with what was kept, the binary is another one")
	}
	for _, size := range []int64{0, 100, 1 << 20} {
		for _, file := range kept {
			if err := os.Truncate(file, size); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(cold, build()) {
			t.Errorf("%d bytes in its place make another binary", size)
		}
	}
	t.Setenv("XDG_CACHE_HOME", "not absolute") // then there is no cache directory
	if !bytes.Equal(cold, build()) {
		t.Error("without a cache the binary is another one")
	}
}
